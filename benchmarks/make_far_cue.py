"""Make the far-cue set: images whose far half can be labelled only by the patch at their other end.

    python benchmarks/make_far_cue.py --out DIR

Every image is the same blue texture, with one patch at its left or right end. A red patch makes the texture
sky, a green one wall. Only the half of the image that lies away from the patch is scored; elsewhere the
label is 255. The layout is what `scripts/train_segmentation.py` reads.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from common.cli import run

HEIGHT, WIDTH, PATCH = 64, 512, 24
CLASSES = ("sky", "wall")
COLOURS = ((200, 60, 50), (60, 170, 60))


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags."""

    out: Path
    """Folder to write."""
    train: int = 400
    """Images of train."""
    val: int = 100
    """Images of val."""
    seed: int = 0
    """Of everything random."""


def main(config: Config) -> None:
    """Write train, val and the names of the classes."""
    random = np.random.default_rng(config.seed)
    for split, count in (("train", config.train), ("val", config.val)):
        for part in ("images", "labels"):
            (config.out / split / part).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            image, label = draw(random, i % 2)
            image.save(config.out / split / "images" / f"{i:04d}.png")
            label.save(config.out / split / "labels" / f"{i:04d}.png")
    (config.out / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")


def draw(random: np.random.Generator, texture: int) -> tuple[Image.Image, Image.Image]:
    """One image, its texture sky (0) or wall (1), and its label."""
    pixels = np.array([70, 110, 200]) + random.normal(0, 18, (HEIGHT, WIDTH, 1))
    label = np.full((HEIGHT, WIDTH), 255, np.uint8)
    label[:, WIDTH // 2 :] = texture
    top, left = int(random.integers(4, HEIGHT - PATCH - 4)), int(random.integers(2, 12))
    pixels[top : top + PATCH, left : left + PATCH] = COLOURS[texture]
    pixels = (pixels + random.normal(0, 6, pixels.shape)).clip(0, 255).astype(np.uint8)
    if random.random() < 0.5:
        pixels, label = pixels[:, ::-1], label[:, ::-1]
    return Image.fromarray(np.ascontiguousarray(pixels)), Image.fromarray(np.ascontiguousarray(label))


if __name__ == "__main__":
    run(main, Config, __doc__)
