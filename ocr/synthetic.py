"""Synthetic lines: an endless, seeded stream of texts drawn in many fonts.

Every sample depends on its seed and its width alone, so that any number of workers gives the same stream.
"""

import functools
import logging
import string
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from common.errors import UsageError
from ocr.painting import crop_around, distort, paint, shrink_and_grow
from ocr.phrases import Kind, TextSource

_SKIP = (
    "emoji", "symbol", "dingbat", "ornament", "icon", "stixsiz", "cmex", "cmsy", "cmmi", "barcode",
    "braille", "math", "wingding", "webding", "music", "atari", "outline", "inverted", "initials", "smallcap",
    "-sc", "unicase", "swash", "mosaic", "keycap", "led", "aenigma", "dustin", "breip", "isabella",
    "lastresort", "biolinum_k", "ocrbe", "ocrbx", "monocaps", "shade", "redacted", "monoton", "monofett",
    "nosifer", "butcherman", "kranky", "consolas",
)  # fmt: skip
_HAND = (
    "hand", "script", "caveat", "kalam", "indie", "gochi", "reenie", "shadows", "architects", "cedarville",
    "homemade", "covered", "sue-ellen", "girl", "rufscript", "breip", "bwht", "dkg", "femke", "humor",
    "kristi", "purisa", "sjfonts", "neucha", "badscript", "bilbo", "dekko", "justme", "patrick", "schoolbell",
    "dawning", "beth", "delius", "labelle", "loved", "rock-salt", "annie", "meddon", "calligraffitti",
)  # fmt: skip
_VAL_OF = 8  # of so many families one is kept for val
_SIZE = 40  # pixels of drawn letters
_KINDS: tuple[Kind, ...] = ("document", "form", "scene")
_SHARES = {True: (0.22, 0.40, 0.38), False: (0.55, 0.36, 0.09)}  # of the kinds: True for short texts
_SHORT = 150  # pixels


def find_fonts(folder: Path | None = None, part: Literal["", "train", "val"] = "") -> list[Path]:
    """Fonts that draw printable ASCII: of `folder`, or of the system and those that matplotlib includes.

    Args:
        folder: where to look, its folders included.
        part: an eighth of the families is val, the others are train; which depends on their names alone.

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
    if part:  # where there are few families, one of the parts may be empty
        fonts = [file for file in fonts if _is_val(file) == (part == "val")] or fonts
    if not fonts:
        raise UsageError(f"--fonts {folder}: no TrueType or OpenType font with Latin letters in there")
    return fonts


def _is_val(file: Path) -> bool:
    """By the first word of the family's name: what is called Roboto Slab belongs to Roboto."""
    family = (ImageFont.truetype(str(file), 20).getname()[0] or file.stem).lower()
    return zlib.crc32(family.split()[0].encode()) % _VAL_OF == 0


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
        kind: of all lines; by default documents, forms and scenes in turn.
    """

    def __init__(self, fonts: Sequence[Path], source: TextSource, kind: Kind | None = None) -> None:
        self.fonts, self.source, self.kind = [str(font) for font in fonts], source, kind
        self.typewriters = [font for font in self.fonts if _is_typewriter(font)] or self.fonts
        self.hands = [f for f in self.fonts if any(word in f.lower() for word in _HAND)] or self.fonts
        self.print = [f for f in self.fonts if f not in self.hands] or self.fonts

    def sample(self, seed: int, width: int, height: int = 32) -> tuple[np.ndarray, str]:
        """The sample of this seed: grey uint8 (height, at most about `width`) and its text."""
        random = np.random.default_rng(seed)
        shares = _SHARES[width < _SHORT]
        kind: Kind = _KINDS[int(np.searchsorted(np.cumsum(shares), random.random()).clip(0, 2))]
        kind = self.kind or kind
        length = max(1, round(width / random.uniform(11, 22)))
        text = self.source(random, length, kind)
        mask = self._render(random, text, kind)
        if mask is None:  # a glyph that the font leaves empty
            return self.sample(seed + 2**31, width, height)
        mask = crop_around(random, mask, kind)
        line = paint(
            random, mask, kind, lambda: self._render(random, self.source(random, length, kind), kind)
        )
        wide = line.shape[1] * height / line.shape[0] * random.uniform(0.8, 1.15)
        drawn = max(8, int(np.clip(wide, min(width, 7 * len(text)), width + 8)))
        line = shrink_and_grow(random, line, kind, drawn, height)
        return distort(random, line, geometric=False), text

    def fonts_of(self, random: np.random.Generator, kind: Kind) -> list[str]:
        """Fonts to choose from for a text of that kind."""
        chance = random.random()
        if kind == "scene":
            return self.fonts
        if chance < 0.3:
            return self.typewriters
        return (
            self.hands if kind == "form" and chance < 0.36 else self.print if kind == "form" else self.fonts
        )

    def _render(self, random: np.random.Generator, text: str, kind: Kind) -> np.ndarray | None:
        """Ink (H, W) as uint8, tight around the text, or None where nothing was drawn."""
        scene = kind == "scene"
        fonts = self.fonts_of(random, kind)
        font = _font(fonts[random.integers(len(fonts))])
        spacing = float(random.uniform(-2.2, 8)) if random.random() < (0.3 if scene else 0.2) else 0.0
        if scene and random.random() < 0.06:
            spacing = float(random.uniform(8, 30))
        stroke = int(random.random() < 0.12)
        uneven = kind == "form" and random.random() < 0.15
        starts = 30 + np.cumsum([0.0] + [font.getlength(c) + spacing for c in text])
        canvas = Image.new("L", (int(max(starts[-1], font.getlength(text))) + 80, 3 * _SIZE))
        draw = ImageDraw.Draw(canvas)
        if spacing or uneven:
            levels = np.full(len(text), 255)
            rows = np.full(len(text), 25.0)
            if uneven:  # the types of an old typewriter
                levels = random.integers(130, 256, len(text))
                rows += random.normal(0, 1.2, len(text))
            for start, row, level, character in zip(starts[:-1], rows, levels.tolist(), text, strict=True):
                draw.text((start, row), character, level, font, stroke_width=stroke)
        else:
            draw.text((30, 25), text, 255, font, stroke_width=stroke)
        if (
            not scene and fonts is self.typewriters and random.random() < 0.4
        ):  # as printers and terminals tell 0 from O
            thick = int(random.integers(1, 4))
            for start in starts[:-1][[c == "0" for c in text]]:
                x0, y0, x1, y1 = draw.textbbox((start, 25), "0", font)
                inset, up = 0.15 * (x1 - x0), 0.15 * (y1 - y0)
                draw.line((x0 + inset, y1 - up, x1 - inset, y0 + up), 255, thick)
        if kind == "form" and random.random() < 0.03:  # a check box beside it
            side = int(random.integers(18, 34))
            x, y = int(starts[-1]) + 4, int(random.integers(28, 36))
            draw.rectangle((x, y, x + side, y + side), outline=255, width=2)
        box = canvas.getbbox()
        if box is None:
            return None
        ink = np.asarray(canvas.crop(box))
        if ink.shape[0] < 20 and random.random() < 0.75:  # "-", "..", and the like keep the height of a line
            rise = int(random.integers(0, 22 - ink.shape[0] // 2))
            ink = np.pad(ink, ((rise, max(0, 26 - rise - ink.shape[0])), (0, 0)))
        return ink


def _is_typewriter(file: str) -> bool:
    """Whether all its letters are equally wide, as most receipts' are."""
    font = ImageFont.truetype(file, 20)
    return len({font.getlength(c) for c in "iMW."}) == 1


@functools.lru_cache(maxsize=2048)
def _font(file: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, _SIZE)


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


def labelled_folder(lines: SyntheticLines, out: Path, count: int, seed: int = 0) -> None:
    """A new folder with `labels.tsv` and an image of each line, of words and of lines of several.

    Raises:
        UsageError: the folder exists already.
    """
    if out.exists():
        raise UsageError(f"--out {out}: exists already; name another")
    (out / "lines").mkdir(parents=True)
    random = np.random.default_rng(seed)
    rows = ["file\ttext"]
    for i in range(count):
        width = int(random.gamma(3, 25 if random.random() < 0.8 else 60)) + 12
        line, text = lines.sample(int(random.integers(2**31)), width)
        Image.fromarray(line).save(out / "lines" / f"{i:05d}.png")
        rows.append(f"lines/{i:05d}.png\t{text}")
    (out / "labels.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
