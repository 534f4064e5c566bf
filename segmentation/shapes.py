"""A data set that is drawn: shapes on a ground that is open or closed, which only a far lamp decides.

The ground of a picture is `open` where its lamp is green and `closed` where it is red. It looks the same, and
only the half away from the lamp is labelled, so that a network that sees no further than some hundred pixels
is at chance on it. Lamps and shapes are told by their looks.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from common.shapes import COLOURS, box_in, draw_shape, grey_ground
from segmentation.data import CLASSES

NAMES = ("open", "closed", "lamp", "circle", "square", "ring")
IGNORED = 255
CELL, COLUMNS, ROWS = 48, 8, 2
_SIZES = (0.6, 0.9)
_HOLE = 0.5
_PLAIN = ("blue", "yellow")  # colours of all but the lamp


def write_scenes(out: Path, train: int, val: int, seed: int) -> None:
    """Write `train` and `val` pictures with a class for each pixel, and the names of the classes.

    Every other picture of a part is open. Raises OSError.
    """
    for number, (split, count) in enumerate((("train", train), ("val", val))):
        random = np.random.default_rng([seed, number])
        for part in ("images", "labels"):
            (out / split / part).mkdir(parents=True)
        for i in range(count):
            image, label = scene(random, is_open=i % 2 == 0)
            image.save(out / split / "images" / f"{i:05d}.png")
            label.save(out / split / "labels" / f"{i:05d}.png")
    (out / CLASSES).write_text("\n".join(NAMES) + "\n", encoding="utf-8")


def scene(random: np.random.Generator, *, is_open: bool) -> tuple[Image.Image, Image.Image]:
    """One picture, 384 by 96, and the class of each of its pixels."""
    image = grey_ground(random, CELL * COLUMNS, CELL * ROWS)
    label = Image.new("L", image.size, NAMES.index("open" if is_open else "closed"))
    label.paste(IGNORED, (0, 0, image.width // 2, image.height))

    def add(name: str, form: str, cell: tuple[int, int], colour: str, hole: float = 0) -> None:
        box = box_in(random, *cell, CELL, _SIZES)
        draw_shape(image, form, box, COLOURS[colour], hole)
        draw_shape(label, form, box, NAMES.index(name), hole)

    add("lamp", "triangle", (0, int(random.integers(ROWS))), "green" if is_open else "red")
    cells = [(column, row) for column in range(1, COLUMNS) for row in range(ROWS)]
    for at in random.permutation(len(cells))[: random.integers(3, 8)].tolist():
        form = str(random.choice(["circle", "square", "ring"]))
        colour = str(random.choice(_PLAIN))
        add(form, "circle" if form == "ring" else form, cells[at], colour, _HOLE if form == "ring" else 0)
    if random.random() < 0.5:
        image, label = ImageOps.mirror(image), ImageOps.mirror(label)
    return image, label
