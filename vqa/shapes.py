"""A data set that is drawn: coloured shapes, with questions that nobody can answer without the picture.

Each text of a question stands as often with each of its answers, in train and in val: whoever sees only the
question is right once in as many times as it has answers.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from common.errors import UsageError
from vqa.data import IMAGE_TEMPLATE

COLOURS = {"red": (220, 40, 40), "green": (40, 170, 60), "blue": (50, 80, 220), "yellow": (235, 215, 50)}
FORMS = ("circle", "square", "triangle")
SIDE, GRID = 224, 3
MOST = 2
"""Shapes of a form in a picture: none to so many, each as likely."""
_SIZES = (0.5, 0.85)  # of the shapes, relative to a cell of the grid
MARKS = ("cross", "dot", "nothing")
"""What lies in a shape, black."""


@dataclass(frozen=True)
class Shape:
    """A shape of a picture."""

    form: str
    colour: str
    cell: tuple[int, int]
    """Column and row in a grid of `GRID` by `GRID`."""
    mark: str
    """One of `MARKS`."""


class Asked(NamedTuple):
    """A question about a picture, and its answer."""

    kind: str
    """VQA v2's question type: the words that it begins with."""
    text: str
    answer: str


_ANSWERS = {
    "how many": ("number", tuple(str(number) for number in range(MOST + 1))),
    "what color": ("other", tuple(COLOURS)),
    "which shape": ("other", FORMS),
    "what is in": ("other", MARKS),
}
"""VQA v2's answer type and the possible answers of each question type."""


def write_questions(out: Path, train: int, val: int, seed: int) -> dict[str, int]:
    """Write pictures with questions in VQA v2's format, and give the number of questions of each part.

    Args:
        out: folder to write.
        train: pictures of train; those that no question is left about are not written.
        val: pictures of val, which are others.
        seed: of everything.

    Raises:
        UsageError: so few pictures that no question is left once the answers are balanced.
        OSError: the folder cannot be written.
    """
    drawn: dict[str, dict[int, list[Shape]]] = {}
    asked: dict[str, list[tuple[int, Asked]]] = {}
    for number, (split, count) in enumerate((("train", train), ("val", val))):
        random = np.random.default_rng([seed, number])
        drawn[split] = {number * train + i: draw_shapes(random) for i in range(count)}
        asked[split] = balanced(
            random,
            [(at, one) for at, shapes in drawn[split].items() for one in questions_about(shapes)],
        )
        if not asked[split]:
            raise UsageError(f"--{split} {count}: no question is left with each of its answers; raise it")
    (out / "images").mkdir(parents=True)
    (out / "annotations").mkdir()
    for number, split in enumerate(drawn):
        first_id = number * len(asked["train"])
        _write(out, split, asked[split], first_id)
        for image_id in dict.fromkeys(image_id for image_id, _ in asked[split]):
            random = np.random.default_rng([seed, 2, image_id])
            image = picture(random, drawn[split][image_id])
            image.save(out / IMAGE_TEMPLATE.format(image_id=image_id), quality=95)
    return {split: len(questions) for split, questions in asked.items()}


def draw_shapes(random: np.random.Generator) -> list[Shape]:
    """The shapes of a picture, at least one, each in a cell of its own."""
    forms: list[str] = []
    while not forms:
        forms = [form for form in FORMS for _ in range(random.integers(MOST + 1))]
    cells = random.permutation(GRID * GRID)[: len(forms)].tolist()
    colours = random.choice(list(COLOURS), len(forms)).tolist()
    marks = random.choice(MARKS, len(forms)).tolist()
    return [
        Shape(form, colour, (cell % GRID, cell // GRID), mark)
        for form, colour, cell, mark in zip(forms, colours, cells, marks, strict=True)
    ]


def picture(random: np.random.Generator, shapes: list[Shape]) -> Image.Image:
    """`SIDE` by `SIDE` pixels, on a noisy grey of its own."""
    grey = random.uniform(120, 190) + random.normal(0, 8, (SIDE, SIDE, 1))
    pixels = grey + random.normal(0, 4, (SIDE, SIDE, 3))
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    draw, cell = ImageDraw.Draw(image), SIDE // GRID
    for shape in shapes:
        side = int(cell * random.uniform(*_SIZES))
        left, top = (int(cell * at + random.uniform(1, cell - side - 1)) for at in shape.cell)
        _draw_shape(draw, shape, left, top, side)
    return image


def _draw_shape(draw: ImageDraw.ImageDraw, shape: Shape, left: int, top: int, side: int) -> None:
    right, bottom, fill = left + side, top + side, COLOURS[shape.colour]
    x, y, reach = left + side / 2, top + side / 2, side / 6
    if shape.form == "circle":
        draw.ellipse((left, top, right, bottom), fill=fill)
    elif shape.form == "square":
        draw.rectangle((left, top, right, bottom), fill=fill)
    else:
        draw.polygon([(x, top), (right, bottom), (left, bottom)], fill=fill)
        y += reach
    if shape.mark == "dot":
        draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=(0, 0, 0))
    elif shape.mark == "cross":
        for slope in (1, -1):
            ends = (x - reach, y - slope * reach, x + reach, y + slope * reach)
            draw.line(ends, fill=(0, 0, 0), width=max(1, round(reach / 2)))


def questions_about(shapes: list[Shape]) -> list[Asked]:
    """All that can be asked: counts; of what is there once its colour, its form and what lies in it."""
    found = []
    of_form = {form: [shape for shape in shapes if shape.form == form] for form in FORMS}
    for form, same in of_form.items():
        found.append(Asked("how many", f"how many {form}s are there?", str(len(same))))
        if len(same) == 1:
            found.append(Asked("what color", f"what color is the {form}?", same[0].colour))
            found.append(Asked("what is in", f"what is in the {form}?", same[0].mark))
    for colour in COLOURS:
        same = [shape for shape in shapes if shape.colour == colour]
        if len(same) == 1:
            found.append(Asked("which shape", f"which shape is {colour}?", same[0].form))
    return found


def balanced(random: np.random.Generator, asked: list[tuple[int, Asked]]) -> list[tuple[int, Asked]]:
    """As many questions as possible, each text with each of its answers equally often.

    Args:
        random: which questions go.
        asked: image id and question.
    """
    by_text: defaultdict[tuple[str, str], defaultdict[str, list[int]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for i, (_, one) in enumerate(asked):
        by_text[one.kind, one.text][one.answer].append(i)
    kept: list[int] = []
    for (kind, _), by_answer in sorted(by_text.items()):
        answers = _ANSWERS[kind][1]
        fewest = min(len(by_answer[answer]) for answer in answers)
        for answer in answers:
            kept += random.permutation(by_answer[answer])[:fewest].tolist()
    return [asked[i] for i in sorted(kept)]


def _write(out: Path, split: str, asked: list[tuple[int, Asked]], first_id: int) -> None:
    questions, annotations = [], []
    for question_id, (image_id, one) in enumerate(asked, first_id):
        ids = {"question_id": question_id, "image_id": image_id}
        questions.append({**ids, "question": one.text})
        annotations.append(
            {
                **ids,
                "question_type": one.kind,
                "answer_type": _ANSWERS[one.kind][0],
                "multiple_choice_answer": one.answer,
                "answers": [{"answer": one.answer, "answer_id": 1}],
            }
        )
    for name, content in (("questions", questions), ("annotations", annotations)):
        file = out / "annotations" / f"{name}_{split}.json"
        file.write_text(json.dumps({name: content}, indent=0), encoding="utf-8")
