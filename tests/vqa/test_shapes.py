import json
from collections import Counter, defaultdict

import numpy as np
import pytest

from vqa.data import read_questions
from vqa.shapes import (
    COLOURS,
    FORMS,
    MARKS,
    Shape,
    balanced,
    draw_shapes,
    picture,
    questions_about,
    write_questions,
)


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
        assert {q.answer_type for q in questions} == {"number", "other"}
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
        expected = {"how many": {"0", "1", "2"}, "what color": set(COLOURS), "which shape": set(FORMS)}
        assert set(counts) == expected.get(" ".join(text.split()[:2]), set(MARKS)), text
    assert len(answers) == 3 * len(FORMS) + len(COLOURS)


def test_the_seed_decides_everything(tmp_path):
    contents = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_questions(tmp_path / name, 40, 40, seed)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        contents.append({path.relative_to(tmp_path / name): path.read_bytes() for path in files})
    assert contents[0] == contents[1] != contents[2]


def test_what_is_asked_is_true():
    shapes = [
        Shape("circle", "red", (0, 2), "dot"),
        Shape("square", "blue", (2, 0), "nothing"),
        Shape("triangle", "blue", (1, 1), "cross"),
        Shape("triangle", "green", (1, 0), "dot"),
    ]
    assert {one.text: one.answer for one in questions_about(shapes)} == {
        "how many circles are there?": "1",
        "how many squares are there?": "1",
        "how many triangles are there?": "2",
        "what color is the circle?": "red",
        "what color is the square?": "blue",
        "which shape is red?": "circle",
        "which shape is green?": "triangle",
        "what is in the circle?": "dot",
        "what is in the square?": "nothing",
    }


def test_shapes_are_seen_where_they_are():
    random = np.random.default_rng(0)
    for _ in range(20):
        shapes = draw_shapes(random)
        pixels = np.asarray(picture(random, shapes)).astype(int)
        for shape in shapes:
            column, row = shape.cell
            cell = pixels[row * 74 : row * 74 + 74, column * 74 : column * 74 + 74]
            near = np.abs(cell - COLOURS[shape.colour]).max(axis=-1) < 8
            black = cell.max(axis=-1) < 30
            assert black.any() == (shape.mark != "nothing")
            near |= black
            assert near.sum() > 500, shape
            columns = np.flatnonzero(near.any(axis=0))
            filled = near.sum() / (columns[-1] - columns[0] + 1) ** 2
            assert filled == pytest.approx(
                {"square": 1, "circle": np.pi / 4, "triangle": 0.5}[shape.form], abs=0.08
            )


def test_balancing_keeps_as_many_as_it_can():
    shapes = [[Shape("circle", colour, (0, 0), "dot")] for colour in ("red", "red", *COLOURS)]
    random = np.random.default_rng(0)
    asked = [(i, one) for i, of in enumerate(shapes) for one in questions_about(of)]
    kept = balanced(random, asked)
    colours = Counter(one.answer for _, one in kept if one.kind == "what color")
    assert colours == dict.fromkeys(COLOURS, 1)
    assert not [one for _, one in kept if one.kind == "how many"]  # always one circle
