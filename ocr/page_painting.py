"""What a camera or a scanner makes of a page: perspective, shadow, blur, noise, compression.

Notation: H x W pixels, grey uint8.
"""

import cv2
import numpy as np

from ocr.line_maps import LabelledPage, stacked

_LEAST_CONTRAST = 20  # grey levels: text with less of them counts for nothing


def ground_like_a_photograph(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Smooth and grainy levels with shapes in front of them, (H, W)."""
    height, width = max(2, height), max(2, width)
    pixels = _levels(random, (height, width), 0, 255)
    for coarse in (8, 2):
        size = (max(2, width // coarse), max(2, height // coarse))
        coarse_grain = random.integers(0, 256, size[::-1], dtype=np.uint8)
        grain = cv2.resize(coarse_grain, (width, height), interpolation=cv2.INTER_LINEAR)
        share = float(random.uniform(0, 0.35))
        pixels = np.asarray(cv2.addWeighted(pixels, 1 - share, grain, share, 0), np.uint8)
    for _ in range(int(random.integers(0, 14))):
        x, y = int(random.integers(width)), int(random.integers(height))
        level, reach = int(random.integers(256)), max(2, int(width * random.uniform(0.02, 0.35)))
        shape = int(random.integers(4))
        if shape == 0:
            cv2.circle(pixels, (x, y), reach, level, -1, cv2.LINE_AA)
        elif shape == 1:
            cv2.rectangle(pixels, (x, y), (x + reach, y + int(reach * random.uniform(0.2, 3))), level, -1)
        elif shape == 2:
            end = int(random.integers(width)), int(random.integers(height))
            cv2.line(pixels, (x, y), end, level, int(random.integers(1, 12)), cv2.LINE_AA)
        else:
            pitch = int(random.integers(4, 24))
            part = pixels[y : y + reach, x : x + reach]
            stripes = (np.arange(part.shape[1]) // pitch % 2 * random.integers(20, 90)).astype(np.uint8)
            part[:] = cv2.subtract(part, np.broadcast_to(stripes, part.shape).copy()) if part.size else part
    return pixels


def _levels(random: np.random.Generator, shape: tuple[int, int], low: float, high: float) -> np.ndarray:
    """Smooth random levels, uint8 (H, W)."""
    rows, columns = int(random.integers(2, 6)), int(random.integers(2, 6))
    coarse = random.uniform(low, high, (rows, columns)).astype(np.float32)
    smooth = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.convertScaleAbs(smooth))


def photographed(
    random: np.random.Generator, page: LabelledPage, side: int, *, paper: bool, scale: float = 1.0
) -> LabelledPage:
    """What of a page is seen through a camera or scanner, `side` x `side`; lines may reach beyond the rim.

    Lines that can hardly be seen are ignored.

    Args:
        random: the only source of randomness.
        page: as drawn or scanned.
        side: pixels.
        paper: whether it is a document; photographs are not made black and white.
        scale: pixels of the result for one of the page.
    """
    height, width = page.pixels.shape
    if scale < 0.9:  # the warp alone would leave out pixels
        small = cv2.resize(page.pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        page = LabelledPage(small, page.lines * scale, page.ignored * scale)
        scale, (height, width) = 1.0, small.shape
    matrix = _view(random, width, height, side, scale)
    lines, ignored = (_moved(places, matrix) for places in (page.lines, page.ignored))
    if random.random() < 0.5:
        ground = np.full((side, side), random.integers(256), np.uint8)
        if random.random() < 0.6:
            ground[:] = np.median(page.pixels[:: max(1, height // 32), :: max(1, width // 32)])
    else:
        ground = ground_like_a_photograph(random, side, side)
    pixels = cv2.warpPerspective(
        page.pixels, matrix, (side, side), ground, cv2.INTER_LINEAR, cv2.BORDER_TRANSPARENT
    )
    pixels = _lit(random, pixels, paper)
    clear = np.array([_contrast(pixels, line) >= _LEAST_CONTRAST for line in lines], bool)
    ignored = stacked([*ignored, *lines[~clear]])
    return LabelledPage(_sensed(random, pixels, paper), lines[clear], ignored)


def _contrast(pixels: np.ndarray, line: np.ndarray) -> int:
    """Between the darkest and the lightest pixel around a line; of one beyond the rim, all there is."""
    (x0, y0), (x1, y1) = line.min(axis=0).clip(0).astype(int), line.max(axis=0).clip(0).astype(int) + 1
    return int(np.ptp(pixels[y0:y1, x0:x1])) if x0 < pixels.shape[1] and y0 < pixels.shape[0] else 255


def _view(random: np.random.Generator, width: int, height: int, side: int, scale: float) -> np.ndarray:
    """The matrix (3, 3) from a page to what is seen of it."""
    chance = random.random()
    angle = random.normal(0, 1.2 if chance < 0.65 else 7)
    if chance > 0.95:
        angle += 90 * random.integers(1, 4)
    turn = np.radians(angle)
    size = scale * np.array([width, height])
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * size / 2
    corners = corners @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    if random.random() < 0.4:
        corners += random.normal(0, 0.03, (4, 2)) * side
    room = np.abs(size - side) / 2 + 0.03 * side  # a larger page is seen in part
    corners += side / 2 + random.uniform(-room, room)
    source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    return np.asarray(cv2.getPerspectiveTransform(source, corners.astype(np.float32)))


def _moved(lines: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    if not len(lines):
        return lines
    moved = cv2.perspectiveTransform(lines.reshape(-1, 1, 2).astype(np.float32), matrix.astype(np.float32))
    return np.asarray(moved, np.float32).reshape(-1, 4, 2)


def _lit(random: np.random.Generator, pixels: np.ndarray, paper: bool) -> np.ndarray:
    """In another light."""
    size = pixels.shape
    if random.random() < 0.25:  # shadow
        shade = _levels(random, size, 110 * random.random(), 255)
        pixels = cv2.multiply(pixels, shade, scale=1 / 255)
    if random.random() < 0.15:  # a lamp, haze
        pixels = cv2.add(pixels, _levels(random, size, 0, 150 * random.random()))
    if paper and random.random() < 0.15:  # faded thermal paper
        share = random.uniform(0.2, 0.7)
        pixels = cv2.addWeighted(pixels, share, np.full_like(pixels, np.median(pixels)), 1 - share, 0)
    if random.random() < 0.3:
        gain, offset = random.uniform(0.6, 1.3), random.uniform(-40, 40)
        table = np.clip((np.arange(256) - 128) * gain + 128 + offset, 0, 255).astype(np.uint8)
        pixels = cv2.LUT(pixels, table)
    return 255 - pixels if random.random() < 0.08 else pixels


def _sensed(random: np.random.Generator, pixels: np.ndarray, paper: bool) -> np.ndarray:
    """As a sensor sees it and a file keeps it."""
    size = pixels.shape
    if paper and random.random() < 0.12:  # fax, copy in black and white
        return _black_and_white(random, pixels)
    if random.random() < 0.15:
        few = random.uniform(0.5, 0.9)
        small = cv2.resize(pixels, None, fx=few, fy=few, interpolation=cv2.INTER_AREA)
        pixels = cv2.resize(small, size[::-1], interpolation=cv2.INTER_LINEAR)
    elif random.random() < 0.3:
        pixels = cv2.GaussianBlur(pixels, (0, 0), random.uniform(0.3, 1.2))
    elif random.random() < 0.06:  # the camera moved
        length = (int(random.integers(3, 7)), 1)
        pixels = cv2.blur(pixels, length if random.random() < 0.5 else length[::-1])
    if random.random() < 0.35:
        noise = random.standard_normal(size, dtype=np.float32) * np.float32(random.uniform(2, 20))
        pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    if random.random() < 0.4:
        quality = [int(cv2.IMWRITE_JPEG_QUALITY), int(random.integers(20, 90))]
        return np.asarray(cv2.imdecode(cv2.imencode(".jpg", pixels, quality)[1], cv2.IMREAD_GRAYSCALE))
    return pixels


def _black_and_white(random: np.random.Generator, pixels: np.ndarray) -> np.ndarray:
    """By a level that follows the ground, between it and the ink."""
    coarse = cv2.resize(pixels, None, fx=1 / 24, fy=1 / 24, interpolation=cv2.INTER_AREA)
    ground = cv2.resize(coarse, pixels.shape[::-1], interpolation=cv2.INTER_LINEAR)
    over = ground.astype(np.int16) - pixels
    far = max(np.percentile(over[::4, ::4], [1, 99]), key=abs)  # the ink may be the lighter one
    return np.where(over > random.uniform(0.3, 0.6) * far, 0, 255).astype(np.uint8)
