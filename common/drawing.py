"""Drawings: an image under its attention maps, a confusion matrix."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from common.images import ImageSource, load_image

_SIDE = 360  # pixels of a panel's longer side
_TALLEST = 4  # times a panel's width; a narrower image is drawn with margins


def plain(text: str) -> str:
    """`text` as Matplotlib shows it letter by letter on one line: no formula, "?" for no character."""
    return " ".join(text.encode("utf-8", "replace").decode().split()).replace("$", r"\$")


def draw_attention(
    source: ImageSource, title: str, labels: Sequence[str], maps: np.ndarray, out: Path
) -> None:
    """Write a PNG: the image, then for each label the image under its attention map.

    Args:
        source: the image.
        title: above all of it.
        labels: one per map.
        maps: (labels, H, W); each is scaled to its own largest weight.
        out: file to write.

    Raises:
        OSError: `out` cannot be written.
    """
    image = load_image(source)
    image.thumbnail((_SIDE, _SIDE))
    panels = [("", np.asarray(image))]
    panels += [(label, _overlay(image, np.asarray(m))) for label, m in zip(labels, maps, strict=True)]
    columns = min(5, len(panels))
    rows = -(-len(panels) // columns)
    height = 2.4 * min(_TALLEST, image.height / image.width) + 0.35
    figure = Figure(figsize=(2.4 * columns, height * rows + 0.4), layout="constrained")
    figure.suptitle(plain(title))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, (label, pixels) in zip(axes, panels, strict=False):
        axis.imshow(pixels)
        axis.set_title(plain(label), fontsize=11)
    figure.savefig(out, dpi=110, format="png")


def animate_attention(
    source: ImageSource, title: str, labels: Sequence[str], maps: np.ndarray, out: Path
) -> None:
    """Write an animated GIF: the image, then a frame for each label, the image under its attention map.

    Below it the title is written word by word. Arguments and errors as of `draw_attention`.
    """
    image = load_image(source)
    image.thumbnail((_SIDE, _SIDE))
    font = ImageFont.load_default(15)
    lines = textwrap.wrap(title, max(8, image.width // 8)) or [""]
    end, frames = 0, []
    for label, panel in [
        ("", np.asarray(image)),
        *((label, _overlay(image, np.asarray(m))) for label, m in zip(labels, maps, strict=True)),
    ]:
        end = title.lower().find(label.lower(), end) + len(label) if label else end
        frame = Image.new("RGB", (image.width, image.height + 22 * len(lines) + 8), "white")
        frame.paste(Image.fromarray(panel), (0, 0))
        draw, start = ImageDraw.Draw(frame), 0
        for row, line in enumerate(lines):
            draw.text((6, image.height + 4 + 22 * row), line[: max(0, end - start)], "black", font)
            start += len(line) + 1
        frames.append(frame)
    frames.append(frames[0].copy())
    frames[-1].paste(frames[-2].crop((0, image.height, *frames[-2].size)), (0, image.height))
    durations = [600, *[500] * (len(frames) - 2), 2000]
    frames[0].save(out, format="GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)


def _overlay(image: Image.Image, grid: np.ndarray) -> np.ndarray:
    """Blend the image, darkened, with the colour-coded map, smoothly enlarged to its size."""
    scaled = Image.fromarray((255 * grid / max(float(grid.max()), 1e-9)).astype(np.uint8))
    weights = np.asarray(scaled.resize(image.size, Image.Resampling.BICUBIC), dtype=np.float32) / 255
    colours = matplotlib.colormaps["inferno"](weights)[..., :3] * 255
    return np.asarray(0.45 * np.asarray(image) + 0.55 * colours, dtype=np.uint8)


def draw_confusion(counts: np.ndarray, labels: Sequence[str], title: str, out: Path) -> None:
    """Write a PNG of a confusion matrix; shades are shares of a row, numbers are counts.

    Args:
        counts: (K, K), rows are the truth, columns what was predicted.
        labels: K names.
        title: above it.
        out: file to write.

    Raises:
        OSError: `out` cannot be written.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.5 + 0.3 * len(labels)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axis = figure.subplots()
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(counts > 0):
        colour = "white" if shares[row, column] > 0.6 else "black"
        axis.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=colour, fontsize=7)
    names = [plain(label) for label in labels]
    axis.set_xticks(range(len(labels)), names, rotation=90)
    axis.set_yticks(range(len(labels)), names)
    axis.set(xlabel="predicted", ylabel="true", title=plain(title))
    figure.savefig(out, dpi=110, format="png")
