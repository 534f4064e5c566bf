"""Rendered lines and pages that the tests make themselves, a tiny recognizer and a tiny finder of lines."""

import json
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from common.charset import Charset
from common.encoder import Encoder
from ocr.finder import FinderConfig, LineFinder
from ocr.model import Recognizer, RecognizerConfig

WORDS = ("total", "cash", "12.50", "tea", "no. 7", "change", "3 x", "milk")


def line_picture(text: str, size: int = 24, ink: int = 20, paper: int = 235) -> Image.Image:
    """A line of printed text, tight."""
    font = ImageFont.load_default(size)
    left, top, right, bottom = font.getbbox(text)
    image = Image.new("L", (int(right - left) + 10, int(bottom - top) + 8), paper)
    ImageDraw.Draw(image).text((5 - left, 4 - top), text, ink, font)
    return image


def page_picture(rows, width: int = 700, size: int = 26, ink: int = 25, paper: int = 240) -> Image.Image:
    """A page whose rows are lists of texts, spread over its width."""
    image = Image.new("L", (width, 60 + 48 * len(rows)), paper)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size)
    for i, row in enumerate(rows):
        for j, text in enumerate(row):
            draw.text((40 + j * (width - 60) // len(row), 30 + 48 * i), text, ink, font)
    return image


def tiny_recognizer(charset: Charset | None = None, **sizes) -> Recognizer:
    torch.manual_seed(0)
    config = RecognizerConfig(**{"hidden_size": 16, "layers": 1, "dropout": 0.0, **sizes})
    return Recognizer(config, charset or Charset()).eval()


def write_whole_pages(root: Path, count: int = 12) -> Path:
    """A folder of small pages, each with its lines in JSON."""
    root.mkdir(parents=True)
    font = ImageFont.load_default(16)
    for i in range(count):
        image, lines = Image.new("L", (120 + 4 * i, 150), 235), []
        draw = ImageDraw.Draw(image)
        for row in range(2 + i % 3):
            text, y = WORDS[(i + row) % len(WORDS)], 10 + 40 * row
            draw.text((12, y), text, 20, font)
            lines.append({"box": [round(n) for n in draw.textbbox((12, y), text, font)], "text": text})
        image.save(root / f"{i:03d}.png")
        (root / f"{i:03d}.json").write_text(json.dumps(lines))
    return root


def tiny_finder(context: str = "renet", stride: int = 16) -> LineFinder:
    torch.manual_seed(0)
    return LineFinder(Encoder("test_efficientnet"), FinderConfig(stride, context, width=16)).eval()
