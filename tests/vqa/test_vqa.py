import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from common.errors import DataError, ImageError, UsageError
from common.search import reorder
from common.text import pad
from tests.conftest import by_threads, on_both_engines, shape_picture
from tests.vqa.conftest import tiny_answerer, write_questions
from vqa import Answerer
from vqa.data import Question, QuestionBatch, majority, most_frequent_answers, read_questions
from vqa.metrics import plain_answer, score_answers, vqa_accuracy
from vqa.model import VqaModel
from vqa.system import VqaSystem

KINDS = ["san", "mlb", "lstm_q_i", "question_only", "image_only"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_questions(tmp_path_factory.mktemp("vqa") / "set")


def asked(text="what is it?", answers=("red",), **kind):
    return Question(1, None, text, tuple(answers), kind.get("question_type", ""), kind.get("answer_type", ""))


def test_reads_vqa_v2(folder, capsys):
    questions = read_questions(folder, "val")
    assert len(questions) == 16
    assert questions[0].text == "what color is it ?"
    assert questions[0].answers == ("red",)
    assert "val: 16 questions on 8 images" in capsys.readouterr().out
    ten = write_questions(folder.parent / "ten", people=10)
    assert read_questions(ten, "train")[0].answers == ("red",) * 10


def test_reads_vqa_v2_under_its_own_names_and_image_template(tmp_path):
    root = write_questions(tmp_path / "set")
    (root / "annotations" / "questions_val.json").rename(root / "v2_OpenEnded_mscoco_val2014_questions.json")
    (root / "annotations" / "annotations_val.json").rename(root / "v2_mscoco_val2014_annotations.json")
    for picture in (root / "images").iterdir():
        number = int(picture.stem.removeprefix("image"))
        picture.rename(picture.with_name(f"COCO_val2014_{number:012d}.jpg"))
    assert len(read_questions(root, "val", "images/COCO_{split}2014_{image_id:012d}.jpg")) == 16
    with pytest.raises(UsageError, match="expected a path with"):
        read_questions(root, "val", "images/{id}.jpg")
    with pytest.raises(DataError, match="picture is missing"):
        read_questions(root, "val")


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("annotations", lambda rows: rows.pop(0), "dropped 1: question without answers"),
        ("questions", lambda rows: rows.pop(0), "dropped 1: answers to a question that is not there"),
        ("questions", lambda rows: rows[0].update(question=" ?"), "dropped 1: question without words"),
        (
            "questions",
            lambda rows: rows[0].update(image_id=999),
            r"dropped 1: picture is missing (image999.jpg)",
        ),
        (
            "annotations",
            lambda rows: rows[0].update(answers=[{"answer": " "}]),
            "dropped 1: question is left without answers, e.g. 240",
        ),
        ("questions", lambda rows: rows[0].update(question=None), "dropped 1: question without words"),
        (
            "annotations",
            lambda rows: rows[0].update(answers=None, multiple_choice_answer=None),
            "dropped 1: answer is empty, e.g. question 240",
        ),
    ],
)
def test_says_what_it_dropped(tmp_path, capsys, name, change, reason):
    root = write_questions(tmp_path / "set")
    file = root / "annotations" / f"{name}_val.json"
    content = json.loads(file.read_text())
    change(content[name])
    file.write_text(json.dumps(content))
    assert len(read_questions(root, "val")) == 15
    assert reason in capsys.readouterr().out


def edit(root, name, change):
    file = root / "annotations" / f"{name}_val.json"
    content = json.loads(file.read_text())
    change(content[name])
    file.write_text(json.dumps(content))


@pytest.mark.parametrize("nothing", ["", "  ", None, "\u200b", float("nan"), ["red"]])
def test_empty_answers_are_no_answers(tmp_path, capsys, nothing):
    root = write_questions(tmp_path / "set")
    given = [{"answer": nothing}] * 6 + [{"answer": "Red"}] * 3 + [{"answer": 2}]
    edit(root, "annotations", lambda rows: [row.update(answers=given) for row in rows])
    questions = read_questions(root, "val")
    assert {question.answers for question in questions} == {("Red",) * 3 + ("2",)}
    assert most_frequent_answers(questions, 9) == ["red"]
    assert "dropped 96: answer is empty, e.g. question 240, question 241" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "what"), [("questions", "question"), ("annotations", "answers")])
def test_a_question_id_that_stands_twice(tmp_path, capsys, name, what):
    root = write_questions(tmp_path / "set")
    edit(root, name, lambda rows: rows.append(rows[0]))
    assert len(read_questions(root, "val")) == 16
    assert f"dropped 1: {what} given twice, e.g. question id 240" in capsys.readouterr().out
    edit(root, name, lambda rows: rows.append({**rows[1], "question_id": 240}))
    assert len(read_questions(root, "val")) == 15
    assert f"dropped 2: question id given twice, with another {what}, e.g. 240" in capsys.readouterr().out


def test_a_byte_order_mark_is_skipped(tmp_path):
    root = write_questions(tmp_path / "set")
    for file in (root / "annotations").iterdir():
        file.write_text(file.read_text(), encoding="utf-8-sig")
    assert len(read_questions(root, "val")) == 16


def test_files_that_are_not_vqa(tmp_path):
    root = write_questions(tmp_path / "set")
    with pytest.raises(UsageError, match="holds no 'test' part; expected annotations/questions_test"):
        read_questions(root, "test")
    with pytest.raises(UsageError, match="no such folder"):
        read_questions(root / "gone", "val")
    (root / "annotations" / "questions_val.json").write_text('{"questions": [{"id": 1}]}')
    with pytest.raises(DataError, match="not VQA v2's format"):
        read_questions(root, "val")
    (root / "annotations" / "questions_val.json").write_bytes(b"\xff{}")
    with pytest.raises(DataError, match="not UTF-8"):
        read_questions(root, "val")


def test_most_frequent_answers():
    questions = [asked(answers=a) for a in (["Red"], ["red "], ["blue", "blue", "red"], ["green"])]
    assert most_frequent_answers(questions, 2) == ["red", "blue"]
    assert majority(questions[2]) == "blue"


@pytest.mark.parametrize(
    ("given", "answer", "expected"),
    [
        (["red"], "Red ", 1.0),
        (["red"], "blue", 0.0),
        (["red"] * 10, "red", 1.0),
        # one of ten said so: left out once it is 0, and 1/3 the other nine times
        (["red"] + ["blue"] * 9, "red", 9 * (1 / 3) / 10),
        (["red"] * 3 + ["blue"] * 7, "red", (3 * (2 / 3) + 7 * 1) / 10),
        (["a dog"] * 4 + ["cat"] * 6, "The dog.", 1.0),
        (["two"] * 10, "2", 1.0),
    ],
)
def test_accuracy_is_vqa_v2s_rule(given, answer, expected):
    assert vqa_accuracy(answer, given) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("answer", "plain"),
    [  # the rules of visualqa.org/evaluation.html, one after the other
        ("Red", "red"),
        ("The T.V. set, (old)", "tv set old"),
        ("3.5 m.", "3.5 m"),
        (".5", ".5"),
        ("two", "2"),
        ("None", "0"),
        ("eleven", "eleven"),
        ("a cat and the dog on an apple", "cat and dog on apple"),
        ("dont", "don't"),
        ("couldntve", "couldntve"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("twas 5 oclock", "'twas 5 o'clock"),
        ("were well", "were well"),
        ("girl's", "girl's"),
        ("2:50 pm", "2:50 pm"),
        ("black/white", "black white"),
        ("t-shirt; [new]?!", "t shirt new"),
        ("yes,no", "yes no"),
        ("100,978", "100978"),
        ("1,000.5", "1000.5"),
        ("$5 & 10%", "$5 & 10%"),
    ],
)
def test_plain_answers(answer, plain):
    assert plain_answer(answer) == plain


def test_scores_by_type():
    questions = [
        asked(answers=["red"], question_type="what", answer_type="other"),
        asked(answers=["2"], question_type="how many", answer_type="number"),
        asked(answers=["3"], question_type="how many", answer_type="number"),
    ]
    scores = score_answers(["red", "2", "4"], questions)
    assert scores["accuracy"] == pytest.approx(200 / 3)
    assert scores["by_answer_type"] == {
        "number": {"accuracy": 50.0, "num_questions": 2},
        "other": {"accuracy": 100.0, "num_questions": 1},
    }
    assert scores["by_question_type"]["what"]["accuracy"] == 100.0
    with pytest.raises(ValueError, match="no questions"):
        score_answers([], [])


def batch(model, questions=3, places=4):
    torch.manual_seed(1)
    features = torch.randn(questions, places, model.encoder.out_channels)
    return features, *map(torch.from_numpy, pad([[4, 5, 6], [7], [8, 9, 4, 5, 6]][:questions]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_shapes_and_gradients(kind, cell):
    model = tiny_answerer(kind, cell).train()
    logits, maps = model.network(*batch(model))
    assert logits.shape == (3, 6)
    assert maps.shape == ((3, 2, 4) if kind == "san" else (3, 0, 0))  # mlb has its map in use
    logits.square().sum().backward()
    for name, parameter in model.network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@torch.inference_mode()
def test_the_map_of_mlb_tells_which_place_speaks_most_for_the_answer():
    model = tiny_answerer("mlb").eval()
    network, (features, tokens, lengths) = model.network, batch(model, places=5)
    logits, maps = network(features, tokens, lengths)
    assert maps.shape == (3, 1, 5)
    torch.testing.assert_close(maps.sum(dim=2), torch.ones(3, 1))
    answers = logits.argmax(dim=1, keepdim=True)
    alone = [network(features[:, i : i + 1], tokens, lengths)[0].gather(1, answers) for i in range(5)]
    assert torch.equal(torch.cat(alone, dim=1).argmax(dim=1), maps[:, 0].argmax(dim=1))


@torch.inference_mode()
def test_members_answer_by_the_mean_of_their_probabilities():
    model = tiny_answerer("mlb", members=2).eval()
    (features, tokens, lengths), members = batch(model, places=5), model.network.members
    logits, maps = model.network(features, tokens, lengths)
    alone = torch.stack([member(features, tokens, lengths)[0].softmax(-1) for member in members])
    assert not torch.allclose(alone[0], alone[1])
    torch.testing.assert_close(logits.softmax(-1), alone.mean(0))
    # the map is of the answer that both give, whatever each would have said
    answers = logits.argmax(dim=1, keepdim=True)

    def said(places):
        each = [member(places, tokens, lengths)[0].gather(1, answers) for member in members]
        return sum(each)

    per_place = torch.cat([said(features[:, i : i + 1]) for i in range(5)], dim=1)
    assert torch.equal(per_place.argmax(dim=1), maps[:, 0].argmax(dim=1))
    torch.testing.assert_close(maps.sum(dim=2), torch.ones(3, 1))


def test_each_member_learns_as_if_it_were_alone():
    model = tiny_answerer("mlb", members=2).train()
    (features, tokens, lengths), members = batch(model), model.network.members
    system = VqaSystem(model, None, 0.1)
    losses = []
    system.mean_over_batch = lambda total, count: losses.append(total / count) or total
    targets = F.one_hot(torch.tensor([0, 1, 2]), len(model.answers)).float()
    system.training_step(QuestionBatch(features, tokens, lengths, targets, [0, 1, 2]), 0)
    smooth = targets * 0.9 + 0.1 / len(model.answers)
    alone = [F.cross_entropy(member(features, tokens, lengths)[0], smooth) for member in members]
    torch.testing.assert_close(losses[0], sum(alone) / 2)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_and_company_change_nothing(kind):
    model = tiny_answerer(kind)
    features, tokens, lengths = batch(model)
    with torch.inference_mode():
        together, _ = model.network(features, tokens, lengths)
        for row, length in enumerate(lengths.tolist()):
            one = slice(row, row + 1)
            alone, _ = model.network(features[one], tokens[one, :length], lengths[one])
            torch.testing.assert_close(together[row], alone[0])


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_encoded_once_for_all_its_questions(kind):
    network = tiny_answerer(kind).network
    features, tokens, lengths = batch(tiny_answerer(kind))
    pictures = [1, 0, 1]
    with torch.inference_mode():
        each = network(features[pictures], tokens, lengths)
        once = network.answer(reorder(network.remember(features), pictures), tokens, lengths)
    for found, expected in zip(once, each, strict=True):
        torch.testing.assert_close(found, expected)


def test_controls_see_only_their_input():
    for kind, seen in (("question_only", 1), ("image_only", 0)):
        model = tiny_answerer(kind)
        inputs = list(batch(model))
        with torch.inference_mode():
            before = model.network(*inputs)[0]
            inputs[1 - seen] = inputs[1 - seen] * 0 + 7
            torch.testing.assert_close(model.network(*inputs)[0], before)


@pytest.mark.parametrize("kind", KINDS)
def test_save_and_load_give_equal_output(tmp_path, kind):
    model = tiny_answerer(kind)
    model.save_pretrained(tmp_path)
    again = VqaModel.from_pretrained(tmp_path)
    assert again.answers == model.answers
    assert torch.equal(model.network(*batch(model))[0], again.network(*batch(model))[0])


def test_one_batch_can_be_learnt():
    model = tiny_answerer().train()
    features, tokens, lengths = batch(model)
    optimizer = torch.optim.Adam(model.network.parameters(), 1e-2)
    for _ in range(40):
        loss = F.cross_entropy(model.network(features, tokens, lengths)[0], torch.tensor([0, 1, 2]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05


def test_answerer():
    answerer = Answerer(tiny_answerer(), "cpu", "fp32")
    picture = shape_picture("red", "square")
    answer = answerer.answer(picture, "What color is the zebra?", top=3)
    assert str(answer) == answer.text == answer.top[0][0]
    assert len(answer.top) == 3
    assert answer.top[0][1] >= answer.top[1][1] >= answer.top[2][1]
    assert answer.unknown_words == ("zebra",)
    assert answer.attention.shape[0] == 2
    assert answer.attention.sum((1, 2)).tolist() == pytest.approx([1, 1], abs=1e-3)
    each = list(answerer.answer_each(picture, ["What color is the zebra?", "?", "which shape"]))
    assert isinstance(each[1], UsageError)
    assert each[0].text == answer.text
    assert each[0].probability == pytest.approx(answer.probability, abs=1e-5)
    assert len(answerer.answer(picture, "what", top=99).top) == 6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("encoder", "side"), [("test_resnet", 3), ("test_convnext", 2)])
def test_a_size_that_is_no_multiple_of_the_stride(kind, encoder, side):
    answerer = Answerer(tiny_answerer(kind, encoder=encoder, size=72), "cpu", "fp32")
    answer = answerer.answer(shape_picture("red", "square"), "what color is it?")
    assert answer.attention.shape == ({"san": 2, "mlb": 1}.get(kind, 0), side, side)
    assert answer.attention.sum().item() == pytest.approx(len(answer.attention))


def test_questions_that_cannot_be_answered(tmp_path):
    answerer = Answerer(tiny_answerer(), "cpu")
    picture = shape_picture("red", "square")
    for empty in ("", " ?! "):
        with pytest.raises(UsageError, match="has no words"):
            answerer.answer(picture, empty)
    with pytest.raises(UsageError, match="knows none of the words of 'wo ist die Katze"):
        answerer.answer(picture, "wo ist die Katze?")
    with pytest.raises(UsageError, match="--top 0"):
        answerer.answer(picture, "what", top=0)
    with pytest.raises(ImageError, match="no such file"):
        answerer.answer(tmp_path / "gone.png", "what")
    assert answerer.answer(picture, "what color is the shape " * 100).text


def test_threads_that_share_an_answerer_answer_what_one_answers():
    answerer = Answerer(tiny_answerer(), "cpu", "fp32")
    asked = [(shape_picture(colour, "square"), "what color is it?") for colour in ("red", "blue", "green")]
    alone, together = by_threads(lambda pair: answerer.answer(*pair), asked, 6)
    for expected, found in zip(alone, together, strict=True):
        assert found.text == expected.text
        assert found.probability == pytest.approx(expected.probability, abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "cell", "members"),
    [*((kind, "lstm", 1) for kind in KINDS), ("san", "gru", 1), ("san", "rnn", 1), ("mlb", "lstm", 2)],
)
def test_the_engine_answers_what_torch_answers(tmp_path, kind, cell, members):
    engine, on_torch = on_both_engines(Answerer, tiny_answerer(kind, cell, members=members), tmp_path)
    picture, asked = shape_picture("red", "square"), ["what color is the shape", "which", "is the shape what"]
    for found, expected in zip(
        engine.answer_each(picture, asked), on_torch.answer_each(picture, asked), strict=True
    ):
        assert dict(found.top) == pytest.approx(dict(expected.top), abs=1e-4)
        np.testing.assert_allclose(found.attention, expected.attention, atol=1e-4)
    pixels = np.stack([engine.model.encoder.preprocess(shape_picture(c, "circle")) for c in ("red", "blue")])
    memory = engine.network.join([engine.remember(pixels[:1]), engine.remember(pixels[1:])])
    words = [["what", "color"], ["which"], ["what", "color"]]
    rows = engine.answer_rows(reorder(memory, [1, 0, 1]), words)
    assert rows[0].top == rows[2].top
