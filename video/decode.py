"""Reading videos: when each frame is shown, which frames to take, and their pixels.

Only the time at which a frame is shown is trusted, never the frame count or rate that a file claims.
Times are seconds, F is a number of frames.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from common.errors import ImageError, UsageError

_CLOSE = 1e-6  # seconds between two ways to compute the same time
_SMALL = 640 * 480  # pixels up to which a second thread costs more than it helps


class VideoError(ImageError):
    """A video that cannot be read. The message names the file."""


@dataclass(frozen=True)
class Frame:
    """One upright picture of a video."""

    time: float
    """Seconds since the start of the file's clock."""
    pixels: np.ndarray
    """uint8 (H, W, 3), RGB"""


def uniform(times: np.ndarray, count: int) -> np.ndarray:
    """Positions in `times` (F,) of the frames shown in the middle of `count` equal parts, each only once.

    A clip with fewer frames gives fewer; none is repeated.
    """
    middles = (np.arange(count) + 0.5) / count
    return _shown(times, middles)


def segments(times: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """As `uniform`, with a random moment of each part (temporal segments, Wang et al. 2016, section 3.1)."""
    return _shown(times, (np.arange(count) + random.random(count)) / count)


def dense(times: np.ndarray, window: float, stride: float) -> list[np.ndarray]:
    """Positions of the frames in each window of `window` seconds, one every `stride` seconds.

    The last window reaches the end; a video shorter than the window gives a single one.

    Raises:
        UsageError: a window or stride of 0 or less.
    """
    if window <= 0 or stride <= 0:
        raise UsageError(f"--window {window:g} --stride {stride:g}: both must be above 0 seconds")
    starts = np.arange(times[0], max(times[-1] - window, times[0]) + stride - _CLOSE, stride)
    found = [np.flatnonzero((times >= s - _CLOSE) & (times < s + window - _CLOSE)) for s in starts]
    return [positions for positions in found if len(positions)]


def _shown(times: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """The frames shown at `parts` (0 to 1) of the clip, whose last frame lasts as long as the median one."""
    last = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    moments = times[0] + parts * (times[-1] + last - times[0])
    return np.unique(np.searchsorted(times, moments + _CLOSE, side="right") - 1)


def frame_times(path: Path) -> np.ndarray:
    """When each frame of a video is shown, (F,) increasing; found without decoding where the file tells.

    Raises:
        VideoError: missing, empty, damaged or no video, or without any frame.
    """
    with _opened(path) as (container, stream):
        shown: list[float | None] = []
        tick = float(stream.time_base)
        try:
            for packet in container.demux(stream):
                if packet.size:
                    shown.append(None if packet.pts is None else packet.pts * tick)
        except av.error.FFmpegError:
            pass  # cut off: what was there so far is good
    if not shown or None in shown:
        shown = [time for time, _ in _decode(path)]
    if not shown:
        raise VideoError(f"{path}: no frame can be decoded; copy or export it again")
    return np.unique(np.array(shown, dtype=np.float64))


def read_frames(path: Path, times: Sequence[float] | np.ndarray) -> list[Frame]:
    """The frames at `times`, some of those of `frame_times`, in order, each only once.

    Others are not converted to RGB, nor decoded if no frame is built on them. Where a file is cut off, the
    frames up to there.

    Raises:
        VideoError: as `frame_times`.
    """
    wanted = sorted(float(time) for time in times)
    found: list[Frame] = []
    position, previous, reformatter = 0, None, VideoReformatter()
    for time, frame in _decode(path, wanted):
        passed = position
        while passed < len(wanted) and time > wanted[passed] + _CLOSE:
            passed += 1
        if passed > position and previous is not None:
            found.append(_upright(*previous, reformatter))
        position, previous = passed, (time, frame)
        if position == len(wanted):
            break
    if position < len(wanted) and previous is not None:
        found.append(_upright(*previous, reformatter))
    if not found:
        raise VideoError(f"{path}: no frame can be decoded; copy or export it again")
    return found


def stream_frames(source: Path | int, rate: float) -> Iterator[Frame]:
    """Frames of a file, or of the camera with an index, one after the other in constant memory.

    Args:
        source: a path, or a camera's index.
        rate: at most so many frames a second.

    Raises:
        VideoError: as `frame_times`; no such camera.
    """
    due, reformatter = -np.inf, VideoReformatter()
    frames = _camera(source) if isinstance(source, int) else _decode(source)
    for time, frame in frames:
        if time + _CLOSE >= due:
            due = max(due, time) + 1 / rate if np.isfinite(due) else time + 1 / rate
            yield Frame(time, frame) if isinstance(source, int) else _upright(time, frame, reformatter)
    if not np.isfinite(due):
        raise VideoError(f"{source}: no frame can be decoded; copy or export it again")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its first video stream. Raises VideoError."""
    if not path.is_file():
        raise VideoError(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty (0 bytes); copy it again")
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(
            f"{path}: damaged, or not a video, whatever its name says ({error.strerror}); "
            "copy or export it again"
        ) from None
    with container:
        if not container.streams.video:
            raise VideoError(f"{path}: holds no video, only {len(container.streams)} other streams")
        yield container, container.streams.video[0]


def _decode(path: Path, wanted: Sequence[float] | None = None) -> Iterator[tuple[float, Any]]:
    """Seconds and PyAV's frames in order of time, up to the end or to where the file is damaged.

    Where `wanted` names the times of frames, others that no frame is built on are left out.
    """
    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO" if stream.width * stream.height > _SMALL else "NONE"
        gap, tick = 1 / float(stream.average_rate or 25), float(stream.time_base)
        needed = None if wanted is None else {round(time / tick) for time in wanted}
        last = -gap
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
                if needed is not None:
                    spare = packet.pts is not None and packet.pts not in needed
                    stream.codec_context.skip_frame = "NONREF" if spare else "DEFAULT"
                frames = packet.decode()
            except (StopIteration, av.error.FFmpegError):
                return
            for frame in frames:
                time = last + gap if frame.pts is None else frame.pts * tick  # a raw stream has no clock
                if time <= last and last >= 0:
                    continue  # a clock that stands or runs backwards
                last = time
                yield time, frame


def _upright(time: float, frame: Any, reformatter: VideoReformatter) -> Frame:
    """The picture as a player would show it: a phone's rotation is applied. A reformatter is slow to make.

    More threads than one take four times as long to convert a small picture.
    """
    pixels = reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
    return Frame(time, np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90))))


def _camera(index: int) -> Iterator[tuple[float, np.ndarray]]:
    import time

    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    camera = cv2.VideoCapture(index)
    try:
        if not camera.isOpened():
            raise VideoError(f"camera {index}: there is none of this index, or another program holds it")
        started = time.monotonic()
        while True:
            read, pixels = camera.read()
            if not read:
                return
            yield time.monotonic() - started, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    finally:
        camera.release()
