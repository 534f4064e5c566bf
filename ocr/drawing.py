"""Drawing of a page: its lines framed, and beside it the recognized text."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from common.images import ImageSource, load_image
from ocr.reader import Page

_SURE, _UNSURE = (0, 140, 60), (210, 70, 0)
_LIMIT = 0.8  # confidence below which a line is drawn as unsure


def draw_page(image: ImageSource, page: Page, out: Path) -> None:
    """Write a PNG: left the page with a frame around each line, right the text at the same positions.

    Orange lines have a confidence below 0.8.

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
        x0, y0, x1, y1 = line.box
        size = max(8.0, 0.7 * (y1 - y0))
        width = ImageFont.load_default(size).getlength(line.text)
        font = ImageFont.load_default(max(6.0, min(size, size * (x1 - x0) / max(width, 1.0))))
        draw.text((page_image.width + x0, (y0 + y1) / 2), line.text, colour, font, anchor="lm")
    canvas.save(out, format="PNG")
