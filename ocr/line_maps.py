"""Lines of a page as maps that a network can predict, and maps as lines.

Notation: H x W pixels of a page; h x w = H / 2 x W / 2 places of its maps. A line is the four corners of its
box, (4, 2): x and y in pixels, clockwise from the upper left as it is read. A kernel is its inner part.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

STRIDE = 2
"""Pixels of a page for one place of its maps."""
SHRINK = 0.25
"""Of its shorter side: a kernel lies so far inside of its line, so that lines that touch are apart."""
MULTIPLE = 32
"""The sides of a page that the network sees are multiples of it."""
AREA = 1_000_000
"""Pixels: larger pages are scaled down to it before lines are looked for."""
_LEAST_SIDE = 5.0  # pixels: smaller text cannot be read and counts for nothing in training
_LEAST_SEEN = 0.3  # of a line's area: what is cut off further at the rim counts for nothing either
_BITS = 4  # of the fractions of the corners that are filled
_FILLED = 0.7  # places by which `cv2.fillConvexPoly` goes beyond a side, as measured
_LONG = 3.0  # times as long as high: such a box is a line, a shorter one may be a letter, higher than wide


class LabelledPage(NamedTuple):
    """A page and where its lines are."""

    pixels: np.ndarray
    """Grey, uint8 (H, W)."""
    lines: np.ndarray
    """float32 (L, 4, 2)"""
    ignored: np.ndarray
    """float32 (I, 4, 2): what counts neither as text nor as ground."""


class LineMaps(NamedTuple):
    """What the network learns of a page."""

    kernels: np.ndarray
    """uint8 (h, w): 1 in the kernel of a line."""
    sizes: np.ndarray
    """float32 (h, w): in a kernel, log2 of the shorter side of its line in pixels."""
    counted: np.ndarray
    """uint8 (h, w): 0 where nothing is learnt."""


def fitted(page: np.ndarray) -> tuple[np.ndarray, float]:
    """A grey page, uint8 (H, W), as the network sees it, and how many of its pixels there are for one.

    At most `AREA` pixels, both sides padded to multiples of `MULTIPLE`.
    """
    scale = min(1.0, math.sqrt(AREA / page.size))
    if scale < 1:
        size = tuple(max(1, round(n * scale)) for n in page.shape[::-1])
        page = cv2.resize(page, size, interpolation=cv2.INTER_AREA)
    beyond = [-n % MULTIPLE for n in page.shape]
    return cv2.copyMakeBorder(page, 0, beyond[0], 0, beyond[1], cv2.BORDER_REPLICATE), scale


def sides(lines: np.ndarray) -> np.ndarray:
    """lines (L, 4, 2) -> their mean length along and across the text, (L, 2)."""
    edges = np.linalg.norm(np.roll(lines, -1, axis=1) - lines, axis=-1)
    return np.stack([edges[:, 0] + edges[:, 2], edges[:, 1] + edges[:, 3]], axis=1) / 2


def inset(lines: np.ndarray, by: np.ndarray) -> np.ndarray:
    """lines (L, 4, 2) with each side moved inwards by (L,) pixels."""
    along = np.roll(lines, -1, axis=1) - lines
    along = along / np.linalg.norm(along, axis=-1, keepdims=True).clip(1e-6)
    before = np.roll(along, 1, axis=1)
    sine = before[..., 0] * along[..., 1] - before[..., 1] * along[..., 0]
    return lines + by[:, None, None] * (along - before) / sine.clip(0.2)[..., None]


def target_maps(page: LabelledPage) -> LineMaps:
    """The maps of a labelled page."""
    height, width = (-(-n // STRIDE) for n in page.pixels.shape)
    kernels, counted = np.zeros((height, width), np.uint8), np.ones((height, width), np.uint8)
    size_map = np.zeros((height, width), np.float32)
    for corners in _fixed(page.ignored):
        cv2.fillConvexPoly(counted, corners, 0, shift=_BITS)
    shorter = sides(page.lines).min(axis=1)
    inner = _fixed(inset(page.lines, SHRINK * shorter))
    for corners, size in zip(inner, np.log2(shorter.clip(1)).tolist(), strict=True):
        cv2.fillConvexPoly(kernels, corners, 1, shift=_BITS)
        cv2.fillConvexPoly(size_map, corners, size, shift=_BITS)
        cv2.fillConvexPoly(counted, corners, 1, shift=_BITS)
    return LineMaps(kernels, size_map, counted)


def _fixed(lines: np.ndarray) -> np.ndarray:
    """Pixels -> places, as whole numbers with `_BITS` for the fraction."""
    places = lines / STRIDE - 0.5  # of the middle of a place
    return np.round(places * 2**_BITS).astype(np.int32)


def seen(page: LabelledPage) -> LabelledPage:
    """The page with its lines cut off at its rim; what is too small or mostly cut off is ignored."""
    height, width = page.pixels.shape
    size = np.array([width, height], np.float32)
    lines: list[np.ndarray] = []
    ignored = [*page.ignored]
    rim = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    shorter = sides(page.lines).min(axis=1)
    for line, side in zip(page.lines, shorter, strict=True):
        if (line.max(axis=0) <= 0).any() or (line.min(axis=0) >= size).any():
            continue
        if (line >= 0).all() and (line <= size).all():
            (lines if side >= _LEAST_SIDE else ignored).append(line)
            continue
        area, cut = cv2.intersectConvexConvex(line.astype(np.float32), rim)
        left = _directed(cv2.minAreaRect(cut), line[1] - line[0]) if area > 4 else line
        whole = area >= _LEAST_SEEN * abs(cv2.contourArea(line.astype(np.float32)))
        usual = whole and sides(left[None]).min() >= max(_LEAST_SIDE, 0.6 * side)
        (lines if usual else ignored).append(left)
    return page._replace(lines=stacked(lines), ignored=stacked(ignored))


def stacked(lines: list[np.ndarray]) -> np.ndarray:
    """A list of lines (4, 2) -> float32 (L, 4, 2)."""
    return np.array(lines, np.float32).reshape(-1, 4, 2)


def _directed(box: tuple[Sequence[float], Sequence[float], float], along: np.ndarray) -> np.ndarray:
    """The corners (4, 2) of OpenCV's rotated box, clockwise; the first edge points about `along`."""
    corners = np.asarray(cv2.boxPoints(box), np.float32)
    edges = np.roll(corners, -1, axis=0) - corners
    if edges[0, 0] * edges[1, 1] - edges[0, 1] * edges[1, 0] < 0:
        corners = corners[::-1]
        edges = np.roll(corners, -1, axis=0) - corners
    lengths = np.linalg.norm(edges, axis=1).clip(1e-6)
    first = int(np.argmax(edges @ along / lengths))
    return np.roll(corners, -first, axis=0)


def find_boxes(kernels: np.ndarray, sizes: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Lines (L, 4, 2) in pixels of the page, from the maps that the network predicts.

    Args:
        kernels: float32 (h, w), probability of being in a kernel.
        sizes: float32 (h, w), log2 of the shorter side of the line.
        threshold: of the probability.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats((kernels > threshold).astype(np.uint8))
    boxes = []
    for number in range(1, count):
        x, y, width, height, area = stats[number].tolist()
        if area < 2:
            continue
        part = (slice(y, y + height), slice(x, x + width))
        rows, columns = np.nonzero(labels[part] == number)
        side = float(2 ** np.median(sizes[part][rows, columns]))
        points = np.stack([columns + x, rows + y], axis=1).astype(np.float32)
        centre, lengths, angle = cv2.minAreaRect(points)
        beyond = 2 * SHRINK * side
        wide, high = (STRIDE * (n + 1 - 2 * _FILLED) + beyond for n in lengths)
        if wide < high:
            wide, high, angle = high, wide, angle + 90
        # the network knows the height better than the few rows of a kernel do; a bent line is higher
        high = max(side, high - STRIDE)
        middle = (STRIDE * (centre[0] + 0.5), STRIDE * (centre[1] + 0.5))
        boxes.append((middle, (max(wide, high), high), angle))
    return _read_along(boxes)


def _read_along(boxes: list[tuple[tuple[float, float], tuple[float, float], float]]) -> np.ndarray:
    """Corners (L, 4, 2) of boxes that are longer than high: long ones are read along their longer side.

    Short ones, which may be higher than wide, are read as the long ones of the page are.
    """
    angles = np.array([math.radians(2 * angle) for _, _, angle in boxes])
    weights = np.array([wide * (wide > _LONG * high) for _, (wide, high), _ in boxes])
    page = np.array([np.sum(weights * np.cos(angles)), np.sum(weights * np.sin(angles))])
    usual = math.atan2(page[1], page[0]) / 2 if np.any(page) else 0.0  # twice the angle: 180 degrees are 0
    found = []
    for box in boxes:
        _, (wide, high), angle = box
        direction = usual if wide <= _LONG * high else math.radians(angle)
        along = np.array([math.cos(direction), math.sin(direction)])
        if along[0] < -0.2 or (abs(along[0]) <= 0.2 and along[1] < 0):
            along = -along
        found.append(_directed(box, along))
    return stacked(found)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two convex polygons (4, 2)."""
    shared, _ = cv2.intersectConvexConvex(one.astype(np.float32), other.astype(np.float32))
    areas = [abs(cv2.contourArea(lines.astype(np.float32))) for lines in (one, other)]
    return float(shared / max(areas[0] + areas[1] - shared, 1e-6))


class Matches(NamedTuple):
    """Lines that were found, against those that there are."""

    matched: int
    found: int
    present: int


def match_lines(found: np.ndarray, page: LabelledPage, least: float = 0.5) -> Matches:
    """How many lines (L, 4, 2) overlap a line of the page by at least `least` of their union, each once.

    What was found in an ignored place counts for nothing.
    """
    pairs = []
    boxes = [np.concatenate([lines.min(axis=1), lines.max(axis=1)], axis=1) for lines in (found, page.lines)]
    near = (boxes[0][:, None, :2] < boxes[1][:, 2:]) & (boxes[0][:, None, 2:] > boxes[1][:, :2])
    for i, j in zip(*np.nonzero(near.all(axis=-1)), strict=True):
        share = overlap(found[i], page.lines[j])
        if share >= least:
            pairs.append((share, int(i), int(j)))
    one: set[int] = set()
    other: set[int] = set()
    for _, i, j in sorted(pairs, reverse=True):
        if i not in one and j not in other:
            one.add(i)
            other.add(j)
    counted = sum(i in one or not _within(found[i], page.ignored) for i in range(len(found)))
    return Matches(len(one), counted, len(page.lines))


def _within(line: np.ndarray, ignored: np.ndarray) -> bool:
    """Whether half of a line lies in one of the ignored places."""
    area = 0.5 * abs(cv2.contourArea(line.astype(np.float32)))
    return any(cv2.intersectConvexConvex(line.astype(np.float32), place)[0] >= area for place in ignored)


def f1(matches: list[Matches]) -> float:
    """F1 over the lines of all pages, from 0 to 1."""
    matched, found, present = (sum(counts) for counts in zip(*matches, strict=True))
    return 2 * matched / max(found + present, 1)
