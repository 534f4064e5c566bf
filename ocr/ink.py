"""What is ink on a grey page: text of any grey on any ground; rules, frames and boxes are not text.

Notation: H x W pixels; boxes are x0, y0, x1, y1; a part is what is connected in the ink, a letter mostly.
Lengths are in text heights (the usual height of the parts) where nothing else is said.
"""

import itertools
import math
from dataclasses import dataclass

import cv2
import numpy as np

_GROUND_SIDE = 320  # pixels of the longer side on which the grounds of a page are looked for
_SIGN_SIDE = 640  # the same for whether text is lighter or darker than its ground
_CUBES = (np.arange(256, dtype=np.float32) / 255) ** 3
_PANEL = 0.3  # of a ground is further than 3 pixels from its rim
_LEAST_PANEL = 250  # pixels of it
_LEAST_STEP = 40  # grey levels between two grounds of one page
_RULE = {True: 4.0, False: 4.5}  # a thin straight run longer than this is a rule (True: horizontal)
_BOX_SIDE = 1.7  # a run longer than this whose ends lie on rules is a side of a box
_ATTACHED = 0.15  # a rule has not more ink beside it
_THIN = 0.35  # a rule is not thicker
_RIM = np.array([-1, -1, 1, 1])  # pixels around a box
_TEETH = 3  # sides of the cells of a field, at least
_CELL = 3.2  # a cell for one character is not wider
_CORNER = (0.0, 0.04, 0.08, 0.11)  # of its size: a check box has ink so far inside each corner of its frame
_SIDE = 0.1  # of its size: the sides of a check box lie within so much of its edges
_FULL = 0.88  # of its size: each side is longer


@dataclass(frozen=True)
class Ink:
    """The ink of a page."""

    parts: np.ndarray
    """(P, 4) boxes of what is connected; specks, rules, frames and large blots are left out."""
    across: np.ndarray
    """uint8 (H, W): 255 on horizontal rules."""
    down: np.ndarray
    """The same for vertical ones."""
    boxes: np.ndarray
    """(B, 4) empty check boxes, their frames included."""
    combs: list[np.ndarray]
    """The characters of each word in a field with a cell for each: (characters, 4). They are no `parts`. An
    empty cell ends a word."""


def shrink(page: np.ndarray, side: int) -> np.ndarray:
    """The page with its longer side at most `side` pixels."""
    scale = min(1.0, side / max(page.shape))
    if scale == 1:
        return page
    across, down = (max(scale, 1 / n) for n in page.shape[::-1])
    return cv2.resize(page, None, fx=across, fy=down, interpolation=cv2.INTER_AREA)


def dark_on_light(page: np.ndarray) -> np.ndarray:
    """A grey page, uint8 (H, W), with its light text on darker grounds made dark text on a light one.

    A ground is what is common near by, the text is what is rare. A page without light text is returned as
    it is.
    """
    small = shrink(page, _SIGN_SIDE)
    ground = cv2.medianBlur(shrink(small, _GROUND_SIDE), 21)
    count, regions = _grounds(ground)
    wide = cv2.resize(ground, small.shape[::-1])
    # cubes: strokes stand out far, but rarely; the paper between them hardly, but everywhere
    lighter, darker = (
        cv2.resize(cv2.LUT(over, _CUBES), ground.shape[::-1], interpolation=cv2.INTER_AREA).ravel()
        for over in (cv2.subtract(small, wide), cv2.subtract(wide, small))
    )
    inner = _inner(regions).ravel() if count > 1 else np.ones(ground.size, bool)
    places, numbers = regions.ravel(), regions.ravel()[inner]
    areas, inside = np.bincount(places, minlength=count), np.bincount(numbers, minlength=count)
    light = np.bincount(numbers, lighter[inner], count)
    dark = np.bincount(numbers, darker[inner], count)
    text = np.maximum(light, dark)
    # the rim of a scan is dark, thin or empty: no ground of text
    inverted = (
        (light > 1.5 * dark) & (inside > _PANEL * areas) & (inside > min(_LEAST_PANEL, ground.size / 4))
    )
    inverted &= light * inside.sum() > 0.5 * text.sum() * inside
    if not inverted.any():
        return page
    if text[inverted].sum() > 0.95 * text.sum() or areas[inverted].sum() > 0.95 * ground.size:
        return 255 - page
    return _invert(page, ground, inverted[regions])


def _inner(regions: np.ndarray) -> np.ndarray:
    """Pixels of a picture of numbers around which all is of one number."""
    exact, around = regions.astype(np.float32), np.ones((7, 7), np.uint8)
    return cv2.erode(exact, around) == cv2.dilate(exact, around)


def _grounds(ground: np.ndarray) -> tuple[int, np.ndarray]:
    """How many plain regions the ground has, and the number of each pixel's: (H, W) int32."""
    _, two = cv2.threshold(ground, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    light, dark = ground[two > 0], ground[two == 0]
    if not light.size or not dark.size or float(light.mean()) - float(dark.mean()) < _LEAST_STEP:
        return 1, np.zeros(ground.shape, np.int32)
    count, labels = cv2.connectedComponents(two, connectivity=4)
    more, others = cv2.connectedComponents(255 - two, connectivity=4)
    return count + more, np.where(two > 0, labels, count + others).astype(np.int32)


def _invert(page: np.ndarray, ground: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The page with what is lighter than the ground made as much darker than paper where `where` says so."""
    size = page.shape[::-1]
    paper = 255.0 if where.all() else float(np.median(ground[~where]))
    # a wider ground: else the blurred edge of a panel would be text
    edge = cv2.dilate(ground, np.ones((5, 5), np.uint8))
    light = cv2.subtract(page, cv2.resize(edge, size))
    mask = cv2.resize(where.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    return np.where(mask, np.clip(paper - light, 0, 255).astype(np.uint8), page)


def find_ink(page: np.ndarray) -> Ink:
    """The ink of a page with dark text on light ground, uint8 (H, W)."""
    ink = binarise(page)
    labels, stats = _connected(ink)
    usual = _text_height(stats)
    lying, standing = (straight(ink, max(60, round(_RULE[level] * usual)), level) for level in (True, False))
    across, down = _rules(ink, lying, standing, usual)
    down |= _teeth(ink, across, usual)
    stroke = strokes(lying, standing, usual)
    if across.any() or down.any() or stroke.any():
        before = labels
        ink = cv2.subtract(_without(ink, across, down), stroke)
        labels, stats = _connected(ink)
        stats[_remains(labels, stats, before, across, down, usual), 4] = 0
    parts, boxes, frames = _parts(labels, stats, usual)
    combs, parts = _combs(down, frames, parts, usual)
    return Ink(parts, across, down, boxes, combs)


def binarise(page: np.ndarray) -> np.ndarray:
    """Ink as 255, paper as 0, by the mean of the surroundings."""
    smooth = cv2.GaussianBlur(page, (0, 0), 1.0)
    window = max(25, min(page.shape) // 30) | 1
    return cv2.adaptiveThreshold(smooth, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, window, 10)


def _connected(ink: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels (H, W) of what is connected, and of each x, y, width, height, area: (P, 5)."""
    try:
        found = cv2.connectedComponentsWithStats(ink, connectivity=8, ltype=cv2.CV_16U)  # half the time
    except cv2.error:  # more than 65,535 labels
        found = cv2.connectedComponentsWithStats(ink, connectivity=8, ltype=cv2.CV_32S)
    _, labels, stats, _ = found
    return labels, stats[1:]


def _text_height(stats: np.ndarray) -> float:
    """The usual height in pixels of what is connected, by ink, so that specks count little, and rules too."""
    heights, areas = stats[:, 3], np.minimum(stats[:, 4], 300)
    order = np.argsort(heights)
    order = order[heights[order] >= 6]
    if not len(order):
        return 12.0
    below = np.cumsum(areas[order])
    return float(heights[order[np.searchsorted(below, below[-1] / 2)]])


def straight(ink: np.ndarray, length: int, horizontal: bool) -> np.ndarray:
    """The straight runs of ink of at least `length` pixels."""
    if not horizontal and ink.shape[1] < 100:  # OpenCV is slow in narrow pictures
        return straight(np.ascontiguousarray(ink.T), length, True).T
    return cv2.morphologyEx(ink, cv2.MORPH_OPEN, _line(length, horizontal))


def _bands(mask: np.ndarray, horizontal: bool, reach: int) -> list[tuple[slice, slice]]:
    """The rows of a mask (columns: not `horizontal`) that are not empty, and `reach` pixels on each side.

    Rules are few: what is done to them is done to some rows of a page.
    """
    filled = np.flatnonzero(mask.any(axis=int(horizontal)))
    if not len(filled):
        return []
    ends = np.flatnonzero(np.diff(filled) > 2 * reach)
    starts = (filled[np.r_[0, ends + 1]] - reach).clip(0).tolist()
    stops = (filled[np.r_[ends, -1]] + reach + 1).tolist()
    found = [slice(start, stop) for start, stop in zip(starts, stops, strict=True)]
    return [(band, slice(None)) if horizontal else (slice(None), band) for band in found]


def _rules(
    ink: np.ndarray, lying: np.ndarray, standing: np.ndarray, usual: float
) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the horizontal and the vertical rules among the long runs of the ink."""
    thin = max(3, round(_THIN * usual))
    across, down = np.zeros_like(ink), np.zeros_like(ink)
    for runs, rules, horizontal in ((lying, across, True), (standing, down, False)):
        for band in _bands(runs, horizontal, 6):
            thick = straight(runs[band], thin + 1, not horizontal)
            rules[band] = _alone(ink[band], cv2.subtract(runs[band], thick), horizontal)
    if len(_bands(across, True, 1)) > 1:
        down |= _box_sides(ink, across, usual, thin)
    return across, down


def _alone(ink: np.ndarray, runs: np.ndarray, horizontal: bool) -> np.ndarray:
    """Those of the runs along which little else is attached: the strokes of letters grown together go."""
    wide = cv2.dilate(runs, _line(9, not horizontal))
    beside = cv2.subtract(wide, cv2.dilate(runs, _line(5, not horizontal)))  # two rows on each side
    labels, stats = _connected(wide)
    attached = np.bincount(labels[(beside & ink) > 0], minlength=len(stats) + 1)
    around = np.bincount(labels[beside > 0], minlength=len(stats) + 1)
    return np.where((attached < _ATTACHED * around)[labels], runs, 0).astype(np.uint8)


def strokes(lying: np.ndarray, standing: np.ndarray, usual: float) -> np.ndarray:
    """Mask of what is straight and far longer than a letter, though letters are attached or it is thick.

    It joins lines that are apart. Its pixels stay on the page: it may be letters grown together.

    Args:
        lying: ink, or its horizontal runs.
        standing: ink, or its vertical runs.
        usual: text height.
    """
    found = np.zeros_like(lying)
    for runs, horizontal, side in ((lying, True, found.shape[1]), (standing, False, found.shape[0])):
        length = max(60, side // 8, round(6 * usual))
        for band in _bands(runs, horizontal, 0):
            found[band] |= straight(runs[band], length, horizontal)
    return cv2.dilate(found, np.ones((3, 3), np.uint8)) if found.any() else found


def _box_sides(ink: np.ndarray, across: np.ndarray, usual: float, thin: int) -> np.ndarray:
    """Vertical runs that begin and end on horizontal rules."""
    runs = straight(ink, max(24, round(_BOX_SIDE * usual)), False)
    runs = cv2.subtract(runs, across)  # what stands between two rules is apart
    near = cv2.dilate(across, np.ones((5, 5), np.uint8))
    last = ink.shape[0] - 1
    for band in _bands(runs, False, 0):
        labels, stats = _connected(runs[band])
        x, y, width, height, _ = stats.T
        above, below = (
            near[band][(y - 1).clip(0), x + width // 2],
            near[band][(y + height).clip(None, last), x + width // 2],
        )
        side = (width <= thin + 1) & (above > 0) & (below > 0)
        runs[band][~np.r_[False, side][labels]] = 0
    return runs


def _teeth(ink: np.ndarray, across: np.ndarray, usual: float) -> np.ndarray:
    """Short vertical runs that part the cells of a field: on one rule, equally high, evenly spaced."""
    found = np.zeros_like(ink)
    thin, reach, least = max(3, round(_THIN * usual)), round(2 * usual), max(5, round(0.35 * usual))
    for band in _bands(across, True, 0):
        for x, y, width, _, _ in _connected(across[band])[1].tolist():
            bottom, left = band[0].start + y, max(0, x - 2)
            area = (slice(max(0, bottom - reach), bottom), slice(left, x + width + 2))
            if (
                bottom < least
                or np.diff(ink[bottom - least, area[1]], prepend=0).astype(bool).sum() < 2 * _TEETH
            ):
                continue
            runs = straight(ink[area], least, False)
            labels, stats = _connected(runs)
            order = np.argsort(stats[:, 0])
            order = order[(stats[order, 2] <= thin + 1) & (stats[order, 1:4:2].sum(axis=1) >= len(runs) - 2)]
            if len(order) < _TEETH:
                continue
            middles, tops = stats[order, 0] + stats[order, 2] / 2, stats[order, 1]
            gaps = np.diff(middles)
            even = np.ptp(gaps) <= max(3, 0.15 * gaps.max()) and np.ptp(tops) <= 3 and tops.min() > 0
            ends = middles[0] <= thin + 5 and middles[-1] >= runs.shape[1] - thin - 5
            if even and ends:
                found[area][np.isin(labels, order + 1)] = 255
    return found


def _combs(
    down: np.ndarray, frames: np.ndarray, parts: np.ndarray, usual: float
) -> tuple[list[np.ndarray], np.ndarray]:
    """Fields with a cell for each character, as of `Ink`, and the parts (P, 4) that stand in none.

    Their sides are vertical rules, or those of frames (F, 4), of the same height; the cells are equally wide
    and hold one character at most. A table has wider cells, more in them, or more rows.
    """
    combs, free = [], np.ones(len(parts), bool)
    rules = [_connected(down[band])[1][:, :4] + (band[1].start, 0, 0, 0) for band in _bands(down, False, 0)]
    x0, y0, x1, y1 = frames.T
    two = np.full(len(frames), 2)
    rules += [np.stack([x, y0, two, y1 - y0], axis=1) for x in (x0, x1 - 2)]
    sides = np.concatenate(rules)
    sides = sides[(sides[:, 3] > 0.35 * usual) & (sides[:, 3] < 4 * usual)]
    while len(sides) > _TEETH - 1:
        same = (np.abs(sides[:, 1] - sides[0, 1]) <= 3) & (np.abs(sides[:, 3] - sides[0, 3]) <= 4)
        row, sides = sides[same], sides[~same]
        row = row[np.argsort(row[:, 0])]
        starts, ends = row[:-1, 0] + row[:-1, 2], row[1:, 0]
        for chain in np.split(np.arange(len(starts)), np.flatnonzero(ends - starts > _CELL * usual)):
            chain = chain[ends[chain] - starts[chain] <= _CELL * usual]
            wide = ends[chain] - starts[chain]
            cells = chain[wide > 0.5 * wide.max(initial=0)]  # between single boxes there is paper
            wide = ends[cells] - starts[cells]
            if len(cells) < _TEETH - 1 or np.ptp(wide) > max(3, 0.2 * wide.max()):
                continue
            bottom = float((row[cells, 1] + row[cells, 3]).max())
            top = min(float(row[cells, 1].min()), bottom - 1.8 * usual)
            middles = (parts[:, :2] + parts[:, 2:]) / 2
            inside = free & (middles[:, 1] > top) & (middles[:, 1] < bottom)
            inside &= (middles[:, 0] > starts[cells[0]]) & (middles[:, 0] < ends[cells[-1]])
            held = _characters(parts[inside], starts[cells], ends[cells], usual)
            if held is not None:
                full = held.any(axis=1)
                words = np.split(held, np.flatnonzero(np.diff(full)) + 1)
                combs += [word for word in words if word.any()]
                free &= ~inside
    return combs, parts[free]


def _characters(parts: np.ndarray, starts: np.ndarray, ends: np.ndarray, usual: float) -> np.ndarray | None:
    """What stands in each cell of a field: (cells, 4), empty ones 0; None where it is several characters.

    Args:
        parts: in the field, (P, 4).
        starts: of the cells.
        ends: of the cells.
        usual: text height.
    """
    held = np.zeros((len(starts), 4))
    for cell, (start, end) in enumerate(zip(starts, ends, strict=True)):
        within = parts[(parts[:, 0] < end) & (parts[:, 2] > start)]
        tall = within[within[:, 3] - within[:, 1] > 0.5 * usual]
        several = (tall[:, None, :2] > tall[:, 2:]).any()
        if several or (within[:, 0] < start - 3).any() or (within[:, 2] > end + 3).any():
            return None
        if len(tall):
            held[cell] = np.r_[within[:, :2].min(axis=0), within[:, 2:].max(axis=0)]
    full = held[held.any(axis=1)]
    if len(full) < 2 or np.ptp(full[:, 1] + full[:, 3]) > usual:
        return None
    return held


def _without(ink: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """The ink without rules; a letter that crosses a rule stays in one piece."""
    left = ink.copy()
    around = np.ones((3, 3), np.uint8)
    for rules, horizontal in ((across, True), (down, False)):
        for band in _bands(rules, horizontal, 2):
            left[band] = cv2.subtract(left[band], cv2.dilate(rules[band], around))
    for rules, horizontal in ((across, True), (down, False)):
        for area, thickness in _areas(rules, horizontal):
            crossing = cv2.morphologyEx(left[area], cv2.MORPH_CLOSE, _line(thickness + 5, not horizontal))
            crossing = crossing & ink[area] & cv2.dilate(rules[area], around)
            left[area] = cv2.bitwise_or(left[area], crossing)
    return left


def _remains(
    labels: np.ndarray,
    stats: np.ndarray,
    before: np.ndarray,
    across: np.ndarray,
    down: np.ndarray,
    usual: float,
) -> np.ndarray:
    """Which parts are what is left of an uneven rule: (P,). They lie along it and were connected with it.

    Args:
        labels: of the ink without rules.
        stats: of its parts.
        before: labels of the ink with rules.
        across: horizontal rules.
        down: vertical rules.
        usual: text height.
    """
    left = np.zeros(len(stats), bool)
    reach = max(2, round(_THIN / 2 * usual))
    for rules, horizontal in ((across, True), (down, False)):
        for band in _bands(rules, horizontal, reach):
            near = cv2.dilate(rules[band], _line(2 * reach + 1, not horizontal)) > 0
            near &= labels[band] > 0
            numbers, came = labels[band][near], before[band][near]
            touched = np.isin(came, np.unique(before[band][rules[band] > 0]))
            left |= np.bincount(numbers[touched], minlength=len(stats) + 1)[1:] == stats[:, 4]
    return left & (stats[:, 4] > 0)


def erase_rules(page: np.ndarray, ink: Ink, scale: float) -> np.ndarray:
    """The page, uint8 (H', W'), with paper where `ink`, found on it at `scale`, has rules and empty boxes.

    Strokes of letters that cross a rule stay.
    """
    if not ink.across.any() and not ink.down.any() and not len(ink.boxes):
        return page
    page = page.copy()
    for box in ink.boxes:
        x0, y0, x1, y1 = np.round((box + _RIM) / scale).astype(int).clip(0)
        page[y0:y1, x0:x1] = np.median(page[(y0 + y1) // 2, (2 * x0 + x1) // 3 : (x0 + 2 * x1) // 3 + 1])
    for rules, horizontal in ((ink.across, True), (ink.down, False)):
        for (rows, columns), thickness in _areas(rules, horizontal):
            top, bottom, left, right = (
                round(n / scale) for n in (rows.start, rows.stop, columns.start, columns.stop)
            )
            area = page[top:bottom, left:right]
            paper = cv2.morphologyEx(
                area, cv2.MORPH_CLOSE, _line(int((thickness + 5) / scale) + 1, not horizontal)
            )
            mask = cv2.dilate(rules[rows, columns], np.ones((3, 3), np.uint8))
            mask = cv2.resize(mask, area.shape[::-1], interpolation=cv2.INTER_NEAREST)
            area[mask > 0] = paper[mask > 0]
    return page


def _areas(rules: np.ndarray, horizontal: bool) -> list[tuple[tuple[slice, slice], int]]:
    """The surroundings of each rule of a mask, and its thickness in pixels."""
    found = []
    for band in _bands(rules, horizontal, 0):
        down, right = (part.start or 0 for part in band)
        for x, y, width, height, area in _connected(rules[band])[1].tolist():
            thickness = max(1, round(area / (width if horizontal else height)))
            reach = thickness + 8
            rows = slice(max(0, down + y - reach), min(rules.shape[0], down + y + height + reach))
            columns = slice(max(0, right + x - reach), min(rules.shape[1], right + x + width + reach))
            found.append(((rows, columns), thickness))
    return found


def _parts(labels: np.ndarray, stats: np.ndarray, usual: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (P, 4) of what may be letters, (B, 4) of check boxes, and (F, 4) of frames around letters."""
    x, y, width, height, area = stats.T
    page_width = labels.shape[1]
    fill = area / (width * height)
    text = (area >= 5) & ((width < 0.7 * page_width + 8) | (width < 12 * height))
    text &= ~((fill > 0.9) & (width > 40) & (height > 40) & (np.maximum(width, height) > 2 * usual))  # blocks
    text &= ~((fill < 0.12) & (width > 60) & (height > 60))  # the paper's edge
    boxes = np.stack([x, y, x + width, y + height], axis=1)
    frames = _frames(boxes, fill, text, usual)
    text &= ~frames
    check = _check_boxes(labels, boxes, text, usual)
    return boxes[text & ~check].astype(float), boxes[check], boxes[frames]


def _frames(boxes: np.ndarray, fill: np.ndarray, text: np.ndarray, usual: float) -> np.ndarray:
    """Which parts are hollow and hold letters: (P,)."""
    size = boxes[:, 2:] - boxes[:, :2]
    hollow = text & (fill < 0.4) & (size > 1.3 * usual).all(axis=1)
    letters = boxes[text & (size[:, 1] > 0.5 * usual)]
    middles = (letters[:, :2] + letters[:, 2:]) / 2
    for i in np.flatnonzero(hollow):
        inside = (middles > boxes[i, :2]).all(axis=1) & (middles < boxes[i, 2:]).all(axis=1)
        inside &= (letters[:, :2] > boxes[i, :2]).all(axis=1) & (letters[:, 2:] < boxes[i, 2:]).all(axis=1)
        hollow[i] = inside.any()
    return hollow


def _check_boxes(labels: np.ndarray, boxes: np.ndarray, text: np.ndarray, usual: float) -> np.ndarray:
    """Which parts are squares, empty but for four straight sides: (P,).

    Those of blurred and rounded boxes are a little shorter; an O is at the same depth 0.6 of its size long.
    """
    size = boxes[:, 2:] - boxes[:, :2]
    square = text & (size > max(8, 0.6 * usual)).all(axis=1) & (size < 5 * usual + 8).all(axis=1)
    square &= np.abs(size[:, 0] - size[:, 1]) < 0.3 * size.max(axis=1)
    for across, down in itertools.product((0.4, 0.5, 0.6), repeat=2):
        x, y = (boxes[:, :2] + size * (across, down)).astype(int).T
        square &= labels[y, x] != np.arange(1, len(boxes) + 1)
    candidates = np.flatnonzero(square)
    x0, y0, x1, y1 = boxes[candidates].T
    for left, top in itertools.product((True, False), repeat=2):
        corner = np.zeros(len(candidates), bool)
        for share in _CORNER:
            across, down = (1 + share * size[candidates]).round().astype(int).T
            row, column = (y0 + down if top else y1 - 1 - down), (x0 + across if left else x1 - 1 - across)
            corner |= labels[row, column] == candidates + 1
        square[candidates[~corner]] = False
    for i in np.flatnonzero(square):
        x0, y0, x1, y1 = boxes[i]
        part = np.pad((labels[y0:y1, x0:x1] == i + 1).astype(np.uint8), 2)  # a break of the line is closed
        part = cv2.morphologyEx(part, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))[2:-2, 2:-2]
        third_y, third_x = part.shape[0] // 3, part.shape[1] // 3
        hollow = part[third_y : -third_y or None, third_x : -third_x or None].mean() < 0.1
        down, right = (math.ceil(_SIDE * n) for n in part.shape)
        sides = part[:down].any(0), part[-down:].any(0), part[:, :right].any(1), part[:, -right:].any(1)
        square[i] = hollow and all(side.mean() > _FULL for side in sides)
    return square


def _line(length: int, horizontal: bool) -> np.ndarray:
    return np.ones((1, length) if horizontal else (length, 1), np.uint8)
