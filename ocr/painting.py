"""How drawn text looks on paper, on forms and in scenes, and the distortions of a bad camera or scanner.

Notation: H x W pixels; ink is float32 (H, W) from 0, paper, to 1; images are grey uint8.
"""

from collections.abc import Callable

import cv2
import numpy as np

from ocr.phrases import Kind

Neighbour = Callable[[], np.ndarray | None]
_TWO = np.ones((2, 2), np.uint8)


def crop_around(random: np.random.Generator, mask: np.ndarray, kind: Kind) -> np.ndarray:
    """Margins, slant, rotation, perspective; for scenes also curved base lines. Ink uint8 (H, W) -> the same.

    On forms, boxes are so tight that they cut letters.
    """
    height, width = mask.shape
    least, most = {"document": (0.0, 0.22), "form": (-0.1, 0.18), "scene": (-0.03, 0.3)}[kind]
    top, bottom = (round(height * random.uniform(least, most)) for _ in range(2))
    left, right = (
        round(height * random.uniform(0.02 if kind == "document" else -0.03, 0.4)) for _ in range(2)
    )
    cut = [max(0, -n) for n in (top, bottom, left, right)]
    if width > height:  # a cut "-" would be nothing
        mask = mask[cut[0] : height - cut[1], cut[2] : width - cut[3]]
    mask = np.pad(mask, ((max(0, top), max(0, bottom)), (max(0, left), max(0, right))))
    height, width = mask.shape
    if kind == "scene" and width > 1.5 * height and random.random() < 0.22:
        mask = _arc(random, mask) if random.random() < 0.5 else _bow(random, mask)
        height, width = mask.shape
    if random.random() < {"document": 0.45, "form": 0.4, "scene": 0.7}[kind]:
        wild = kind == "scene"
        slant = random.normal(0, 0.13 if wild else 0.04) * height
        turn = np.clip(random.normal(0, 0.045 if wild else 0.006), -0.16, 0.16) * width
        shake = random.normal(0, 0.06 if wild else 0.015, (4, 2)) * height
        source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        target = source + shake.astype(np.float32)
        target[:2, 0] += slant
        target[1:3, 1] += turn
        target -= target.min(axis=0)
        size = np.ceil(target.max(axis=0)).astype(int)
        matrix = cv2.getPerspectiveTransform(source, target.astype(np.float32))
        mask = cv2.warpPerspective(mask, matrix, (int(size[0]), int(size[1])))
    return mask


def _bow(random: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """Bent up or down in the middle, or in a wave."""
    height, width = mask.shape
    bow = height * random.uniform(-0.35, 0.35)
    mask = np.pad(mask, ((int(abs(bow)) + 1,) * 2, (0, 0)))
    x = np.arange(width, dtype=np.float32)
    waves = random.choice([1.0, 1.0, 2.0])
    shift = bow * np.sin(waves * np.pi * x / width).astype(np.float32) - (bow / 2 if waves == 1 else 0)
    rows = np.arange(mask.shape[0], dtype=np.float32)[:, None] + shift.astype(np.float32)
    return cv2.remap(mask, np.broadcast_to(x, rows.shape).copy(), rows, cv2.INTER_LINEAR)


def _arc(random: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """On a circle, as on seals and caps: letters turn with it."""
    height, width = mask.shape
    angle = random.uniform(0.25, 1.3)
    radius = width / angle  # of the middle of the text
    half = min(1.5, angle / 2)
    outer, inner = radius + height / 2, max(1.0, radius - height / 2)
    size_x = int(2 * outer * np.sin(half)) + 1
    size_y = int(outer - inner * np.cos(half)) + 1
    x = np.arange(size_x, dtype=np.float32) - size_x / 2
    y = outer - np.arange(size_y, dtype=np.float32)[:, None]
    along = np.arctan2(x, y) * radius + width / 2
    across = outer - np.sqrt(x * x + y * y)
    bent = cv2.remap(mask, along.astype(np.float32), across.astype(np.float32), cv2.INTER_LINEAR)
    if random.random() < 0.4:  # the lower half of a seal: bent the other way
        flipped = cv2.remap(
            mask[::-1, ::-1], along.astype(np.float32), across.astype(np.float32), cv2.INTER_LINEAR
        )
        bent = np.ascontiguousarray(flipped[::-1, ::-1])
    return bent


def paint(random: np.random.Generator, mask: np.ndarray, kind: Kind, neighbour: Neighbour) -> np.ndarray:
    """Ink uint8 (H, W) -> what a camera or scanner sees, grey uint8 (H, W).

    Args:
        random: its only source of randomness.
        mask: the text.
        kind: where it stands.
        neighbour: ink of other text, for what reaches into the crop from beside it.
    """
    ink = mask.astype(np.float32) / 255
    if random.random() < 0.2:
        ink = np.asarray((cv2.erode if random.random() < 0.5 else cv2.dilate)(ink, _TWO))
    return {"document": _document, "form": _form, "scene": _scene}[kind](random, ink, neighbour)


def _document(random: np.random.Generator, ink: np.ndarray, neighbour: Neighbour) -> np.ndarray:
    height, width = ink.shape
    if random.random() < 0.3:  # worn ribbon, faded thermal paper
        ink = _worn(random, ink)
    if random.random() < 0.12:  # dead dots of a print head
        for column in random.integers(0, width, 1 + width // 100).tolist():
            ink[:, column : column + int(random.integers(1, 4))] *= random.uniform(0, 0.4)
    if random.random() < 0.14:
        _beside(random, ink, neighbour)
    if random.random() < 0.05:
        row = int(random.integers(int(height * 0.85), height))
        ink[row : row + int(random.integers(1, 3))] = 1
    contrast = random.uniform(0.35, 1.0)
    ground = _ground(random, ink.shape, contrast, 0.15)
    line = ground - contrast * ink
    return _grey(1 - line if random.random() < 0.08 else line)


def _form(random: np.random.Generator, ink: np.ndarray, neighbour: Neighbour) -> np.ndarray:
    height, width = ink.shape
    roll = random.random()
    if roll < 0.22:
        ink = _worn(random, ink)
    elif roll < 0.32:  # dot matrix
        pitch = random.uniform(2.6, 4.6)
        rows = np.cos(np.arange(height, dtype=np.float32)[:, None] * (2 * np.pi / pitch))
        columns = np.cos(np.arange(width, dtype=np.float32) * (2 * np.pi / pitch))
        ink = ink * np.clip(random.uniform(0.4, 0.9) + 0.5 * (rows + columns), random.uniform(0, 0.3), 1)
    if random.random() < 0.2:
        _beside(random, ink, neighbour)
    if random.random() < 0.28:
        _rules(random, ink)
    if random.random() < 0.12:  # specks of a copier
        specks = 1 + int(random.integers(0, 2 + width // 20))
        for x, y in zip(random.integers(0, width, specks), random.integers(0, height, specks), strict=True):
            size = int(random.integers(1, 4))
            ink[y : y + size, x : x + size] = random.uniform(0.4, 1)
    if roll > 0.22 and random.random() < 0.5:  # a coarse, thresholded scan or fax
        coarse = random.uniform(0.28, 0.75)
        small = cv2.resize(
            ink, None, fx=coarse, fy=coarse * random.uniform(0.8, 1.1), interpolation=cv2.INTER_AREA
        )
        if small.size:
            level = random.uniform(0.28, 0.6) + random.uniform(0, 0.25) * (
                random.random(small.shape, dtype=np.float32) - 0.5
            )
            hard = random.uniform(3, 30)
            ink = np.clip((small - level) * hard + 0.5, 0, 1).astype(np.float32)
    contrast = random.uniform(0.4, 1.0)
    ground = _ground(random, ink.shape, contrast, 0.1)
    line = ground - contrast * ink
    return _grey(1 - line if random.random() < 0.04 else line)


def _scene(random: np.random.Generator, ink: np.ndarray, neighbour: Neighbour) -> np.ndarray:
    height, width = ink.shape
    if random.random() < 0.15:
        _beside(random, ink, neighbour)
    contrast = random.uniform(0.2, 1.0) if random.random() < 0.9 else 0.12
    ground = _ground(random, ink.shape, contrast, 0.4)
    if random.random() < 0.12:
        ground = _structure(random, ground, contrast)
    face = ground - contrast
    if random.random() < 0.25:  # letters with a gradient, or a texture of their own
        face = face + contrast * random.uniform(0.1, 0.5) * _levels(random, ink.shape)
    roll = random.random()
    if roll < 0.12:  # shadow
        shift = random.integers(-4, 5, 2)
        shadow = np.roll(ink, (int(shift[0]), int(shift[1])), (0, 1))
        if random.random() < 0.5:
            shadow = cv2.GaussianBlur(shadow, (0, 0), random.uniform(0.8, 2.5))
        ground = ground + shadow * random.uniform(-0.7, 0.4) * contrast
    elif roll < 0.24:  # outline
        rim = cv2.dilate(ink, np.ones((int(random.integers(3, 7)),) * 2, np.uint8))
        ground = ground + rim * random.uniform(-0.8, 0.6) * contrast
    elif roll < 0.28:  # letters of an outline alone
        inside = cv2.erode(ink, np.ones((3, 3), np.uint8))
        if inside.sum() > 0.3 * ink.sum():
            ink = ink - inside * random.uniform(0.7, 1.0)
    elif roll < 0.33:  # solid letters seen from a side
        depth = random.integers(-1, 2, 2)
        body = ink
        for step in range(1, int(random.integers(3, 7))):
            body = np.maximum(body, np.roll(ink, (int(depth[0]) * step, int(depth[1]) * step), (0, 1)))
        ground = ground + body * random.uniform(-0.6, 0.3) * contrast
    elif roll < 0.36:  # glow
        ground = (
            ground - cv2.GaussianBlur(ink, (0, 0), random.uniform(2, 6)) * random.uniform(0.1, 0.5) * contrast
        )
    line = ground * (1 - ink) + face * ink
    if random.random() < 0.06:  # a lamp on the glass
        x = np.arange(width, dtype=np.float32) - random.uniform(0, width)
        y = np.arange(height, dtype=np.float32)[:, None] - random.uniform(0, height)
        line = line + random.uniform(0.1, 0.5) * np.exp(
            -(x * x + y * y) / (height * random.uniform(0.3, 1)) ** 2
        )
    return _grey(1 - line if random.random() < 0.5 else line)


def _worn(random: np.random.Generator, ink: np.ndarray) -> np.ndarray:
    height, width = ink.shape
    fade = cv2.resize(random.random((3, max(2, width // 12))).astype(np.float32), (width, height))
    grain = random.random((height, width), dtype=np.float32)
    return ink * np.clip(random.uniform(0.05, 0.6) + fade - 0.5 * grain * random.random(), 0.1, 1)


def _beside(random: np.random.Generator, ink: np.ndarray, neighbour: Neighbour) -> None:
    """Put a piece of other text at a side: of the line above or below, or of the word before or after."""
    other = neighbour()
    if other is None:
        return
    height, width = ink.shape
    piece = np.zeros_like(ink)
    strip = other.astype(np.float32) / 255
    if random.random() < 0.7:
        rows = max(1, int(height * random.uniform(0.05, 0.22)))
        start = int(random.integers(0, max(1, width // 2)))
        above = random.random() < 0.5
        part = (strip[-rows:] if above else strip[:rows])[:, : width - start]
        top = 0 if above else height - len(part)
        piece[top : top + len(part), start : start + part.shape[1]] = part
    else:
        columns = max(1, min(int(height * random.uniform(0.05, 0.25)), width // 6))
        before = random.random() < 0.5
        part = (strip[:, -columns:] if before else strip[:, :columns])[:height]
        left = 0 if before else width - part.shape[1]
        top = (height - len(part)) // 2
        piece[top : top + len(part), left : left + part.shape[1]] = part
    np.maximum(ink, piece, out=ink)


def _rules(random: np.random.Generator, ink: np.ndarray) -> None:
    """Draw rules and sides of boxes: under, over and through the text, and beside it."""
    height, width = ink.shape
    thick = int(random.integers(1, 4))
    level = random.uniform(0.4, 1.0)
    roll = random.random()
    if roll < 0.45:  # a line to write on, which may be dotted or broken
        row = int(height * random.uniform(0.72, 0.98))
        gaps = np.ones(width, np.float32)
        if random.random() < 0.35:
            period, share = random.integers(3, 14), random.uniform(0.3, 0.8)
            gaps = (np.arange(width) % period < share * period).astype(np.float32)
        start, stop = (
            (0, width) if random.random() < 0.7 else sorted(random.integers(0, width + 1, 2).tolist())
        )
        gaps[:start], gaps[stop:] = 0, 0
        band = ink[row : row + thick]
        np.maximum(band, level * gaps, out=band)
    elif roll < 0.55:  # through the text
        row = int(height * random.uniform(0.3, 0.72))
        band = ink[row : row + max(1, thick - 1)]
        np.maximum(band, 0.8 * level, out=band)
    elif roll < 0.75:
        band = ink[: int(random.integers(1, 4))]
        np.maximum(band, level, out=band)
    if roll > 0.6:
        for column in ([0], [width - thick], [0, width - thick])[int(random.integers(3))]:
            column = min(width - 1, max(0, column + int(random.integers(-2, 3))))
            band = ink[:, column : column + thick]
            np.maximum(band, level, out=band)


def _levels(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Smooth random levels from 0 to about 1, (H, W)."""
    coarse = random.random(((2, 3), (3, 9), (2, 2), (4, 5))[int(random.integers(4))]).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC))


def _ground(
    random: np.random.Generator, shape: tuple[int, ...], contrast: float, uneven: float
) -> np.ndarray:
    """Paper or wall, as bright as leaves room for ink of that contrast."""
    paper = random.uniform(contrast, 1.0)
    return paper - random.uniform(0, uneven) * contrast * _levels(random, shape)


def _structure(random: np.random.Generator, ground: np.ndarray, contrast: float) -> np.ndarray:
    """Stripes, grain, or things behind the text."""
    height, width = ground.shape
    depth = random.uniform(0.1, 0.3) * contrast
    roll = random.random()
    if roll < 0.35:
        x = np.arange(width, dtype=np.float32) * random.normal(0, 1)
        y = np.arange(height, dtype=np.float32)[:, None] * random.normal(0, 1)
        return ground - depth * (np.sin((x + y) / random.uniform(0.5, 4)) > 0)
    if roll < 0.7:
        grain = random.random((height // 2 + 1, width // 2 + 1), dtype=np.float32)
        smooth = cv2.GaussianBlur(grain, (0, 0), random.uniform(0.5, 2))
        return ground - 2 * depth * np.asarray(cv2.resize(smooth, (width, height)))
    things = np.zeros_like(ground)
    for _ in range(int(random.integers(1, 5))):
        ends = random.integers(0, [width, height, width, height]).tolist()
        cv2.line(things, ends[:2], ends[2:], random.uniform(0.3, 1), int(random.integers(1, 12)))
    return ground - depth * things


def _grey(line: np.ndarray) -> np.ndarray:
    return (np.clip(line, 0, 1) * 255).astype(np.uint8)


def shrink_and_grow(
    random: np.random.Generator, line: np.ndarray, kind: Kind, width: int, height: int
) -> np.ndarray:
    """Scaled to `width` x `height` by way of the few pixels that a scan or a far camera has of it."""
    share, low, high = {"document": (0.6, 0.45, 1.1), "form": (0.75, 0.3, 0.8), "scene": (0.75, 0.27, 1.1)}[
        kind
    ]
    small = random.uniform(low, high) if random.random() < share else 1.0
    if small < 0.98:
        size = (max(4, int(width * small)), max(8, int(height * small)))
        line = cv2.resize(line, size, interpolation=cv2.INTER_AREA)
        if kind == "scene" and random.random() < 0.4:  # photos are compressed at the size they have
            line = _jpeg(random, line)
        smooth = cv2.INTER_CUBIC if random.random() < 0.2 else cv2.INTER_LINEAR
        return cv2.resize(line, (width, height), interpolation=smooth)
    return cv2.resize(line, (width, height), interpolation=cv2.INTER_AREA)


def _jpeg(random: np.random.Generator, line: np.ndarray) -> np.ndarray:
    quality = [int(cv2.IMWRITE_JPEG_QUALITY), int(random.integers(20, 90))]
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", line, quality)[1], cv2.IMREAD_GRAYSCALE))


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
        line = _jpeg(random, line)
    if geometric and random.random() < 0.05:
        line = 255 - line
    return line
