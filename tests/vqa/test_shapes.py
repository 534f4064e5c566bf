import json
from collections import Counter, defaultdict

import numpy as np
import pytest
from PIL import Image

from common.shapes import COLOURS, FORMS, draw_shape
from vqa.data import read_questions
from vqa.shapes import Shape, balanced, draw_shapes, picture, questions_about, write_questions


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("shapes") / "set"
    write_questions(root, 300, 120, 0)
    return root


def test_the_reader_takes_all_of_it(folder, capsys):
    for split in ("train", "val"):
        written = json.loads((folder / "annotations" / f"questions_{split}.json").read_text())["questions"]
        questions = read_questions(folder, split)
        assert len(questions) == len(written) > 100
        assert {q.answer_type for q in questions} == {"number", "other", "yes/no"}
    assert "dropped nothing" in capsys.readouterr().out
    used = [{q.image for q in read_questions(folder, split)} for split in ("train", "val")]
    assert not used[0] & used[1]
    assert used[0] | used[1] == set((folder / "images").iterdir())


@pytest.mark.parametrize("split", ["train", "val"])
def test_each_question_has_each_answer_equally_often(folder, split):
    answers = defaultdict(Counter)
    for question in read_questions(folder, split):
        answers[question.text][question.answers[0]] += 1
    for text, counts in answers.items():
        assert len(set(counts.values())) == 1, text
        expected = {"how": {"0", "1", "2"}, "what": set(COLOURS), "which": set(FORMS), "is": {"yes", "no"}}
        assert set(counts) == expected[text.split()[0]], text
    assert {text.split()[0] for text in answers} == {"how", "what", "which", "is"}


def test_the_seed_decides_everything(tmp_path):
    contents = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_questions(tmp_path / name, 40, 40, seed)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        contents.append({path.relative_to(tmp_path / name): path.read_bytes() for path in files})
    assert contents[0] == contents[1] != contents[2]


def test_what_is_asked_is_true():
    shapes = [
        Shape("circle", "red", (0, 2)),
        Shape("square", "blue", (2, 0)),
        Shape("triangle", "blue", (1, 1)),
        Shape("triangle", "green", (1, 0)),
    ]
    for seed in range(4):
        asked = {one.text: one.answer for one in questions_about(np.random.default_rng(seed), shapes)}
        assert asked["how many triangles are there?"] == "2"
        assert asked["how many circles are there?"] == "1"
        assert asked["what color is the circle?"] == "red"
        assert "what color is the triangle?" not in asked
        assert asked["which shape is green?"] == "triangle"
        assert "which shape is blue?" not in asked
        beside = {text: answer for text, answer in asked.items() if text.startswith("is the")}
        if "is the circle left of the square?" in beside:
            expected = {"left of": "yes", "right of": "no", "above": "no", "below": "yes"}
            first, second = "circle", "square"
        else:
            expected = {"left of": "no", "right of": "yes", "above": "yes", "below": "no"}
            first, second = "square", "circle"
        assert beside == {f"is the {first} {at} the {second}?": said for at, said in expected.items()}


def test_shapes_are_seen_where_they_are():
    random = np.random.default_rng(0)
    for _ in range(20):
        shapes = draw_shapes(random)
        pixels = np.asarray(picture(random, shapes)).astype(int)
        for shape in shapes:
            column, row = shape.cell
            cell = pixels[row * 74 : row * 74 + 74, column * 74 : column * 74 + 74]
            near = np.abs(cell - COLOURS[shape.colour]).max(axis=-1) < 8
            assert near.sum() > 500, shape
            columns = np.flatnonzero(near.any(axis=0))
            filled = near.sum() / (columns[-1] - columns[0] + 1) ** 2
            assert filled == pytest.approx(
                {"square": 1, "circle": np.pi / 4, "triangle": 0.5}[shape.form], abs=0.08
            )


def test_a_ring_has_a_hole():
    image = Image.new("L", (40, 40), 0)
    draw_shape(image, "circle", (0, 0, 39, 39), 7, hole=0.5)
    pixels = np.asarray(image)
    assert (pixels[20, 2], pixels[20, 20], pixels[0, 0]) == (7, 0, 0)


def test_balancing_keeps_as_many_as_it_can():
    shapes = [[Shape("circle", colour, (0, 0))] for colour in ("red", "red", *COLOURS)]
    random = np.random.default_rng(0)
    asked = [(i, one) for i, of in enumerate(shapes) for one in questions_about(random, of)]
    kept = balanced(random, asked)
    colours = Counter(one.answer for _, one in kept if one.kind == "what color")
    assert colours == dict.fromkeys(COLOURS, 1)
    assert not [one for _, one in kept if one.kind == "how many"]  # always one circle
