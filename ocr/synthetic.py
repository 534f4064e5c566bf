"""How synthetic lines look: an endless, seeded stream of rendered texts, and the distortions of a bad scan.

Every sample depends on its seed and its width alone, so that any number of workers gives the same stream.
"""

import functools
import logging
import string
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from common.errors import UsageError
from ocr.phrases import TextSource

_SKIP = (
    "emoji", "symbol", "dingbat", "ornament", "icon", "stixsiz", "cmex", "cmsy", "cmmi", "barcode",
    "braille", "math", "wingding", "webding", "music", "atari", "outline", "inverted", "initials", "smallcap",
    "-sc", "unicase", "swash", "mosaic", "keycap", "led", "aenigma", "dustin", "breip", "isabella",
    "lastresort", "biolinum_k", "ocrbe", "ocrbx", "monocaps",
)  # fmt: skip


def find_fonts(folder: Path | None = None) -> list[Path]:
    """Fonts that draw printable ASCII: of `folder`, or of the system and those that matplotlib includes.

    Raises:
        UsageError: the folder holds no such font.
    """
    import matplotlib
    from matplotlib import font_manager

    if folder is None:
        own = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        files = {Path(file) for file in font_manager.findSystemFonts()} | set(own.glob("*.ttf"))
    else:
        files = {file for file in folder.rglob("*") if file.suffix.lower() in (".ttf", ".otf")}
    named = [f for f in sorted(files) if not any(word in str(f).lower() for word in _SKIP)]
    fonts = [file for file in named if _draws_ascii(file)]
    if not fonts:
        raise UsageError(f"--fonts {folder}: no TrueType or OpenType font with Latin letters in there")
    return fonts


def _draws_ascii(file: Path) -> bool:
    from fontTools.ttLib import TTFont, TTLibError

    logging.getLogger("fontTools").setLevel(logging.ERROR)  # it reports every font's oddities
    try:
        with TTFont(file, lazy=True, fontNumber=0) as font:
            glyphs = font.getBestCmap() or {}
        return all(ord(c) in glyphs for c in string.ascii_letters + string.digits + string.punctuation)
    except (TTLibError, OSError, AssertionError):
        return False


class SyntheticLines:
    """Rendered lines of text.

    Args:
        fonts: font files.
        source: gives the texts of the lines.
    """

    def __init__(self, fonts: Sequence[Path], source: TextSource) -> None:
        self.fonts, self.source = [str(font) for font in fonts], source
        self.typewriters = [font for font in self.fonts if _is_typewriter(font)] or self.fonts

    def sample(self, seed: int, width: int, height: int = 32) -> tuple[np.ndarray, str]:
        """The sample of this seed: grey uint8 (height, at most about `width`) and its text."""
        random = np.random.default_rng(seed)
        scene = random.random() < 0.4
        length = max(1, round(width / random.uniform(11, 22)))
        text = self.source(random, length)
        mask = self._render(random, text, scene)
        if mask is None:  # a glyph that the font leaves empty
            return self.sample(seed + 2**31, width, height)
        mask = _warp(random, mask, scene)
        line = _paint(random, mask, scene, lambda: self._render(random, self.source(random, length), scene))
        wide = line.shape[1] * height / line.shape[0] * random.uniform(0.8, 1.15)
        drawn = int(np.clip(wide, min(width, 7 * len(text)), width + 8))
        small = random.uniform(0.45, 1.1) if random.random() < 0.6 else 1.0  # the resolution of a poor camera
        if small < 0.98:
            line = cv2.resize(
                line, (max(4, int(drawn * small)), max(8, int(height * small))), interpolation=cv2.INTER_AREA
            )
        line = cv2.resize(
            line, (max(8, drawn), height), interpolation=cv2.INTER_AREA if small == 1 else cv2.INTER_LINEAR
        )
        return distort(random, line, geometric=False), text

    def _render(self, random: np.random.Generator, text: str, scene: bool) -> np.ndarray | None:
        """Ink (H, W) as uint8, tight around the text, or None where nothing was drawn."""
        typewriter = not scene and random.random() < 0.3
        fonts = self.typewriters if typewriter else self.fonts
        font = _font(fonts[random.integers(len(fonts))], int(random.integers(28, 44)))
        spacing = float(random.uniform(-1.5, 8)) if random.random() < (0.3 if scene else 0.2) else 0.0
        stroke = int(random.random() < 0.12)
        starts = 30 + np.cumsum([0.0] + [font.getlength(c) + spacing for c in text])
        canvas = Image.new("L", (int(max(starts[-1], font.getlength(text))) + 80, 100))
        draw = ImageDraw.Draw(canvas)
        if spacing:
            for start, character in zip(starts, text, strict=False):
                draw.text((start, 25), character, 255, font, stroke_width=stroke)
        else:
            draw.text((30, 25), text, 255, font, stroke_width=stroke)
        if typewriter and random.random() < 0.4:  # as printers and terminals distinguish 0 and O
            thick = int(random.integers(1, 4))
            for start in starts[:-1][[c == "0" for c in text]]:
                x0, y0, x1, y1 = draw.textbbox((start, 25), "0", font)
                inset, up = 0.15 * (x1 - x0), 0.15 * (y1 - y0)
                draw.line((x0 + inset, y1 - up, x1 - inset, y0 + up), 255, thick)
        box = canvas.getbbox()
        if box is None:
            return None
        ink = np.asarray(canvas.crop(box))
        if ink.shape[0] < 20:  # "-", "..", and the like keep the height of a line
            rise = int(random.integers(0, 22 - ink.shape[0] // 2))
            ink = np.pad(ink, ((rise, max(0, 26 - rise - ink.shape[0])), (0, 0)))
        return ink


def _is_typewriter(file: str) -> bool:
    """Whether all its letters are equally wide, as most receipts' are."""
    font = ImageFont.truetype(file, 20)
    return len({font.getlength(c) for c in "iMW."}) == 1


@functools.lru_cache(maxsize=512)
def _font(file: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size // 2 * 2)


def _warp(random: np.random.Generator, mask: np.ndarray, scene: bool) -> np.ndarray:
    """Margins, slant, rotation, perspective, and for scenes a curved base line."""
    height, width = mask.shape
    top, bottom = (int(height * random.uniform(0.0, 0.22)) for _ in range(2))
    left, right = (int(height * random.uniform(0.02, 0.45)) for _ in range(2))
    mask = np.pad(mask, ((top, bottom), (left, right)))
    height, width = mask.shape
    if random.random() < (0.7 if scene else 0.45):
        slant = random.normal(0, 0.12 if scene else 0.04) * height
        turn = np.clip(random.normal(0, 0.03 if scene else 0.006), -0.08, 0.08) * width
        shake = random.normal(0, 0.05 if scene else 0.015, (4, 2)) * height
        source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        target = source + shake.astype(np.float32)
        target[:2, 0] += slant
        target[1:3, 1] += turn
        target -= target.min(axis=0)
        size = np.ceil(target.max(axis=0)).astype(int)
        matrix = cv2.getPerspectiveTransform(source, target.astype(np.float32))
        mask = cv2.warpPerspective(mask, matrix, (int(size[0]), int(size[1])))
    if scene and random.random() < 0.15:
        height, width = mask.shape
        bow = height * random.uniform(-0.25, 0.25)
        mask = np.pad(mask, ((int(abs(bow)) + 1,) * 2, (0, 0)))
        x = np.arange(width, dtype=np.float32)
        shift = bow * np.sin(np.pi * x / width).astype(np.float32) - bow / 2
        rows = np.arange(mask.shape[0], dtype=np.float32)[:, None] + shift
        mask = cv2.remap(mask, np.broadcast_to(x, rows.shape).copy(), rows, cv2.INTER_LINEAR)
    return mask


def _paint(
    random: np.random.Generator, mask: np.ndarray, scene: bool, neighbour: Callable[[], np.ndarray | None]
) -> np.ndarray:
    """Ink on paper: grey uint8 (H, W)."""
    height, width = mask.shape
    ink = mask.astype(np.float32) / 255
    if random.random() < 0.2:
        kernel = np.ones((2, 2), np.uint8)
        ink = np.asarray((cv2.erode if random.random() < 0.5 else cv2.dilate)(ink, kernel))
    if not scene and random.random() < 0.3:  # worn ribbon, faded thermal paper
        fade = cv2.resize(random.random((3, max(2, width // 12))).astype(np.float32), (width, height))
        grain = random.random((height, width), dtype=np.float32)
        ink *= np.clip(random.uniform(0.05, 0.6) + fade - 0.5 * grain * random.random(), 0.1, 1)
    if not scene and random.random() < 0.12:  # dead dots of a print head
        for column in random.integers(0, width, 1 + width // 100).tolist():
            ink[:, column : column + int(random.integers(1, 4))] *= random.uniform(0, 0.4)
    if random.random() < (0.05 if scene else 0.14):  # a piece of the line above or below
        other = neighbour()
        if other is not None:
            rows = int(height * random.uniform(0.05, 0.22))
            piece = np.zeros((rows, width), np.float32)
            start = int(random.integers(0, max(1, width // 2)))
            above = random.random() < 0.5
            part = (other[-rows:] if above else other[:rows])[:, : width - start].astype(np.float32) / 255
            piece[: part.shape[0], start : start + part.shape[1]] = part
            band = ink[:rows] if above else ink[-rows:]
            np.maximum(band, piece, out=band)
    if random.random() < 0.05:
        row = int(random.integers(int(height * 0.85), height))
        ink[row : row + int(random.integers(1, 3))] = 1
    contrast = random.uniform(0.2, 1.0) if scene else random.uniform(0.35, 1.0)
    paper = random.uniform(contrast, 1.0)
    coarse = random.random((2, 3) if random.random() < 0.5 else (3, 9)).astype(np.float32)
    levels = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
    uneven = random.uniform(0, 0.45 if scene else 0.15) * contrast
    background = paper - uneven * levels
    if scene and random.random() < 0.3:  # shadow or outline
        shift = random.integers(-3, 4, 2)
        shadow = np.roll(cv2.dilate(ink, np.ones((3, 3))), (int(shift[0]), int(shift[1])), (0, 1))
        background = background + shadow * random.uniform(-0.5, 0.3) * contrast
    line = background * (1 - ink) + (background - contrast) * ink
    if random.random() < (0.4 if scene else 0.08):
        line = 1 - line
    return (np.clip(line, 0, 1) * 255).astype(np.uint8)


def distort(random: np.random.Generator, line: np.ndarray, *, geometric: bool = True) -> np.ndarray:
    """A degraded image of the same text: grey uint8 (H, W) -> (H, W').

    Args:
        random: its only source of randomness.
        line: the image.
        geometric: also stretch, slant, shift and crop by a few percent.
    """
    height, width = line.shape
    if geometric:
        new = max(8, round(width * random.uniform(0.85, 1.15)))
        slant, turn = random.normal(0, 0.05), random.normal(0, 0.008) * min(1.0, 200 / width)
        zoom, shift = random.uniform(0.9, 1.1), random.uniform(-0.06, 0.06) * height
        matrix = np.array(
            [
                [new / width, slant, -slant * height / 2],
                [turn, zoom, shift + (1 - zoom) * height / 2 - turn * width / 2],
            ]
        )
        line = cv2.warpAffine(
            line, matrix, (new, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
    if random.random() < 0.3:
        line = cv2.GaussianBlur(line, (0, 0), random.uniform(0.3, 1.3))
    if random.random() < 0.1:
        kernel = np.ones((2, 2) if random.random() < 0.5 else (1, 2), np.uint8)
        line = cv2.erode(line, kernel) if random.random() < 0.5 else cv2.dilate(line, kernel)
    if random.random() < 0.5:
        gain, offset = random.uniform(0.6, 1.3), random.uniform(-30, 30)
        line = np.clip((line.astype(np.float32) - 127) * gain + 127 + offset, 0, 255).astype(np.uint8)
    if random.random() < 0.3:
        noise = random.normal(0, random.uniform(2, 18), line.shape)
        line = np.clip(line + noise, 0, 255).astype(np.uint8)
    if random.random() < 0.3:
        quality = [int(cv2.IMWRITE_JPEG_QUALITY), int(random.integers(20, 90))]
        line = np.asarray(cv2.imdecode(cv2.imencode(".jpg", line, quality)[1], cv2.IMREAD_GRAYSCALE))
    if geometric and random.random() < 0.05:
        line = 255 - line
    return line


def sample_sheet(lines: SyntheticLines, out: Path, seed: int = 0, rows: int = 24, columns: int = 4) -> None:
    """A page of samples with their texts, as PNG."""
    random = np.random.default_rng(seed)
    cell = (300, 56)
    sheet = Image.new("L", (columns * cell[0], rows * cell[1]), 255)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    for i in range(rows * columns):
        line, text = lines.sample(seed + i, int(random.integers(40, 270)))
        x, y = i % columns * cell[0] + 6, i // columns * cell[1]
        sheet.paste(Image.fromarray(line[:, : cell[0] - 10]), (x, y + 2))
        draw.text((x, y + 36), text, 0, font)
    sheet.save(out, format="PNG")
