"""Drawing of a page: its lines framed, and beside it the recognized text."""

import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from common.images import ImageSource, load_image
from ocr.reader import Line, Page

_SURE, _UNSURE = (0, 140, 60), (210, 70, 0)
_LIMIT = 0.8  # confidence below which a line is drawn as unsure


def draw_page(image: ImageSource, page: Page, out: Path) -> None:
    """Write a PNG: left the page with a frame around each line, right the text at the same positions.

    Text that stands askew or on its head on the page does so on the right, too. Orange lines have a
    confidence below 0.8.

    Raises:
        OSError: `out` cannot be written.
    """
    page_image = load_image(image)
    canvas = Image.new("RGB", (2 * page_image.width, page_image.height), "white")
    canvas.paste(page_image, (0, 0))
    draw = ImageDraw.Draw(canvas)
    for line in page.lines:
        colour = _SURE if line.confidence >= _LIMIT else _UNSURE
        draw.polygon(line.polygon, outline=colour, width=max(1, page_image.width // 500))
        text = _text_image(line)
        x, y = (sum(place) / len(line.polygon) for place in zip(*line.polygon, strict=True))
        left, top = page_image.width + x - text.width / 2, y - text.height / 2
        canvas.paste(colour, (round(left), round(top)), text)
    canvas.save(out, format="PNG")


def _text_image(line: Line) -> Image.Image:
    """The text of a line as a mask, L, turned as it stands on the page; its middle is that of the line."""
    (x0, y0), (x1, y1), _, (x3, y3) = line.polygon
    width, height = math.hypot(x1 - x0, y1 - y0), math.hypot(x3 - x0, y3 - y0)
    size = max(8.0, 0.7 * height)
    length = ImageFont.load_default(size).getlength(line.text)
    font = ImageFont.load_default(max(6.0, min(size, size * width / max(length, 1.0))))
    mask = Image.new("L", (math.ceil(max(width, font.getlength(line.text))) + 2, math.ceil(1.4 * size)))
    ImageDraw.Draw(mask).text((1, mask.height / 2), line.text, 255, font, anchor="lm")
    angle = -math.degrees(math.atan2(y1 - y0, x1 - x0))
    return mask.rotate(angle, Image.Resampling.BICUBIC, expand=True)
