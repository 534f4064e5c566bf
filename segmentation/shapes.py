"""A data set that is drawn: shapes, a lamp at one end, and rings whose class only the lamp decides.

The rings of a picture mean `go` where its lamp is green and `stop` where it is red. They look the same and
lie in the half away from the lamp, so that a network that sees no further than some hundred pixels is at
chance on them. Everything else is told by its looks.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from common.shapes import COLOURS, box_in, draw_shape, grey_ground
from segmentation.data import CLASSES

NAMES = ("ground", "lamp", "circle", "square", "go", "stop")
CELL, COLUMNS, ROWS = 48, 8, 2
_SIZES = (0.6, 0.9)
_HOLE = 0.5
_PLAIN = ("blue", "yellow")  # colours of all but the lamp


def write_scenes(out: Path, train: int, val: int, seed: int) -> None:
    """Write `train` and `val` pictures with a class for each pixel, and the names of the classes.

    Every other picture of a part means `go`. Raises OSError.
    """
    for number, (split, count) in enumerate((("train", train), ("val", val))):
        random = np.random.default_rng([seed, number])
        for part in ("images", "labels"):
            (out / split / part).mkdir(parents=True)
        for i in range(count):
            image, label = scene(random, go=i % 2 == 0)
            image.save(out / split / "images" / f"{i:05d}.png")
            label.save(out / split / "labels" / f"{i:05d}.png")
    (out / CLASSES).write_text("\n".join(NAMES) + "\n", encoding="utf-8")


def scene(random: np.random.Generator, *, go: bool) -> tuple[Image.Image, Image.Image]:
    """One picture, 384 by 96, and the class of each of its pixels."""
    image = grey_ground(random, CELL * COLUMNS, CELL * ROWS)
    label = Image.new("L", image.size, NAMES.index("ground"))

    def add(name: str, form: str, cell: tuple[int, int], colour: str, hole: float = 0) -> None:
        box = box_in(random, *cell, CELL, _SIZES)
        draw_shape(image, form, box, COLOURS[colour], hole)
        draw_shape(label, form, box, NAMES.index(name), hole)

    add("lamp", "triangle", (0, int(random.integers(ROWS))), "green" if go else "red")
    half = COLUMNS // 2
    far = [(column, row) for column in range(half, COLUMNS) for row in range(ROWS)]
    near = [(column, row) for column in range(1, half) for row in range(ROWS)]
    rings = random.permutation(len(far)).tolist()
    count = int(random.integers(1, 4))
    for at in rings[:count]:
        add("go" if go else "stop", "circle", far[at], "yellow", _HOLE)
    free = [far[at] for at in rings[count:]] + near
    for at in random.permutation(len(free))[: random.integers(2, 6)].tolist():
        form = str(random.choice(["circle", "square"]))
        add(form, form, free[at], str(random.choice(_PLAIN)))
    if random.random() < 0.5:
        image, label = ImageOps.mirror(image), ImageOps.mirror(label)
    return image, label
