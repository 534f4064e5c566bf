"""Images of a segmentation: label PNG with a palette, overlay with a legend."""

import colorsys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from common.images import ImageSource, load_image
from segmentation.segmenter import Segmentation

_LEAST_SIDE = 480  # pixels of the longer side of an overlay: smaller images are enlarged
_STRIP = 2**22  # pixels that are blended at a time
_ROW = 18  # pixels of a line of the legend


def palette(classes: int) -> np.ndarray:
    """Colours that differ clearly, uint8 (classes, 3): hues by the golden ratio, two brightnesses."""
    colours = [
        colorsys.hsv_to_rgb(i * 0.618034 % 1, (0.85, 0.55)[i % 2], (0.95, 0.7)[i // 2 % 2])
        for i in range(classes)
    ]
    return (np.array(colours) * 255).round().astype(np.uint8)


def save_labels(found: Segmentation, out: Path) -> None:
    """Write class ids as a palette PNG: a viewer shows colours, a program reads ids. Raises OSError."""
    image = Image.fromarray(found.labels, mode="P")
    image.putpalette(palette(len(found.classes)).tobytes())
    image.save(out, format="PNG")


def draw_overlay(source: ImageSource, found: Segmentation, out: Path) -> None:
    """Write a PNG: the image under the colours of its classes, with a legend below that gives their shares.

    Raises:
        ImageError: the image cannot be read.
        OSError: `out` cannot be written.
    """
    colours = palette(len(found.classes))
    overlay = load_image(source)
    rows = max(1, _STRIP // overlay.width)  # of all at once the floats may need gigabytes
    for top in range(0, overlay.height, rows):
        labels = found.labels[top : top + rows]
        strip = np.asarray(overlay.crop((0, top, overlay.width, top + len(labels))))
        blended = (0.5 * strip + 0.5 * colours[labels]).round().astype(np.uint8)
        overlay.paste(Image.fromarray(blended), (0, top))
    scale = max(1.0, _LEAST_SIDE / max(overlay.size))
    if scale > 1:
        overlay = overlay.resize((round(overlay.width * scale), round(overlay.height * scale)))
    font = ImageFont.load_default(12)
    entries = [(found.classes.index(name), f"{name} {share:.1%}") for name, share in found.shares.items()]
    column = 28 + max(round(font.getlength(text)) for _, text in entries)
    width = max(overlay.width, column)
    columns = width // column
    rows = -(-len(entries) // columns)
    sheet = Image.new("RGB", (width, overlay.height + rows * _ROW + 8), "white")
    sheet.paste(overlay, (0, 0))
    draw = ImageDraw.Draw(sheet)
    for i, (number, text) in enumerate(entries):
        x, y = i % columns * column, overlay.height + 4 + i // columns * _ROW
        draw.rectangle((x + 4, y + 2, x + 16, y + 14), fill=tuple(colours[number].tolist()))
        draw.text((x + 22, y + 1), text, "black", font)
    sheet.save(out, format="PNG")
