"""Coloured shapes on a grey ground, for data sets that are drawn: what the pictures of two tasks share."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

COLOURS = {"red": (220, 40, 40), "green": (40, 170, 60), "blue": (50, 80, 220), "yellow": (235, 215, 50)}
FORMS = ("circle", "square", "triangle")


def grey_ground(random: np.random.Generator, width: int, height: int) -> Image.Image:
    """A grey of its own for each picture, with noise."""
    grey = random.uniform(120, 190) + random.normal(0, 8, (height, width, 1))
    pixels = grey + random.normal(0, 4, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def draw_shape(
    image: Image.Image, form: str, box: Sequence[float], fill: int | tuple[int, ...], hole: float = 0
) -> None:
    """Draw a circle, square or triangle of one colour, or class, into a box (left, top, right, bottom).

    Args:
        image: is drawn on.
        form: one of `FORMS`.
        box: the shape touches its four sides; in pixels.
        fill: colour of an RGB image, class of a grey one.
        hole: of a circle, the part of its radius that is left as it is: a ring.
    """
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = box
    if form == "square":
        draw.rectangle((left, top, right, bottom), fill=fill)
    elif form == "triangle":
        draw.polygon([((left + right) / 2, top), (right, bottom), (left, bottom)], fill=fill)
    elif hole:
        draw.ellipse((left, top, right, bottom), outline=fill, width=round((right - left) / 2 * (1 - hole)))
    else:
        draw.ellipse((left, top, right, bottom), fill=fill)


def box_in(
    random: np.random.Generator, column: int, row: int, cell: int, sides: tuple[float, float]
) -> tuple[int, int, int, int]:
    """A square box somewhere in a cell of a grid.

    Args:
        random: where it lies and how large it is.
        column: of the cell.
        row: of the cell.
        cell: side of a cell in pixels.
        sides: smallest and largest side of the box, relative to the cell's; below 1.
    """
    side = int(cell * random.uniform(*sides))
    left, top = (int(cell * at + random.uniform(1, cell - side - 1)) for at in (column, row))
    return left, top, left + side, top + side
