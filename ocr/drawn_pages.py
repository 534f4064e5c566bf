"""Drawn pages with the place of every line: receipts, forms, tables, columns, signs, screens, labels.

Barcodes, logos, signatures, photographs and scripts that the reader does not know are drawn, too, as what is
no text. Every page depends on its seed alone. What happens to it before a camera or a scanner is in
`ocr.page_painting`.
"""

import functools
import string
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from common.errors import UsageError
from ocr.line_maps import LabelledPage, seen, stacked
from ocr.page_painting import ground_like_a_photograph, photographed
from ocr.phrases import Kind
from ocr.synthetic import SyntheticLines

_SCRIPTS = (
    "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "一二三四五六七八九十人大小中日本月火水木金土山川田口目手",
    "あいうえおかきくけこさしすせそたちつてと",
    "가나다라마바사아자차카타파하고노도로모보소오",
    "कखगघचछजझटठडढणतथदधनपफबभमयरलवशषसह",
    "กขคงจฉชซญดตถทธนบปผฝพฟภมยรลวสหอฮ",
    "அஆஇஈஉஊஎஏஐஒஓகஙசஞடணதநபமயரலவ",
    "অআইঈউঊকখগঘঙচছজঝঞটঠডঢণতথদধনপফবভমযরলশষসহ",
)
_GAP = 1.5  # text heights between two lines that stand side by side; nearer ones would be one line
_RIM = 0.08  # of the height of its letters: so much larger is the box of a line
_SCRIPT_FONTS = 300  # at most so many fonts are asked which scripts they draw


class _Style(NamedTuple):
    """How text is written."""

    file: str
    size: int
    level: int
    """Grey of the letters."""
    stroke: int = 0

    @property
    def font(self) -> ImageFont.FreeTypeFont:
        return _font(self.file, self.size)


@functools.lru_cache(maxsize=512)
def _font(file: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size, layout_engine=ImageFont.Layout.BASIC)


@functools.lru_cache(maxsize=512)
def _band(file: str, size: int) -> tuple[float, float]:
    """Top and bottom of small letters without ascenders: the least that a line is high."""
    _, top, _, bottom = _font(file, size).getbbox("x")
    return top, bottom


class _Sheet:
    """A page while it is drawn.

    Args:
        pixels: the ground, grey uint8 (H, W).
        kind: of its texts.
        lines: gives fonts and texts.
        random: the only source of randomness.
    """

    def __init__(
        self, pixels: np.ndarray, kind: Kind, lines: SyntheticLines, random: np.random.Generator
    ) -> None:
        self.image = Image.fromarray(pixels)
        self.draw = ImageDraw.Draw(self.image)
        self.height, self.width = pixels.shape
        self.kind, self.source, self.random, self.fonts = kind, lines, random, lines.fonts_of(random, kind)
        self.lines: list[np.ndarray] = []
        self.taken: list[tuple[float, float, float, float]] = []

    def chance(self, share: float) -> bool:
        return bool(self.random.random() < share)

    def number(self, low: float, high: float) -> float:
        return float(self.random.uniform(low, high))

    def whole(self, low: int, high: int) -> int:
        """From low to high, both included."""
        return int(self.random.integers(low, max(low, high) + 1))

    def style(self, size: float, level: int, other_font: bool = False) -> _Style:
        fonts = self.source.fonts_of(self.random, self.kind) if other_font else self.fonts
        file = fonts[self.whole(0, len(fonts) - 1)]
        return _Style(file, max(6, round(size)), level, int(size > 14 and self.chance(0.06)))

    def text(self, length: int) -> str:
        return self.source.source(self.random, max(1, length), self.kind)

    def fits(self, text: str, style: _Style, room: float) -> str:
        """As much of a text as `room` pixels hold; empty where that is nothing."""
        wide = style.font.getlength(text)
        while text and wide > room:
            kept = min(len(text) - 1, int(len(text) * room / wide))
            text = text[:kept].strip()
            wide = style.font.getlength(text)
        return text

    def write(self, x: float, y: float, text: str, style: _Style, room: float, align: float = 0.0) -> float:
        """Write as much of a line as there is room for; gives where it ends (x).

        Args:
            x: left end of the room.
            y: top of the letters with ascenders.
            text: the line.
            style: of it.
            room: pixels of width.
            align: 0 to the left, 0.5 in the middle, 1 to the right.
        """
        text = self.fits(text, style, min(room, self.width - x))
        if not text or y < 0:
            return x
        left, top, right, bottom = style.font.getbbox(text, stroke_width=style.stroke)
        x0 = x + align * (room - (right - left)) - left
        y0 = y - _band(style.file, style.size)[0] + 0.3 * style.size  # fonts begin at different heights
        if y0 + bottom > self.height:
            return x
        x0, y0 = round(x0), round(y0)
        self.draw.text((x0, y0), text, style.level, style.font, stroke_width=style.stroke)
        band = _band(style.file, style.size)
        top, bottom = min(top, band[0]), max(bottom, band[1])
        self.mark(x0 + left, y0 + top, x0 + right, y0 + bottom)
        return x0 + right

    def mark(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Note a line between these edges of its letters."""
        rim = _RIM * (y1 - y0)
        x0, y0, x1, y1 = x0 - 2 * rim, y0 - rim, x1 + 2 * rim, y1 + rim
        self.lines.append(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]))
        self.taken.append((x0, y0, x1, y1))

    def stick(self, centre: tuple[float, float], text: str, style: _Style, angle: float) -> None:
        """Write a line turned by `angle` degrees (counter-clockwise) around its centre."""
        band = _band(style.file, style.size)
        left, top, right, bottom = style.font.getbbox(text, stroke_width=style.stroke)
        if right <= left or bottom <= top:
            return
        mask = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
        ImageDraw.Draw(mask).text((1 - left, 1 - top), text, 255, style.font, stroke_width=style.stroke)
        turned = mask.rotate(angle, Image.Resampling.BILINEAR, expand=True)
        corner = round(centre[0] - turned.width / 2), round(centre[1] - turned.height / 2)
        self.image.paste(style.level, (*corner, corner[0] + turned.width, corner[1] + turned.height), turned)
        high, low = min(top, band[0]) - top, max(bottom, band[1]) - top
        rim = _RIM * (low - high)
        half = (right - left) / 2 + 2 * rim
        up, down = high - (bottom - top) / 2 - rim, low - (bottom - top) / 2 + rim
        corners = np.array([[-half, up], [half, up], [half, down], [-half, down]])
        radians = np.radians(-angle)
        turn = np.array([[np.cos(radians), np.sin(radians)], [-np.sin(radians), np.cos(radians)]])
        line = corners @ turn + (corner[0] + turned.width / 2, corner[1] + turned.height / 2)
        self.lines.append(line)
        self.taken.append((*line.min(axis=0), *line.max(axis=0)))

    def is_free(self, x0: float, y0: float, x1: float, y1: float) -> bool:
        """Whether nothing was written or put between these edges."""
        if x0 < 0 or y0 < 0 or x1 > self.width or y1 > self.height:
            return False
        return not any(x0 < c and a < x1 and y0 < d and b < y1 for a, b, c, d in self.taken)

    def place_for(self, width: float, height: float) -> tuple[int, int] | None:
        """A free place of that size, if one is found soon."""
        for _ in range(8 if width <= self.width and height <= self.height else 0):
            x, y = self.number(0, self.width - width), self.number(0, self.height - height)
            if self.is_free(x, y, x + width, y + height):
                return int(x), int(y)
        return None

    def put(self, pixels: np.ndarray, x: float, y: float) -> None:
        """Put something that is no text there."""
        self.image.paste(Image.fromarray(pixels), (int(x), int(y)))
        self.taken.append((x, y, x + pixels.shape[1], y + pixels.shape[0]))

    def rule(self, x0: float, y0: float, x1: float, y1: float, level: int, width: int = 1) -> None:
        self.draw.line((x0, y0, x1, y1), level, width)


class DrawnPages:
    """Draws pages.

    Args:
        lines: their fonts and texts.
    """

    def __init__(self, lines: SyntheticLines) -> None:
        self.lines = lines
        self.scripts = _other_scripts(lines.fonts)

    def sample(self, seed: int, side: int = 640) -> LabelledPage:
        """The page of this seed, `side` x `side`, as a camera or scanner sees it."""
        random = np.random.default_rng(seed)
        layouts: tuple[tuple[float, Kind, Callable[[_Sheet, float], None]], ...] = (
            (0.24, "document", _receipt), (0.24, "form", _form), (0.14, "document", _columns),
            (0.10, "document", _table), (0.10, "scene", _sign), (0.08, "scene", _screen),
            (0.10, "scene", _scattered),
        )  # fmt: skip
        chosen = int(np.searchsorted(np.cumsum([share for share, _, _ in layouts]), random.random()))
        _, kind, lay_out = layouts[min(chosen, len(layouts) - 1)]
        paper = kind != "scene"
        scale = float(random.uniform(0.85, 1.15))
        width, height = round(scale * side), round(scale * side * random.uniform(0.9, 1.2))
        if lay_out is _receipt:
            width = round(width * random.uniform(0.45, 1.0))
        if paper:
            pixels = np.full((height, width), random.integers(150, 256), np.uint8)
        else:
            pixels = ground_like_a_photograph(random, height, width)
        sheet = _Sheet(pixels, kind, self.lines, random)
        size = float(np.exp(random.normal(2.75, 0.3) if paper else random.normal(3.1, 0.4)))
        size = float(np.clip(size, 9, 90))
        lay_out(sheet, size)
        self._add_what_is_no_text(sheet, size)
        if random.random() < 0.15:
            _stamp(sheet, size)
        if random.random() < 0.10:
            _notes(sheet, size)
        drawn = LabelledPage(np.asarray(sheet.image), stacked(sheet.lines), stacked([]))
        return seen(photographed(random, drawn, side, paper=paper))

    def _add_what_is_no_text(self, sheet: _Sheet, size: float) -> None:
        random = sheet.random
        for share, draw in (
            (0.15, _barcode),
            (0.07, _squares),
            (0.15, _logo),
            (0.15, _signature),
            (0.1, _picture),
        ):
            if not sheet.chance(share):
                continue
            pixels = draw(random, size)
            place = sheet.place_for(pixels.shape[1], pixels.shape[0])
            if place is not None:
                sheet.put(pixels, *place)
        if self.scripts and sheet.chance(0.1):
            file, letters = self.scripts[sheet.whole(0, len(self.scripts) - 1)]
            style = _Style(file, max(8, round(size * sheet.number(0.9, 1.6))), sheet.whole(0, 90))
            for _ in range(sheet.whole(1, 6)):
                text = "".join(random.choice(list(letters), sheet.whole(3, 20)))
                left, top, right, bottom = style.font.getbbox(text)
                place = sheet.place_for(right - left + 2, bottom - top + 2)
                if place is not None:
                    sheet.draw.text((place[0] - left, place[1] - top), text, style.level, style.font)
                    sheet.taken.append((*place, place[0] + right - left, place[1] + bottom - top))


def _other_scripts(fonts: Sequence[str]) -> list[tuple[str, str]]:
    """Fonts that draw a script which the reader does not know, each with letters of it."""
    from fontTools.ttLib import TTFont, TTLibError

    found = []
    for file in fonts[:: max(1, len(fonts) // _SCRIPT_FONTS)]:
        try:
            with TTFont(file, lazy=True, fontNumber=0) as font:
                glyphs = font.getBestCmap() or {}
        except (TTLibError, OSError, AssertionError):
            continue
        found += [(file, letters) for letters in _SCRIPTS if all(ord(c) in glyphs for c in letters)]
    return found


def _receipt(sheet: _Sheet, size: float) -> None:
    """Shop, items with prices at the right, totals, greetings."""
    level = sheet.whole(0, 90)
    body, large = (
        sheet.style(size, level),
        sheet.style(size * sheet.number(1.2, 2.2), level, sheet.chance(0.4)),
    )
    left = sheet.width * sheet.number(0.02, 0.1)
    right = sheet.width - left
    pitch, y = size * sheet.number(1.05, 1.7), size * sheet.number(0.3, 4)
    centred = 0.5 if sheet.chance(0.7) else 0.0
    for i in range(sheet.whole(2, 7)):
        style = large if i == 0 and sheet.chance(0.6) else body
        sheet.write(left, y, sheet.text(sheet.whole(8, 30)), style, right - left, centred)
        y += pitch * style.size / size
    while y < sheet.height - 2 * pitch:
        part = sheet.random.random()
        if part < 0.25:
            _separator(sheet, left, right, y, body)
            y += pitch
        elif part < 0.75:
            for _ in range(sheet.whole(1, 8)):
                _item(sheet, left, right, y, body)
                y += pitch
        elif part < 0.9:
            for _ in range(sheet.whole(1, 4)):
                style = large if sheet.chance(0.15) else body
                amount = sheet.text(sheet.whole(3, 7))
                wide = style.font.getlength(amount)
                start = left if sheet.chance(0.6) else left + (right - left) * 0.3
                room = right - start - wide - _GAP * style.size
                sheet.write(start, y, sheet.text(sheet.whole(4, 18)), style, room)
                sheet.write(right - wide, y, amount, style, wide + 1, 1.0)
                y += pitch * style.size / size
        else:
            for _ in range(sheet.whole(1, 4)):
                sheet.write(left, y, sheet.text(sheet.whole(6, 36)), body, right - left, centred)
                y += pitch
        if sheet.chance(0.3):
            y += pitch * sheet.number(0.3, 2)


def _separator(sheet: _Sheet, left: float, right: float, y: float, style: _Style) -> None:
    """A line of dashes or the like, or a rule: no text."""
    if sheet.chance(0.4):
        sheet.rule(left, y + style.size / 2, right, y + style.size / 2, style.level, sheet.whole(1, 2))
        return
    mark = "-=*_.~-="[sheet.whole(0, 7)]
    count = int((right - left) / max(1.0, style.font.getlength(mark)))
    sheet.draw.text((left, y), mark * count, style.level, style.font)
    sheet.taken.append((left, y, right, y + style.size))


def _item(sheet: _Sheet, left: float, right: float, y: float, style: _Style) -> None:
    """What was bought: sometimes a number before it, a price or several behind it."""
    gap = _GAP * style.size
    for _ in range(sheet.whole(1, 3) if sheet.chance(0.4) else 1):
        price = sheet.text(sheet.whole(3, 7))
        wide = style.font.getlength(price)
        if right - wide < left + 4 * style.size:
            break
        sheet.write(right - wide, y, price, style, wide + 1, 1.0)
        right -= wide + gap * sheet.number(1, 2.5)
    if sheet.chance(0.25):
        left = gap + sheet.write(left, y, str(sheet.whole(1, 99)), style, right - left)
    sheet.write(left, y, sheet.text(sheet.whole(3, 24)), style, right - left)


def _form(sheet: _Sheet, size: float) -> None:
    """Titles, and labels with boxes, rules or cells to fill in; some are."""
    level, margin = sheet.whole(0, 80), sheet.width * sheet.number(0.02, 0.09)
    label = sheet.style(size, level)
    entry = sheet.style(size * sheet.number(0.9, 1.3), sheet.whole(0, 110), other_font=True)
    y = size * sheet.number(0.5, 3)
    if sheet.chance(0.7):
        title = sheet.style(size * sheet.number(1.2, 2.2), level, sheet.chance(0.5))
        sheet.write(
            margin,
            y,
            sheet.text(sheet.whole(8, 30)),
            title,
            sheet.width - 2 * margin,
            0.5 * sheet.whole(0, 1),
        )
        y += 2 * title.size
    while y < sheet.height - 3 * size:
        part = sheet.random.random()
        if part < 0.6:
            y += _fields(sheet, margin, y, label, entry)
        elif part < 0.72:
            y += _choices(sheet, margin, y, label)
        elif part < 0.82:
            room = sheet.width - 2 * margin
            y += _grid(sheet, margin, y, room, sheet.whole(2, 6), sheet.whole(2, 5), label, entry)
        else:
            for _ in range(sheet.whole(1, 5)):
                sheet.write(margin, y, sheet.text(sheet.whole(20, 90)), label, sheet.width - 2 * margin)
                y += size * 1.35
        y += size * sheet.number(0.2, 1.6)


def _fields(sheet: _Sheet, margin: float, y: float, label: _Style, entry: _Style) -> float:
    """A row of one to three fields, each a label and what is written behind or below it; gives its height."""
    size, columns = label.size, sheet.whole(1, 3)
    room = (sheet.width - 2 * margin) / columns
    boxed, above = sheet.chance(0.4), sheet.chance(0.3)
    high = size * (sheet.number(2.6, 3.4) if above else sheet.number(1.5, 2.4))
    for column in range(columns):
        x = margin + column * room
        end = x + room - (0 if boxed else size)
        if boxed:
            sheet.draw.rectangle((x, y, x + room, y + high), outline=label.level, width=1)
        inside = x + 0.4 * size
        named = sheet.text(sheet.whole(2, 18)) + (":" if sheet.chance(0.6) else "")
        behind = sheet.write(inside, y + (0.15 if above else 0.4) * size, named, label, 0.6 * (end - inside))
        start = inside + sheet.number(0, 1) * size if above else behind + _GAP * max(size, entry.size)
        down = y + high - sheet.number(1.05, 1.4) * entry.size if above else y + sheet.number(0.1, 0.5) * size
        if not boxed and sheet.chance(0.7):
            row = y + (high if above else 1.25 * size)
            if sheet.chance(0.3):
                for dot in np.arange(start, end, max(3.0, 0.3 * size)):
                    sheet.draw.point((float(dot), row), label.level)
            else:
                sheet.rule(start, row, end, row, label.level)
        if not above and sheet.chance(0.12):
            _comb(sheet, start, y, end, label, entry)
        elif sheet.chance(0.75):
            sheet.write(start, down, sheet.text(sheet.whole(2, 24)), entry, end - start)
    return high


def _comb(sheet: _Sheet, start: float, y: float, end: float, label: _Style, entry: _Style) -> None:
    """Cells for a character each; the characters are one line."""
    cell = entry.size * sheet.number(0.95, 1.3)
    count = min(sheet.whole(4, 14), int((end - start) / cell))
    if count < 3:
        return
    bottom = y + 1.5 * entry.size
    for i in range(count + 1):
        sheet.rule(start + i * cell, y if sheet.chance(0.9) else y + 2, start + i * cell, bottom, label.level)
    sheet.rule(start, bottom, start + count * cell, bottom, label.level)
    filled = sheet.whole(3, count)
    row = y + 0.2 * entry.size - _band(entry.file, entry.size)[0] + 0.3 * entry.size
    edges = []
    for i in range(filled):
        letter = (string.ascii_uppercase + string.digits * 3)[sheet.whole(0, 55)]
        left, top, right, low = entry.font.getbbox(letter)
        x = start + (i + 0.5) * cell - (left + right) / 2
        sheet.draw.text((x, row), letter, entry.level, entry.font)
        edges.append((x + left, row + top, x + right, row + low))
    sides = np.array(edges)
    sheet.mark(*sides[:, :2].min(axis=0).tolist(), *sides[:, 2:].max(axis=0).tolist())


def _choices(sheet: _Sheet, margin: float, y: float, label: _Style) -> float:
    """Boxes or circles to tick, each with its words; gives the height."""
    size, x = label.size, margin
    square = size * sheet.number(0.7, 1.1)
    while x < sheet.width - 6 * size:
        top = y + 0.25 * size
        shape = sheet.draw.ellipse if sheet.chance(0.2) else sheet.draw.rectangle
        shape((x, top, x + square, top + square), outline=label.level, width=1)
        if sheet.chance(0.4):
            sheet.rule(x + 2, top + 2, x + square - 2, top + square - 2, label.level, 2)
            sheet.rule(x + 2, top + square - 2, x + square - 2, top + 2, label.level, 2)
        x = (
            sheet.write(x + square + 0.5 * size, y, sheet.text(sheet.whole(2, 14)), label, 14 * size)
            + 2 * size
        )
        x += 4 * size * sheet.number(0, 1)
    return 1.6 * size


def _grid(
    sheet: _Sheet, x: float, y: float, room: float, rows: int, columns: int, head: _Style, body: _Style
) -> float:
    """A table with or without rules; gives its height."""
    size = max(head.size, body.size)
    high = size * sheet.number(1.35, 2.2)
    shares = sheet.random.uniform(0.6, 1.6, columns)
    edges = x + room * np.r_[0, np.cumsum(shares) / shares.sum()]
    across, down, shaded = sheet.chance(0.65), sheet.chance(0.5), sheet.chance(0.2)
    aligned = [0.0 if sheet.chance(0.5) else 1.0 for _ in range(columns)]
    if shaded:
        dark = sheet.whole(20, 110)
        sheet.draw.rectangle((x, y, x + room, y + high), fill=dark)
        head = head._replace(level=sheet.whole(190, 255))
    for row in range(rows):
        for column in range(columns):
            if row and sheet.chance(0.12):
                continue
            style = head if row == 0 or (column == 0 and sheet.chance(0.5)) else body
            style = style._replace(level=head.level if row == 0 else body.level)
            start, end = edges[column] + 0.75 * size, edges[column + 1] - 0.75 * size
            text = sheet.text(sheet.whole(1, 12))
            sheet.write(start, y + row * high + 0.2 * size, text, style, end - start, aligned[column])
    width = sheet.whole(1, 2)
    for row in range(rows + 1) if across else ():
        sheet.rule(x, y + row * high, x + room, y + row * high, body.level, width)
    for edge in edges if down else ():
        sheet.rule(edge, y, edge, y + rows * high, body.level, width)
    return rows * high


def _table(sheet: _Sheet, size: float) -> None:
    """Pages of tables with headings."""
    level, margin, y = sheet.whole(0, 80), sheet.width * sheet.number(0.02, 0.08), size * sheet.number(0.5, 2)
    head, body = sheet.style(size, level), sheet.style(size, level, sheet.chance(0.3))
    while y < sheet.height - 4 * size:
        if sheet.chance(0.6):
            sheet.write(margin, y, sheet.text(sheet.whole(6, 40)), head, sheet.width - 2 * margin)
            y += 2 * size
        rows = min(sheet.whole(3, 16), int((sheet.height - y) / (2.3 * size)))
        y += _grid(sheet, margin, y, sheet.width - 2 * margin, max(1, rows), sheet.whole(2, 7), head, body)
        y += size * sheet.number(0.6, 2)


def _columns(sheet: _Sheet, size: float) -> None:
    """Running text in one to three columns, with headings and photographs."""
    level, margin = sheet.whole(0, 80), sheet.width * sheet.number(0.02, 0.1)
    count = sheet.whole(1, 3) if size < 18 else 1
    gutter = size * sheet.number(1.6, 3)
    wide = (sheet.width - 2 * margin - (count - 1) * gutter) / count
    body, pitch = sheet.style(size, level), size * sheet.number(1.1, 1.8)
    heading = sheet.style(size * sheet.number(1.2, 2.4), level, sheet.chance(0.6))
    characters = max(4, round(wide / max(1.0, body.font.getlength("e") * 1.05)))
    top = size * sheet.number(0.3, 3)
    for column in range(count):
        x, y = margin + column * (wide + gutter), top
        while y < sheet.height - 2 * pitch:
            if sheet.chance(0.12):
                sheet.write(x, y, sheet.text(characters // 2), heading, wide)
                y += 1.5 * heading.size
            elif sheet.chance(0.06):
                high = min(round(wide * sheet.number(0.4, 0.9)), int(sheet.height - y))
                sheet.put(ground_like_a_photograph(sheet.random, high, round(wide)), x, y)
                y += high + 0.4 * size
            for _ in range(sheet.whole(2, 10)):
                sheet.write(x, y, sheet.text(characters + 6), body, wide)
                y += pitch
            sheet.write(x, y, sheet.text(sheet.whole(2, characters)), body, wide)
            y += pitch * sheet.number(1, 2)


def _contrast(sheet: _Sheet, x: float, y: float, width: float, height: float) -> int:
    """A grey that can be read on what is there."""
    x, y = max(0, int(x)), max(0, int(y))
    under = np.asarray(sheet.image.crop((x, y, max(x + 1, int(x + width)), max(y + 1, int(y + height)))))
    ground, away = float(np.median(under)), sheet.number(60, 220)
    darker = ground - away if ground - away > -20 and (ground > 128 or sheet.chance(0.3)) else ground + away
    return int(np.clip(darker, 0, 255))


def _sign(sheet: _Sheet, size: float) -> None:
    """A few large lines, often on a panel."""
    for _ in range(sheet.whole(1, 3)):
        size = size * sheet.number(0.8, 1.8)
        width, rows = sheet.width * sheet.number(0.3, 0.95), sheet.whole(1, 4)
        place = sheet.place_for(width, size * (1.5 * rows + 1))
        if place is None:
            continue
        x, y = place
        if sheet.chance(0.6):
            edge, fill = (x, y, x + width, y + size * (1.5 * rows + 0.8)), sheet.whole(0, 255)
            sheet.draw.rounded_rectangle(
                edge, sheet.number(0, size), fill, _contrast(sheet, *edge), sheet.whole(0, 4)
            )
            sheet.taken.append(edge)
        style = sheet.style(size, 0, other_font=True)
        style = style._replace(level=_contrast(sheet, x, y, width, size * 1.5 * rows))
        for row in range(rows):
            changed = (
                style._replace(size=max(8, round(size * sheet.number(0.5, 1))))
                if sheet.chance(0.4)
                else style
            )
            text, room = sheet.text(sheet.whole(2, 16)), width - size
            sheet.write(
                x + size / 2, y + size * (0.4 + 1.5 * row), text, changed, room, 0.5 * sheet.whole(0, 2)
            )


def _screen(sheet: _Sheet, size: float) -> None:
    """Windows, lists and buttons, mostly light on dark."""
    size = size * 0.75
    sheet.draw.rectangle(
        (0, 0, sheet.width, sheet.height), fill=sheet.whole(0, 70) if sheet.chance(0.8) else 240
    )
    for _ in range(sheet.whole(2, 6)):
        width, height = (int(n * sheet.number(0.2, 0.7)) for n in (sheet.width, sheet.height))
        place = sheet.place_for(width, height)
        if place is None:
            continue
        x, y = place
        fill = sheet.whole(0, 110) if sheet.chance(0.8) else sheet.whole(180, 255)
        sheet.draw.rectangle((x, y, x + width, y + height), fill, sheet.whole(0, 255))
        style = sheet.style(size, _contrast(sheet, x + 2, y + 2, width, height), other_font=True)
        row = y + 0.5 * size
        while row < y + height - 2 * size:
            start = x + size
            if sheet.chance(0.2):
                sheet.draw.ellipse((start, row, start + size, row + size), fill=sheet.whole(0, 255))
                start += 2 * size
            if sheet.chance(0.15):
                wide = min(width - 2 * size, 10 * size)
                button = (start, row, start + wide, row + 1.7 * size)
                sheet.draw.rounded_rectangle(button, 4, sheet.whole(0, 255))
                words = style._replace(level=_contrast(sheet, *button[:2], wide, 1.7 * size))
                sheet.write(start + 0.5 * size, row + 0.2 * size, sheet.text(8), words, wide - size, 0.5)
            else:
                sheet.write(start, row, sheet.text(sheet.whole(3, 30)), style, x + width - start - size)
            row += size * sheet.number(1.4, 2.6)
        sheet.taken.append((x, y, x + width, y + height))


def _scattered(sheet: _Sheet, size: float) -> None:
    """Lines anywhere, at any angle mostly near to level."""
    for _ in range(sheet.whole(3, 24)):
        style = sheet.style(size * sheet.number(0.6, 1.8), 0, other_font=True)
        text = sheet.fits(sheet.text(sheet.whole(1, 18)), style, 0.8 * sheet.width)
        if not text:
            continue
        angle = sheet.number(-25, 25) if sheet.chance(0.7) else sheet.number(-95, 95)
        angle = 0.0 if sheet.chance(0.3) else angle
        wide, high = style.font.getlength(text) + style.size, 1.6 * style.size
        turn = np.radians(abs(angle))
        across = wide * np.cos(turn) + high * np.sin(turn), wide * np.sin(turn) + high * np.cos(turn)
        place = sheet.place_for(*across)
        if place is None:
            continue
        centre = place[0] + across[0] / 2, place[1] + across[1] / 2
        style = style._replace(level=_contrast(sheet, *place, *across))
        sheet.stick(centre, text, style, angle)


def _stamp(sheet: _Sheet, size: float) -> None:
    """A frame with one or two lines, turned a little, over whatever is there."""
    style = sheet.style(size * sheet.number(1.2, 2.4), sheet.whole(40, 150), other_font=True)
    text = sheet.fits(sheet.text(sheet.whole(4, 14)), style, 0.7 * sheet.width)
    if not text:
        return
    wide, angle = style.font.getlength(text), sheet.number(-25, 25)
    x, y = sheet.number(0.3, 0.7) * sheet.width, sheet.number(0.2, 0.8) * sheet.height
    sheet.stick((x, y), text, style, angle)
    box = ((x, y), (wide + 1.2 * style.size, 2.2 * style.size), -angle)
    if sheet.chance(0.7):
        corners = [(float(a), float(b)) for a, b in cv2.boxPoints(box)]
        sheet.draw.line([*corners, corners[0]], style.level, sheet.whole(2, 4))


def _notes(sheet: _Sheet, size: float) -> None:
    """Written by hand, mostly where nothing is printed."""
    hands = sheet.source.hands
    for _ in range(sheet.whole(1, 4)):
        file = hands[sheet.whole(0, len(hands) - 1)]
        style = _Style(file, max(10, round(size * sheet.number(1.2, 2.2))), sheet.whole(20, 130))
        text = sheet.fits(sheet.text(sheet.whole(3, 16)), style, 0.6 * sheet.width)
        wide, high = style.font.getlength(text), 1.4 * style.size
        place = sheet.place_for(wide, high) if text else None
        if place is not None:
            sheet.stick((place[0] + wide / 2, place[1] + high / 2), text, style, sheet.number(-8, 8))


def _barcode(random: np.random.Generator, size: float) -> np.ndarray:
    thin, bars = int(random.integers(1, 4)), int(random.integers(25, 60))
    widths = random.integers(1, 4, 2 * bars) * thin
    row = np.repeat(np.arange(2 * bars) % 2, widths)
    high = int(size * random.uniform(1.5, 4))
    code = np.where(np.tile(row, (high, 1)), 0, 255).astype(np.uint8)
    return (
        code[:, : int(24 * size)]
        if random.random() < 0.85
        else np.ascontiguousarray(code[:, : int(20 * size)].T)
    )


def _squares(random: np.random.Generator, size: float) -> np.ndarray:
    """A matrix code."""
    count = int(random.choice([21, 25, 33]))
    cells = random.integers(0, 2, (count, count)).astype(np.uint8)
    eye = np.pad(np.pad(np.ones((3, 3), np.uint8), 1), 1, constant_values=1)
    for corner in ((0, 0), (0, count - 7), (count - 7, 0)):
        cells[corner[0] : corner[0] + 7, corner[1] : corner[1] + 7] = eye
    return np.kron(255 * (1 - cells), np.ones((int(random.integers(2, 6)),) * 2, np.uint8)).astype(np.uint8)


def _logo(random: np.random.Generator, size: float) -> np.ndarray:
    side = int(size * random.uniform(2, 7))
    pixels = np.full((side, int(side * random.uniform(0.7, 2))), 235, np.uint8)
    for _ in range(int(random.integers(1, 5))):
        level, points = int(random.integers(0, 200)), random.uniform(0, 1, (int(random.integers(3, 7)), 2))
        corners = (points * (pixels.shape[1] - 1, side - 1)).astype(np.int32)
        if random.random() < 0.5:
            cv2.fillPoly(pixels, [corners], level)
        else:
            cv2.ellipse(
                pixels,
                corners[0].tolist(),
                (corners[1] // 2 + 2).tolist(),
                float(random.uniform(0, 180)),
                0,
                360,
                level,
                int(random.choice([-1, 2, 4])),
            )
    return pixels


def _signature(random: np.random.Generator, size: float) -> np.ndarray:
    """Loops of a pen."""
    pixels = np.full((int(size * random.uniform(2, 5)), int(size * random.uniform(5, 14))), 245, np.uint8)
    steps = np.linspace(0, random.uniform(8, 30), 160)
    x = np.linspace(0.05, 0.8, 160) + 0.08 * np.sin(steps * random.uniform(0.6, 1.6))
    y = 0.5 + random.uniform(0.15, 0.4) * np.sin(steps) * np.cos(
        steps * random.uniform(0.1, 0.5) + random.uniform(0, 3)
    )
    points = np.stack([x * pixels.shape[1], y * pixels.shape[0]], axis=1).round().astype(np.int32)
    cv2.polylines(
        pixels, [points], False, int(random.integers(10, 120)), int(random.integers(1, 4)), cv2.LINE_AA
    )
    return pixels


def _picture(random: np.random.Generator, size: float) -> np.ndarray:
    return ground_like_a_photograph(
        random, int(size * random.uniform(3, 12)), int(size * random.uniform(3, 14))
    )


def write_pages(pages: DrawnPages, out: Path, count: int, seed: int = 0, side: int = 640) -> None:
    """A new folder of pages with frames around their lines, to look at.

    Raises:
        UsageError: the folder exists already.
    """
    if out.exists():
        raise UsageError(f"--out {out}: exists already; name another")
    out.mkdir(parents=True)
    for i in range(count):
        page = pages.sample(seed + i, side)
        shown = cv2.cvtColor(page.pixels, cv2.COLOR_GRAY2RGB)
        cv2.polylines(shown, list(page.lines.round().astype(np.int32)), True, (220, 30, 30))
        Image.fromarray(shown).save(out / f"{i:04d}.png")
