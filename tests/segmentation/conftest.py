"""Small scenes that the tests draw themselves: shapes on a ground, with the class of each pixel."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from common.encoder import Encoder
from common.images import Preprocess
from segmentation.config import SegmenterConfig
from segmentation.model import SegmentationModel

CLASSES = ("ground", "square", "circle")
TINY_STRIDED = "test_efficientnet"
IGNORED = 9


def scene(seed: int, size: tuple[int, int] = (80, 64)) -> tuple[Image.Image, Image.Image]:
    """A red square and a blue circle on noise, and their classes; the outermost pixels are ignored."""
    random = np.random.default_rng(seed)
    width, height = size
    image = Image.fromarray(random.integers(90, 160, (height, width, 3), dtype=np.uint8))
    label = Image.new("L", size, 0)
    for number, colour in ((1, (220, 30, 30)), (2, (30, 30, 220))):
        x, y = int(random.integers(2, width // 2)), int(random.integers(2, height // 2))
        box = (x, y, x + width // 3, y + height // 3)
        for target, fill in ((image, colour), (label, number)):
            draw = ImageDraw.Draw(target)
            (draw.rectangle if number == 1 else draw.ellipse)(box, fill=fill)
    ImageDraw.Draw(label).rectangle((0, 0, width - 1, height - 1), outline=IGNORED)
    return image, label


def write_scenes(root: Path, train: int = 12, val: int = 4) -> Path:
    """A data set; some labels have a palette."""
    for split, count, start in (("train", train, 0), ("val", val, 100)):
        (root / split / "images").mkdir(parents=True)
        (root / split / "labels").mkdir()
        for i in range(count):
            image, label = scene(start + i)
            image.save(root / split / "images" / f"{i:02d}.png")
            if i % 2:
                label = Image.fromarray(np.asarray(label), mode="P")
                label.putpalette([255, 0, 0] * 256)
            label.save(root / split / "labels" / f"{i:02d}.png")
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    return root


def tiny_segmenter(context: str = "renet", stride: int = 16, **sizes: object) -> SegmentationModel:
    torch.manual_seed(0)
    encoder = Encoder(TINY_STRIDED)
    encoder.preprocess = Preprocess(64, 80, (0.5,) * 3, (0.5,) * 3, "bilinear")
    config = SegmenterConfig(stride=stride, context=context, width=16, dropout=0.0, **sizes)
    return SegmentationModel(encoder, config, CLASSES, IGNORED).eval()
