"""A page -> its lines of text, upright and in reading order, with OpenCV alone.

Notation: H x W pixels of the page as given; boxes are x0, y0, x1, y1 on the straightened page.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ocr.ink import binarise, dark_on_light, erase_rules, find_ink, shrink, straight, strokes

_WORK_SIDE = 1800  # pixels of the longer side on which lines are looked for
_SKEW_SIDE = 700
_USUAL_SKEW, _LARGEST_SKEW = 12.0, 31.0  # degrees; the second is tried where the first gives no clear rows
_LEVEL_GAIN = 3.0  # clear rows are sharper than the median over all angles by so much
_LONG = 7.0  # heights: a line of running text is longer, a cell of a table mostly not
_COLUMN = 3  # lines at least
_LEAST_INK = 24  # grey levels between text and paper


@dataclass(frozen=True)
class Layout:
    """Where the lines of a page are."""

    straight: np.ndarray
    """uint8 (H', W') dark text on light paper, level, without rules."""
    boxes: list[tuple[int, int, int, int]]
    """In reading order: columns from the left, in each the rows from the top, each from the left."""
    rows: list[int]
    """The row of each box."""
    closed_up: list[bool]
    """Whether a box is a field whose characters, a cell apart each, were moved to its left."""
    angle: float
    """Degrees, above -180 to 180, by which the page was turned counter-clockwise to straighten it."""
    to_page: np.ndarray
    """(2, 3) matrix from the straightened page to the page as given."""
    size: tuple[int, int]
    """Width and height of the page as given."""

    def polygon(self, box: tuple[int, int, int, int]) -> list[tuple[float, float]]:
        """The four corners of a box on the page as given, clockwise from the line's own upper left."""
        x0, y0, x1, y1 = box
        return self.placed(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float))

    def placed(self, corners: np.ndarray) -> list[tuple[float, float]]:
        """Points (N, 2) of the straightened page on the page as given."""
        on_page = (corners @ self.to_page[:, :2].T + self.to_page[:, 2]).clip(0, self.size)
        return [(round(float(x), 1), round(float(y), 1)) for x, y in on_page]

    def crop(self, box: tuple[int, int, int, int]) -> np.ndarray:
        """The pixels of a box, uint8 (h, w)."""
        x0, y0, x1, y1 = box
        return self.straight[y0:y1, x0:x1]

    def level(self, page: np.ndarray) -> np.ndarray:
        """The grey page as given, uint8 (H, W), turned as the straightened one, and nothing else."""
        if page.shape == self.straight.shape and np.array_equal(self.to_page, np.eye(2, 3)):
            return page
        matrix = cv2.invertAffineTransform(self.to_page)
        return cv2.warpAffine(
            page, matrix, self.straight.shape[::-1], flags=cv2.INTER_LINEAR, borderValue=int(np.median(page))
        )


def find_lines(page: np.ndarray, quarters: int = 0) -> Layout:
    """Straighten a grey page, uint8 (H, W), and find its lines. A blank page has none.

    Args:
        page: text of any grey on ground of any other.
        quarters: turn the page by so many quarters, counter-clockwise, before its skew is looked for.
    """
    height, width = page.shape
    page = dark_on_light(page)
    page = np.ascontiguousarray(np.rot90(page, quarters))
    skew = _skew(page)
    straight, to_page = _turn(page, skew)
    to_page = _quarters_back(quarters, width, height) @ np.vstack([to_page, [0, 0, 1]])
    scale = min(1.0, _WORK_SIDE / max(straight.shape))
    ink = find_ink(shrink(straight, _WORK_SIDE))
    straight = erase_rules(straight, ink, scale)
    found = np.array(_grow(ink.parts) if len(ink.parts) else []).reshape(-1, 4)
    for comb in ink.combs:
        straight = _closed_up(straight, comb / scale)
        found = np.vstack([found, _around([comb])])
    margin = 0.14 * (found[:, 3:] - found[:, 1:2])
    boxes = np.round((found + margin * (-1.5, -1, 1.5, 1)) / scale).astype(int)
    straight, boxes, to_page = _widen(straight, boxes, to_page)
    closed_up = np.arange(len(boxes)) >= len(boxes) - len(ink.combs)
    large = (boxes[:, 2] - boxes[:, 0] >= 2) & (boxes[:, 3] - boxes[:, 1] >= 4)
    boxes, closed_up = boxes[large], closed_up[large]
    order, rows = reading_order(boxes.tolist())
    angle = 180.0 - (180.0 - 90.0 * quarters - skew) % 360.0
    return Layout(
        straight,
        [tuple(boxes[i].tolist()) for i in order],
        rows,
        closed_up[order].tolist(),
        angle,
        to_page,
        (width, height),
    )


def _skew(page: np.ndarray) -> float:
    """The angle whose turning makes rows of ink and rows of paper differ most, in degrees."""
    small = shrink(page, _SKEW_SIDE)
    if min(small.shape) < 40 or float(small.max()) - float(small.min()) < _LEAST_INK:
        return 0.0
    ink = binarise(small)
    y, x = np.nonzero(cv2.subtract(ink, strokes(straight(ink, 60, True), straight(ink, 60, False), 0.0)))
    if len(y) < 50:
        return 0.0
    if len(y) > 40_000:
        chosen = np.random.default_rng(0).choice(len(y), 40_000, replace=False)
        y, x = y[chosen], x[chosen]
    few = max(1, len(y) // 16_000)
    y, x = (y - small.shape[0] / 2).astype(np.float32), (x - small.shape[1] / 2).astype(np.float32)
    bins = int(np.hypot(*small.shape)) + 2

    def sharpness(angle: float, step: int = 1) -> float:
        radians = math.radians(angle)
        rows = y[::step] * math.cos(radians) - x[::step] * math.sin(radians) + bins / 2
        counts = np.bincount(rows.astype(int), minlength=bins)
        return float(np.square(np.diff(counts.astype(float))).sum())

    found = {angle: sharpness(angle, few) for angle in np.arange(-_USUAL_SKEW, _USUAL_SKEW + 0.1, 0.5)}
    if max(found.values()) < _LEVEL_GAIN * np.median(list(found.values())):
        further = np.arange(_USUAL_SKEW + 0.5, _LARGEST_SKEW + 0.1, 0.5)
        found |= {angle: sharpness(angle, few) for angle in np.r_[-further, further]}
    best = max(found, key=found.__getitem__)
    best = max(np.arange(best - 0.5, best + 0.51, 0.1), key=sharpness)
    gain = 1.02 if abs(best) <= _USUAL_SKEW else 1.3  # a few letters are sharpest at any angle
    return float(best) if abs(best) >= 0.25 and sharpness(best) > gain * sharpness(0.0) else 0.0


def _quarters_back(quarters: int, width: int, height: int) -> np.ndarray:
    """The matrix (2, 3) from a page turned counter-clockwise by quarters to the page, `width` x `height`."""
    return {
        0: np.array([[1.0, 0, 0], [0, 1, 0]]),
        1: np.array([[0, -1.0, width], [1, 0, 0]]),
        2: np.array([[-1.0, 0, width], [0, -1, height]]),
        3: np.array([[0, 1.0, 0], [-1, 0, height]]),
    }[quarters % 4]


def _turn(page: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """The page turned by `angle` on a canvas that holds all of it, and the matrix back."""
    if angle == 0.0:
        return page, np.array([[1.0, 0, 0], [0, 1, 0]])
    height, width = page.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    cosine, sine = abs(matrix[0, 0]), abs(matrix[0, 1])
    size = int(height * sine + width * cosine), int(height * cosine + width * sine)
    matrix[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
    paper = int(np.median(page))
    turned = cv2.warpAffine(page, matrix, size, flags=cv2.INTER_LINEAR, borderValue=paper)
    return turned, cv2.invertAffineTransform(matrix)


def _widen(
    page: np.ndarray, boxes: np.ndarray, to_page: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Paper around the page, so that boxes (N, 4) of text at its very edge keep their margin."""
    height, width = page.shape
    if not len(boxes):
        return page, boxes, to_page
    words = boxes[:, 2] - boxes[:, 0] > 0.8 * (boxes[:, 3] - boxes[:, 1])
    if not words.any():
        words[:] = True
    beyond = np.r_[-boxes[words, :2].min(axis=0), boxes[words, 2:].max(axis=0) - (width, height)].clip(0)
    left, top, right, bottom = beyond.tolist()
    if beyond.any():
        paper = float(np.median(page))
        page = cv2.copyMakeBorder(page, top, bottom, left, right, cv2.BORDER_CONSTANT, value=paper)
        to_page = to_page @ np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]])
        boxes = boxes + np.array([left, top, left, top])
    return page, boxes.clip(0, page.shape[::-1] * 2), to_page  # what is no word there is the rim of the paper


def _closed_up(page: np.ndarray, letters: np.ndarray) -> np.ndarray:
    """The page with the characters of a field, (characters, 4), moved to its left as in a word."""
    ((x0, y0, x1, y1),) = _around([letters]).astype(int)
    ends = letters[:, ::2].round().astype(int).tolist()
    free = x1 - x0 - sum(right - left for left, right in ends)
    gap = max(1, min(round(0.18 * (y1 - y0)), free // len(ends)))
    rim = gap // 2  # pixels of a stroke's edge
    rows = slice(max(0, y0 - gap), y1 + gap)
    pieces = [page[rows, max(0, left - rim) : right + rim] for left, right in ends]
    page = page.copy()
    field = page[rows, max(0, x0 - 2 * gap) : x1 + 2 * gap]
    field[:] = np.median(field)
    x = max(0, x0 - rim)
    for piece in pieces:
        page[rows, x : x + piece.shape[1]] = piece[:, : page.shape[1] - x]
        x += piece.shape[1] - 2 * rim + gap
    return page


def _grow(parts: np.ndarray) -> list[tuple[float, float, float, float]]:
    """Letters -> lines: neighbours in one row are joined; dots and dashes go to the line they stand in."""
    heights = parts[:, 3] - parts[:, 1]
    tall = heights[heights >= 6]
    if not len(tall):
        return []
    usual = float(np.median(tall))
    letters = parts[(heights >= 0.45 * usual) & (heights < 6 * usual)]
    groups = _rows(letters)
    alone = [
        len(group) == 1 and group[0, 3] - group[0, 1] < 0.65 * usual for group in groups
    ]  # commas mostly
    lines = _around([group for group, single in zip(groups, alone, strict=True) if not single])
    commas = _around([group for group, single in zip(groups, alone, strict=True) if single])
    small = parts[(heights < 0.45 * usual) & (parts[:, 2] - parts[:, 0] < 2 * usual)]
    apart = np.ones(len(commas), bool)
    for k, (x0, y0, x1, y1) in enumerate(np.concatenate([commas, small])):
        middle = (x0 + x1) / 2
        reach = 0.8 * (lines[:, 3] - lines[:, 1])
        near = (y0 < lines[:, 3]) & (y1 > lines[:, 1])
        near &= (middle > lines[:, 0] - reach) & (middle < lines[:, 2] + reach)
        for i in np.flatnonzero(near)[:1]:
            lines[i] = min(lines[i, 0], x0), min(lines[i, 1], y0), max(lines[i, 2], x1), max(lines[i, 3], y1)
            if k < len(commas):
                apart[k] = False
    lines = np.concatenate([lines, commas[apart]])
    lines = _around(_join(lines))  # pieces between which only a dot or a dash stood
    kept = [(x0, y0, x1, y1) for x0, y0, x1, y1 in lines if y1 - y0 >= 6 and x1 - x0 >= 0.2 * (y1 - y0)]
    return [(float(a), float(b), float(c), float(d)) for a, b, c, d in _flat(np.array(kept).reshape(-1, 4))]


def _rows(letters: np.ndarray) -> list[np.ndarray]:
    """Groups of letters (P, 4) that make a line each; rows that a tall part glued together come apart."""
    groups = []
    for group in _join(letters):
        heights = group[:, 3] - group[:, 1]
        usual = float(np.median(heights))
        if group[:, 3].max() - group[:, 1].min() > 1.9 * usual:
            apart = _join(group[heights < 1.4 * usual])
            groups += apart if len(apart) > 1 else [group]
        else:
            groups.append(group)
    return groups


def _around(groups: list[np.ndarray]) -> np.ndarray:
    """The box around each group of boxes: (G, 4)."""
    return np.array([np.r_[g[:, :2].min(axis=0), g[:, 2:].max(axis=0)] for g in groups]).reshape(-1, 4)


def _flat(lines: np.ndarray) -> np.ndarray:
    """Without frames (boxes around several lines), and then without boxes inside another."""
    middle = (lines[:, :2] + lines[:, 2:]) / 2
    holds = (lines[:, None, :2] < middle).all(-1) & (middle < lines[:, None, 2:]).all(-1)
    heights = lines[:, 3] - lines[:, 1]
    lines = lines[(holds.sum(axis=1) <= 3) | (heights < 3 * np.median(heights))]
    area = (lines[:, 2:] - lines[:, :2]).prod(axis=1)
    corner = np.minimum(lines[:, None, 2:], lines[:, 2:]) - np.maximum(lines[:, None, :2], lines[:, :2])
    shared = corner.clip(0).prod(axis=-1)
    inside = (shared > 0.7 * area) & (area[:, None] > area)
    return lines[~inside.any(axis=0)]


def _join(boxes: np.ndarray) -> list[np.ndarray]:
    """Groups of boxes (P, 4) that follow each other closely in one row."""
    boxes = boxes[np.argsort(boxes[:, 0])]
    parent = list(range(len(boxes)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    heights = boxes[:, 3] - boxes[:, 1]
    middles = (boxes[:, 3] + boxes[:, 1]) / 2
    reach = boxes[:, 2] + 2.4 * 1.1 * heights
    for i in range(len(boxes)):
        others = np.arange(i + 1, int(np.searchsorted(boxes[:, 0], reach[i], side="right")))
        least, most = np.minimum(heights[i], heights[others]), np.maximum(heights[i], heights[others])
        gap = boxes[others, 0] - boxes[i, 2]
        together = (np.abs(middles[i] - middles[others]) < 0.45 * least) & (most < 2.4 * least)
        for j in others[together & (gap < 1.1 * most)]:
            parent[root(int(j))] = root(i)
    groups: dict[int, list[int]] = {}
    for i in range(len(boxes)):
        groups.setdefault(root(i), []).append(i)
    return [boxes[group] for group in groups.values()]


def reading_order(boxes: Sequence[tuple[int, int, int, int]]) -> tuple[list[int], list[int]]:
    """Positions of the boxes in reading order, and the row of each in that order.

    Boxes whose middle lies within another's height share its row. Columns of running text are read one after
    the other; tables, whose cells are short, row by row.
    """
    rows = [
        row
        for block in _blocks(np.array(boxes, float).reshape(-1, 4), np.arange(len(boxes)))
        for row in _side_by_side(boxes, block.tolist())
    ]
    order = [i for row in rows for i in sorted(row, key=lambda i: boxes[i][0])]
    return order, [r for r, row in enumerate(rows) for _ in row]


def _side_by_side(boxes: Sequence[tuple[int, int, int, int]], block: list[int]) -> list[list[int]]:
    """The boxes of a block in rows from the top."""
    rows: list[list[int]] = []
    for i in sorted(block, key=lambda i: boxes[i][1] + boxes[i][3]):
        middle = (boxes[i][1] + boxes[i][3]) / 2
        if rows:
            last = [boxes[j] for j in rows[-1]]
            reference = sum(b[1] + b[3] for b in last) / (2 * len(last))
            if abs(middle - reference) < 0.5 * min(boxes[i][3] - boxes[i][1], min(b[3] - b[1] for b in last)):
                rows[-1].append(i)
                continue
        rows.append([i])
    return rows


def _blocks(boxes: np.ndarray, block: np.ndarray) -> list[np.ndarray]:
    """What of a block of boxes (N, 4) is read one after the other: what a gutter parts, above to below."""
    parts = _gutter(boxes[block])
    if parts is None:
        return [block]
    return [x for part in range(4) if (parts == part).any() for x in _blocks(boxes, block[parts == part])]


def _gutter(boxes: np.ndarray) -> np.ndarray | None:
    """Whether each box (B, 4) lies above (0), left (1) or right (2) of the longest gutter, or below (3).

    A gutter is a strip of paper with lines of running text on both sides. None where there is no such strip.
    """
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    long = widths >= _LONG * heights
    middles = (boxes[:, 1] + boxes[:, 3]) / 2
    beside = np.abs(middles[long] - middles[long][:, None]) < heights[long]
    beside &= boxes[long, 0] > boxes[long, 2][:, None]
    best, most = None, 0
    for edge in np.unique(boxes[long, 2][beside.any(axis=1)]) if beside.sum() >= _COLUMN else ():
        left, right = boxes[:, 2] <= edge, boxes[:, 0] >= edge + 0.8 * float(np.median(heights[long]))
        cuts = np.sort(middles[~left & ~right])  # what stands across ends the gutter
        place = np.searchsorted(cuts, middles)
        place[~left & ~right] = -1
        for k in range(len(cuts) + 1):
            sides = [(place == k) & side for side in (left, right)]
            size = int(sum(side.sum() for side in sides))
            if (
                size > most
                and all(_running(boxes[side], long[side]) for side in sides)
                and _beside(middles, *sides)
            ):
                best, most = np.where(sides[0], 1, np.where(sides[1], 2, 0)), size
                first = middles[sides[0] | sides[1]].min()
                best[(best == 0) & (middles > first)] = 3
    return best


def _running(boxes: np.ndarray, long: np.ndarray) -> bool:
    """Whether boxes (B, 4) are lines of running text, most of them `long`, (B,)."""
    return bool(long.sum() >= max(_COLUMN, 0.6 * len(boxes)))


def _beside(middles: np.ndarray, left: np.ndarray, right: np.ndarray) -> bool:
    """Whether two columns share most of the height of the shorter one."""
    (a, b), (c, d) = ((middles[side].min(), middles[side].max()) for side in (left, right))
    return bool(min(b, d) - max(a, c) > 0.5 * min(b - a, d - c))
