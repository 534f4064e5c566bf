import json
import sys

import pytest
from PIL import Image

from common.export import export
from tests.conftest import TINY_ENCODER, shape_picture
from tests.vqa.conftest import tiny_answerer, write_questions
from vqa.model import VqaModel

FLAGS = ("--encoder", TINY_ENCODER, "--image-size", 64, "--hidden-size", 32, "--embedding-size", 16,
         "--attention-size", 8, "--dropout", 0, "--batch-size", 8, "--workers", 0, "--device", "cpu",
         "--precision", "fp32")  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_questions(tmp_path_factory.mktemp("vqa") / "set")


@pytest.fixture(scope="module")
def answerer_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("answerer")
    tiny_answerer().save_pretrained(folder)
    export(VqaModel, folder)
    return folder


@pytest.fixture
def train(script, folder, encoder_weights, tmp_path):
    def run(out, *flags):
        return script(
            "train_vqa.py", "--data", folder, "--out", out, "--encoder-weights", encoder_weights,
            "--cache", tmp_path / "cache", *FLAGS, *flags,
        )  # fmt: skip

    return run


def test_train_evaluate_ask(script, train, folder, tmp_path):
    run, blind, report = tmp_path / "run", tmp_path / "blind", tmp_path / "report.json"
    done = train(run, "--epochs", 4, "--num-answers", 5)
    assert done.code == 0, done.err
    assert "5 answers; without one of them are 6 of 48 questions of train" in done.out
    losses = [float(row.split(",")[1]) for row in (run / "metrics.csv").read_text().splitlines()[1:]]
    assert losses[-1] < losses[0]
    done = train(blind, "--epochs", 1, "--kind", "question_only")
    assert done.code == 0, done.err
    done = script(
        "evaluate_vqa.py", "--data", folder, "--model", run, "--question-only", blind, "--report", report
    )
    assert done.code == 0, done.err
    scores = json.loads(report.read_text())
    assert {"accuracy", "question_only_accuracy", "prior_accuracy", "by_answer_type"} <= set(scores)
    assert scores["num_questions"] == len(scores["answers"]) == 16
    assert scores["num_unanswerable"] == 2
    picture = folder / "images" / "image0.jpg"
    done = script("ask.py", picture, "which shape is it?", "what color is it?", "--model", run)
    assert done.code == 0, done.err
    assert [line.split("\t")[0] for line in done.out.splitlines()] == [
        "which shape is it?",
        "what color is it?",
    ]


def test_folds_by_picture_and_one_model_of_all(train, tmp_path):
    done = train(tmp_path / "folds", "--epochs", 1, "--folds", "2", "--kind", "mlb")
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "folds" / "folds.json").read_text())
    assert report["num_questions"] == sum(fold["num_questions"] for fold in report["folds"]) == 64
    pictures = [set(fold["groups"]) for fold in report["folds"]]
    assert pictures[0] | pictures[1] == {f"image{i}.jpg" for i in range(32)}
    assert not pictures[0] & pictures[1]
    assert 0 <= report["accuracy"] <= 100
    assert (report["kind"], report["cell"]) == ("mlb", "lstm")
    done = train(tmp_path / "all", "--epochs", 1, "--folds", "all")
    assert done.code == 0, done.err
    assert "the scores below are of what was seen" in done.out
    assert VqaModel.from_pretrained(tmp_path / "all").info["questions"] == 64


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--folds", "some"), "--folds some: expected 'group', 'all' or a number"),
        (("--data", "nowhere"), "--data nowhere: no such folder"),
        (("--num-answers", 0), "--num-answers 0"),
        (("--image-template", "{x}"), "--image-template '{x}'"),
    ],
)
def test_mistakes_leave_nothing_behind(train, tmp_path, flags, message):
    done = train(tmp_path / "run", *flags)
    assert done.code == 2
    assert message in done.err
    assert not (tmp_path / "run").exists()


def test_evaluating_with_the_wrong_control(script, folder, answerer_folder):
    done = script(
        "evaluate_vqa.py", "--data", folder, "--model", answerer_folder, "--question-only", answerer_folder
    )
    assert (done.code, "a model of kind san" in done.err) == (2, True)


def test_a_picture_that_cannot_be_read_is_reported(script, answerer_folder, tmp_path):
    root = write_questions(tmp_path / "set")
    (root / "images" / "image24.jpg").write_text("x")
    done = script("evaluate_vqa.py", "--data", root, "--model", answerer_folder)
    assert done.code == 1
    assert "left out" in done.out
    assert "num_questions          14" in done.out


def test_ask_as_json_with_attention(script, answerer_folder, tmp_path):
    shape_picture("red", "square").save(tmp_path / "a.png")
    out = tmp_path / "look.png"
    done = script(
        "ask.py", tmp_path / "a.png", "what color is the zebra?", "--model", answerer_folder, "--json",
        "--top", 2, "--attention", out,
    )  # fmt: skip
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["answer"] == found["top"][0]["answer"]
    assert len(found["top"]) == 2
    assert "unknown words: zebra" in done.err
    with Image.open(out) as drawn:
        assert drawn.width > 500


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        ((), 2, "no question: add one in quotes"),
        (("",), 2, "has no words"),
        (("wo ist die Katze?",), 2, "knows none of the words"),
        (("what", "which", "--attention", "x.png"), 2, "--attention draws one question, and 2 were given"),
        (("what", "--model", "nothing"), 2, "no model 'nothing'"),
    ],
)
def test_mistakes_in_asking(script, answerer_folder, tmp_path, flags, code, message):
    shape_picture("red", "square").save(tmp_path / "a.png")
    done = script("ask.py", tmp_path / "a.png", "--model", answerer_folder, *flags)
    assert done.code == code
    assert message in done.err


def test_an_empty_question_stops_no_other(script, answerer_folder, tmp_path):
    shape_picture("red", "square").save(tmp_path / "a.png")
    done = script("ask.py", tmp_path / "a.png", "what color", "", "which shape", "--model", answerer_folder)
    assert done.code == 1
    assert [line.split("\t")[0] for line in done.out.splitlines()] == ["what color", "which shape"]
    assert done.err == "error: the question '' has no words\n"


def test_a_missing_picture(script, answerer_folder, tmp_path):
    done = script("ask.py", tmp_path / "gone.png", "what", "--model", answerer_folder)
    assert (done.code, "no such file" in done.err) == (1, True)


def test_the_prompt_goes_on_after_a_bad_question(script, answerer_folder, tmp_path, monkeypatch):
    shape_picture("red", "square").save(tmp_path / "a.png")
    questions = ["what color", "???", "", "which shape"]

    def typed(_):
        if not questions:
            raise EOFError
        return questions.pop(0)

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", typed)
    done = script("ask.py", tmp_path / "a.png", "--model", answerer_folder)
    assert done.code == 0
    assert [line.split("\t")[0] for line in done.out.splitlines()] == ["what color", "which shape"]
    assert "has no words" in done.err
