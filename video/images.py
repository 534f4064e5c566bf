"""The preprocessing of a clip; training and use share it.

Notation: N clips, S streams, T frames, F numbers of a frame.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from common.images import Preprocess
from video.decode import Frame, read_evenly

StreamKind = Literal["appearance", "difference", "flow"]
Crop = Literal["none", "content"]
OVERSAMPLING = 2
"""Frames that are read for each that the network sees; training takes one of them at random."""
_MAX_FLOW = 20.0  # pixels between two frames at which the flow's colours saturate
_BLOCK = 8  # pixels of a block from which on blocks are averaged first
_FLOW_SIDE = 160  # pixels of the shorter side on which flow is computed
_BLACK = 20  # the brightest that black is, once a video was compressed
_MARGIN = 0.05  # of the square around a clip's content, on each side
_SAMPLES = 120  # pixels of the shorter side on which content is looked for


def read_clip(path: Path, frames: int, crop: Crop = "none") -> list[Frame]:
    """`frames * OVERSAMPLING` frames at even times, or all of a shorter clip, cropped. Raises VideoError."""
    found = read_evenly(path, frames * OVERSAMPLING)
    return found if crop == "none" else cropped(found, content_box(found))


def content_box(frames: Sequence[Frame]) -> tuple[int, int, int, int]:
    """The square around all that is not black in any of the frames: left, top, right, bottom.

    Of a person before a depth camera that shows its background as black, it shows the person at any distance.
    A square that does not fit into the frame is cut: a wide film keeps its bars. Frames that are black, or
    of several sizes, give the whole frame.
    """
    import cv2

    height, width = frames[0].pixels.shape[:2]
    whole = (0, 0, width, height)
    if any(frame.pixels.shape != frames[0].pixels.shape for frame in frames):
        return whole
    step = max(1, min(height, width) // _SAMPLES)
    brightest = np.max([frame.pixels[::step, ::step] for frame in frames], axis=(0, 3))
    lit = cv2.erode((brightest > _BLACK).astype(np.uint8), np.ones((3, 3), np.uint8))  # no lone dots
    columns, rows = np.flatnonzero(lit.any(axis=0)), np.flatnonzero(lit.any(axis=1))
    if not len(columns):
        return whole
    # with what erosion took
    spans = [(step * (found[0] - 1), step * (found[-1] + 2)) for found in (columns, rows)]
    side = (1 + 2 * _MARGIN) * max(end - start for start, end in spans)
    (left, right), (top, bottom) = (
        _inside((start + end) / 2, side, limit)
        for (start, end), limit in zip(spans, (width, height), strict=True)
    )
    return left, top, right, bottom


def cropped(frames: Sequence[Frame], box: tuple[int, int, int, int]) -> list[Frame]:
    """What is inside the box (left, top, right, bottom) of each frame; a frame that is smaller, whole."""
    left, top, right, bottom = box
    return [Frame(frame.time, frame.pixels[top:bottom, left:right]) for frame in frames]


def _inside(middle: float, side: float, limit: int) -> tuple[int, int]:
    """Start and end of `side` pixels around `middle`, moved into 0 to `limit`; cut where they are more."""
    length = min(round(side), limit)
    start = min(max(0, round(middle - length / 2)), limit - length)
    return start, start + length


def stream_image(frame: Frame, previous: Frame | None, stream: StreamKind) -> np.ndarray:
    """The encoder's input for one frame of a stream, uint8 (H, W, 3).

    - `appearance`: the frame.
    - `difference`: half its difference to the previous frame, rounded down, plus mid-grey.
    - `flow`: DIS optical flow (Kroeger et al. 2016) from the previous frame as colour: right in red, down in
      green, speed in blue; no motion is grey (red, green) and black (blue).
    """
    if stream == "appearance":
        return frame.pixels
    import cv2

    before = (previous or frame).pixels
    if before.shape != frame.pixels.shape:  # another recording begins, in another size
        before = frame.pixels
    if stream == "difference":
        return cv2.addWeighted(frame.pixels, 0.5, before, -0.5, 127.75)  # .75: halves round down
    return _flow(before, frame.pixels)


def prepared(images: Sequence[np.ndarray], preprocess: Preprocess) -> np.ndarray:
    """Images of a clip, uint8 (H, W, 3) each of any size -> (N, 3, height, width), as `Preprocess.batch`."""
    return preprocess.batch([_reduced(image, preprocess) for image in images])


def _reduced(image: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """An image that is larger than what the encoder sees, in that size; any other as it is.

    Areas are averaged, which takes a fraction of the time of Pillow's resize; of a large image, whole blocks
    first.
    """
    import cv2

    size = preprocess.width, preprocess.height
    across, down = image.shape[1] // size[0], image.shape[0] // size[1]
    if not across or not down:
        return image
    if across * down >= _BLOCK:
        blocks = -(-image.shape[1] // across), -(-image.shape[0] // down)
        image = cv2.resize(image, blocks, interpolation=cv2.INTER_AREA)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def middles(length: int, count: int) -> np.ndarray:
    """Positions of `count` of `length` frames, the middle ones of as many equal parts; all where fewer.

    They are those of `video.data.sample` without jitter.
    """
    if length <= count:
        return np.arange(length)
    steps = np.arange(count, dtype=np.float32)
    return ((steps + np.float32(0.5)) / np.float32(count) * np.float32(length)).astype(np.int64)


def pad(clips: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Clips (S, T, F) -> features (N, S, T', F), 0 beyond a clip's length, and lengths (N,)."""
    lengths = np.array([clip.shape[1] for clip in clips])
    first = clips[0]
    features = np.zeros((len(clips), len(first), int(lengths.max()), *first.shape[2:]), first.dtype)
    for i, clip in enumerate(clips):
        features[i, :, : clip.shape[1]] = clip
    return features, lengths


def _flow(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    import cv2

    scale = min(1.0, _FLOW_SIDE / min(after.shape[:2]))
    size = (max(16, round(after.shape[1] * scale)), max(16, round(after.shape[0] * scale)))
    grey = [
        cv2.cvtColor(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        for pixels in (before, after)
    ]
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    flow = dis.calc(grey[0], grey[1], None) / _MAX_FLOW  # type: ignore[call-overload]
    colours = np.dstack([flow / 2 + 0.5, np.linalg.norm(flow, axis=-1)])
    return np.asarray(255 * colours.clip(0, 1), dtype=np.uint8)
