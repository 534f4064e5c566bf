"""A data set that is drawn: half of each image can be labelled only by the patch at the other end.

Every image is the same blue texture, with one patch at its left or right end. A red patch makes the texture
sky, a green one wall. Only the half of the image that lies away from the patch is labelled, so that a network
that sees no further than some hundred pixels is at chance.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from segmentation.data import CLASSES

NAMES = ("sky", "wall")
HEIGHT, WIDTH, PATCH = 64, 512, 24
COLOURS = ((200, 60, 50), (60, 170, 60))
IGNORED = 255


def write_scenes(out: Path, train: int, val: int, seed: int) -> None:
    """Write `train` and `val` images with a class for each pixel, and the names of the classes.

    The images of a part are sky and wall in turn. Raises OSError.
    """
    random = np.random.default_rng(seed)
    for split, count in (("train", train), ("val", val)):
        for part in ("images", "labels"):
            (out / split / part).mkdir(parents=True)
        for i in range(count):
            image, label = scene(random, i % 2)
            image.save(out / split / "images" / f"{i:04d}.png")
            label.save(out / split / "labels" / f"{i:04d}.png")
    (out / CLASSES).write_text("\n".join(NAMES) + "\n", encoding="utf-8")


def scene(random: np.random.Generator, texture: int) -> tuple[Image.Image, Image.Image]:
    """One image, its texture sky (0) or wall (1), and its label."""
    pixels = np.array([70, 110, 200]) + random.normal(0, 18, (HEIGHT, WIDTH, 1))
    label = np.full((HEIGHT, WIDTH), IGNORED, np.uint8)
    label[:, WIDTH // 2 :] = texture
    top, left = int(random.integers(4, HEIGHT - PATCH - 4)), int(random.integers(2, 12))
    pixels[top : top + PATCH, left : left + PATCH] = COLOURS[texture]
    pixels = (pixels + random.normal(0, 6, pixels.shape)).clip(0, 255).astype(np.uint8)
    if random.random() < 0.5:
        pixels, label = pixels[:, ::-1], label[:, ::-1]
    return Image.fromarray(np.ascontiguousarray(pixels)), Image.fromarray(np.ascontiguousarray(label))
