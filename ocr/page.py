"""A page -> its lines of text, upright and in reading order, with OpenCV alone.

Notation: H x W pixels of the page as given; boxes are x0, y0, x1, y1 on the straightened page.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

_WORK_SIDE = 1800  # pixels of the longer side on which lines are looked for
_SKEW_SIDE = 700
_LARGEST_SKEW = 12.0  # degrees
_LEAST_INK = 24  # grey levels between text and paper


@dataclass(frozen=True)
class Layout:
    """Where the lines of a page are."""

    straight: np.ndarray
    """uint8 (H', W') dark text on light paper, upright."""
    boxes: list[tuple[int, int, int, int]]
    """In reading order: rows from the top, each from the left."""
    rows: list[int]
    """The row of each box."""
    angle: float
    """Degrees by which the page was turned counter-clockwise to straighten it."""
    to_page: np.ndarray
    """(2, 3) matrix from the straightened page to the page as given."""

    def polygon(self, box: tuple[int, int, int, int]) -> list[tuple[float, float]]:
        """The four corners of a box on the page as given, from the upper left clockwise."""
        x0, y0, x1, y1 = box
        corners = np.array([[x0, y0, 1], [x1, y0, 1], [x1, y1, 1], [x0, y1, 1]], float)
        return [(round(float(x), 1), round(float(y), 1)) for x, y in corners @ self.to_page.T]

    def crop(self, box: tuple[int, int, int, int]) -> np.ndarray:
        """The pixels of a box, uint8 (h, w)."""
        x0, y0, x1, y1 = box
        return self.straight[y0:y1, x0:x1]


def find_lines(page: np.ndarray) -> Layout:
    """Straighten a grey page, uint8 (H, W), and find its lines. A blank page has none."""
    if np.median(page) < 110:
        page = 255 - page
    angle = _skew(page)
    straight, to_page = _turn(page, angle)
    scale = min(1.0, _WORK_SIDE / max(straight.shape))
    small = _shrink(straight, scale)
    parts = _parts(_ink(small))
    found = _grow(parts) if len(parts) else []
    height, width = straight.shape
    boxes = []
    for x0, y0, x1, y1 in found:
        margin = 0.14 * (y1 - y0)
        corners = np.array([x0 - 1.5 * margin, y0 - margin, x1 + 1.5 * margin, y1 + margin]) / scale
        x0, x1 = np.clip(corners[[0, 2]].round(), 0, width).astype(int).tolist()
        y0, y1 = np.clip(corners[[1, 3]].round(), 0, height).astype(int).tolist()
        if x1 - x0 >= 2 and y1 - y0 >= 4:
            boxes.append((x0, y0, x1, y1))
    order, rows = reading_order(boxes)
    return Layout(straight, [boxes[i] for i in order], rows, angle, to_page)


def _ink(page: np.ndarray) -> np.ndarray:
    """Text as 255, rules and paper as 0."""
    smooth = cv2.GaussianBlur(page, (0, 0), 1.0)
    window = max(25, min(page.shape) // 30) | 1
    local = cv2.adaptiveThreshold(smooth, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, window, 10)
    for horizontal in (True, False):
        length = max(60, (page.shape[1] if horizontal else page.shape[0]) // 8)
        kernel = np.ones((1, length) if horizontal else (length, 1), np.uint8)
        rules = cv2.morphologyEx(local, cv2.MORPH_OPEN, kernel)
        local = cv2.subtract(local, cv2.dilate(rules, np.ones((3, 3), np.uint8)))
    return local


def _shrink(page: np.ndarray, scale: float) -> np.ndarray:
    return page if scale == 1 else cv2.resize(page, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _skew(page: np.ndarray) -> float:
    """The angle whose turning makes rows of ink and rows of paper differ most, in degrees."""
    scale = min(1.0, _SKEW_SIDE / max(page.shape))
    small = _shrink(page, scale)
    if min(small.shape) < 40 or float(small.max()) - float(small.min()) < _LEAST_INK:
        return 0.0
    ink = _ink(small).astype(np.float32)
    y, x = np.nonzero(ink)
    if len(y) < 50:
        return 0.0
    if len(y) > 40_000:
        chosen = np.random.default_rng(0).choice(len(y), 40_000, replace=False)
        y, x = y[chosen], x[chosen]
    y, x = y - small.shape[0] / 2, x - small.shape[1] / 2
    bins = int(np.hypot(*small.shape)) + 2

    def sharpness(angle: float) -> float:
        radians = np.deg2rad(angle)
        rows = np.bincount(
            (y * np.cos(radians) - x * np.sin(radians) + bins / 2).astype(int).clip(0, bins), minlength=bins
        )
        return float(np.square(np.diff(rows.astype(float))).sum())

    best = max(np.arange(-_LARGEST_SKEW, _LARGEST_SKEW + 0.1, 0.5), key=sharpness)
    best = max(np.arange(best - 0.5, best + 0.51, 0.1), key=sharpness)
    return float(best) if abs(best) >= 0.25 and sharpness(best) > 1.02 * sharpness(0.0) else 0.0


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


def _parts(ink: np.ndarray) -> np.ndarray:
    """Connected parts (P, 4) as x0, y0, x1, y1, specks and large blots left out."""
    stats = cv2.connectedComponentsWithStats(ink, connectivity=8)[2]
    x, y, width, height, area = stats[1:].T
    page_height, page_width = ink.shape
    text = (area >= 5) & (height < 0.25 * page_height + 8) & (width < 0.7 * page_width + 8)
    fill = area / (width * height)
    text &= ~((fill > 0.9) & (width > 40) & (height > 40))  # filled blocks
    text &= ~((fill < 0.12) & (width > 60) & (height > 60))  # frames and the paper's edge
    return np.stack([x, y, x + width, y + height], axis=1)[text].astype(float)


def _grow(parts: np.ndarray) -> list[tuple[float, float, float, float]]:
    """Letters -> lines: neighbours in one row are joined; dots and dashes go to the line they stand in."""
    heights = parts[:, 3] - parts[:, 1]
    tall = heights[heights >= 6]
    if not len(tall):
        return []
    usual = float(np.median(tall))
    letters = parts[(heights >= 0.45 * usual) & (heights < 6 * usual)]
    lines = _around(_rows(letters))
    small = parts[(heights < 0.45 * usual) & (parts[:, 2] - parts[:, 0] < 2 * usual)]
    for x0, y0, x1, y1 in small:
        middle = (x0 + x1) / 2
        reach = 0.8 * (lines[:, 3] - lines[:, 1])
        near = (y0 < lines[:, 3]) & (y1 > lines[:, 1])
        near &= (middle > lines[:, 0] - reach) & (middle < lines[:, 2] + reach)
        for i in np.flatnonzero(near)[:1]:
            lines[i] = min(lines[i, 0], x0), min(lines[i, 1], y0), max(lines[i, 2], x1), max(lines[i, 3], y1)
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

    Boxes whose middle lies within another's height share its row.
    """
    rows: list[list[int]] = []
    for i in sorted(range(len(boxes)), key=lambda i: boxes[i][1] + boxes[i][3]):
        middle = (boxes[i][1] + boxes[i][3]) / 2
        if rows:
            last = [boxes[j] for j in rows[-1]]
            reference = sum(b[1] + b[3] for b in last) / (2 * len(last))
            if abs(middle - reference) < 0.5 * min(boxes[i][3] - boxes[i][1], min(b[3] - b[1] for b in last)):
                rows[-1].append(i)
                continue
        rows.append([i])
    order = [i for row in rows for i in sorted(row, key=lambda i: boxes[i][0])]
    return order, [r for r, row in enumerate(rows) for _ in row]
