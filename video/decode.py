"""Reading videos: when each frame is shown, which frames to take, and their pixels.

Only the time at which a frame is shown is trusted, never the frame count or rate that a file claims.
Times are seconds since the start of the recording, F is a number of frames. What is damaged is left out, and
a `common.errors.VisionWarning` says how much that was.
"""

import warnings
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

from common.errors import ImageError, VisionWarning
from common.images import allowed_pixels, blamed_on, check_pixels
from common.media import open_media

_CLOSE = 1e-6  # seconds between two ways to compute the same time
_SMALL = 640 * 480  # pixels up to which a second thread costs more than it helps
_SHOWN = 1920 * 1088  # pixels of a frame at most
_HUGE = 4096 * 2304
_TRIES = 100  # errors one after the other with which the rest of a file is given up
_PAUSE = 10  # seconds ahead that FFmpeg, too, takes for a new clock where a format's clock may start anywhere
_SHORT = 2**25  # bytes of a file that is kept in memory while it is read
_PROBE = 200  # packets by which several streams are distinguished
# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".divx", ".mpg", ".mpeg", ".m1v",
    ".m2v", ".vob", ".ts", ".mts", ".m2ts", ".m2t", ".flv", ".f4v", ".wmv", ".asf", ".ogv", ".ogm", ".mxf",
    ".rm", ".rmvb", ".dv", ".wtv", ".nut", ".ivf", ".y4m", ".mjpg", ".mjpeg", ".h264", ".264", ".h265",
    ".265", ".hevc", ".gif",
})
"""Of videos in folders."""
# fmt: on


class VideoError(ImageError):
    """A video that cannot be read. The message names the file."""


@dataclass(frozen=True)
class Frame:
    """One upright image of a video."""

    time: float
    """Seconds since the start of the recording."""
    pixels: np.ndarray
    """uint8 (H, W, 3), RGB"""


def uniform(times: np.ndarray, count: int) -> np.ndarray:
    """Positions in `times` (F,) of the frames shown in the middle of `count` equal parts, each only once.

    The last frame lasts as long as the median one. A clip with fewer frames gives fewer; none is repeated.
    """
    last = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    moments = times[0] + (np.arange(count) + 0.5) / count * (times[-1] + last - times[0])
    return np.unique(np.searchsorted(times, moments + _CLOSE, side="right") - 1)


def frame_times(path: Path) -> np.ndarray:
    """When each frame of a video is shown, (F,) increasing; found without decoding where the file says so.

    Raises:
        VideoError: missing, empty, damaged or no video, or without any frame.
    """
    with _opened(path) as (container, stream):
        times = _times(_packets(path, container, stream), stream)
    if times is None:
        times = np.unique([time for time, _ in _decode(path)])
    if not len(times):
        raise VideoError(f"{path}: no frame can be decoded; copy or export it again")
    return times


def _times(packets: Iterable[Any], stream: Any) -> np.ndarray | None:
    """When the frames of packets are shown; None where that is known only once they are decoded."""
    ticks = [packet.dts if packet.pts is None else packet.pts for packet in packets]
    return None if not ticks or None in ticks else np.unique(np.array(ticks) * float(stream.time_base))


def read_evenly(path: Path, count: int) -> list[Frame]:
    """`count` frames at even times, or all of a video that has fewer. Raises VideoError, as `frame_times`."""
    if path.is_file() and path.stat().st_size <= _SHORT:  # held in memory, so that it is opened only once
        with _opened(path) as (container, stream):
            packets = list(_packets(path, container, stream))
            times = _times(packets, stream)
            if times is not None:
                wanted = times[uniform(times, count)]
                return _at(path, wanted, _decoded(path, packets, stream, wanted))
    times = frame_times(path)
    return read_frames(path, times[uniform(times, count)])


def read_frames(path: Path, times: Sequence[float] | np.ndarray) -> list[Frame]:
    """The frames at `times`, some of those of `frame_times`, in order, each only once.

    Others are not converted to RGB, nor decoded if no frame is built on them. For a frame that is damaged the
    one before it is given.

    Raises:
        VideoError: as `frame_times`.
    """
    wanted = np.sort(np.asarray(times, dtype=np.float64))
    with blamed_on(path, VideoError):
        return _at(path, wanted, _decode(path, wanted))


def _at(path: Path, times: np.ndarray, frames: Generator[tuple[float, Any], None, None]) -> list[Frame]:
    """Of PyAV's frames those shown at `times`, which increase."""
    wanted = times.tolist()
    found: list[Frame] = []
    position, previous, reformatter = 0, None, VideoReformatter()
    with closing(frames):
        for time, frame in frames:
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
    with blamed_on(source, VideoError):
        for time, frame in frames:
            if time + _CLOSE >= due:
                due = max(due, time) + 1 / rate if np.isfinite(due) else time + 1 / rate
                yield Frame(time, frame) if isinstance(source, int) else _upright(time, frame, reformatter)
    if not np.isfinite(due):
        raise VideoError(f"{source}: no frame can be decoded; copy or export it again")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its main video stream. Whatever goes wrong while it is open becomes a VideoError."""
    if not path.is_file():
        raise VideoError(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty (0 bytes); copy it again")
    with blamed_on(path, VideoError), _open(path) as container:
        stream = _main_stream(path, container)
        check_pixels(path, stream.width, stream.height, VideoError)
        yield container, stream


def _open(path: Path) -> Any:
    return open_media(path, "a video", VideoError, "MP4")


def _main_stream(path: Path, container: Any) -> Any:
    """The video that a player would show: never a cover, nor a thumbnail where there is a film."""
    excluded = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = [s for s in container.streams.video if not s.disposition & excluded]
    if not streams:
        others = len(container.streams)
        raise VideoError(f"{path}: holds no video, only {others} other streams (sound, a cover, data)")
    best = container.streams.best("video")
    if len(streams) > 1:
        with _open(path) as probe:
            packets = islice(probe.demux(*(probe.streams[s.index] for s in streams)), _PROBE)
            counts = Counter(packet.stream_index for packet in packets if packet.size)
        films = [s for s in streams if counts[s.index] > 2]  # FFmpeg's best may be an image marked as default
        streams = films or streams
    return next((s for s in streams if best is not None and s.index == best.index), streams[0])


def _packets(path: Path, container: Any, stream: Any) -> Iterator[Any]:
    """Packets up to the end or to where reading fails for good, their times counted from the start.

    Where the clock starts again, as in joined recordings, the times go on one frame after the last. AVI has
    only the times of decoding; what FFmpeg computes from them is wrong where frames are stored in another
    order.
    """
    anywhere = container.format.name in ("mpegts", "mpeg")
    guessed = container.format.name == "avi" and stream.codec_context.has_b_frames
    tick, gap = float(stream.time_base), _gap(stream)
    second = 1 / tick  # longer steps are pauses
    pause = _PAUSE / tick if anywhere else np.inf
    shift = -(stream.start_time or 0)
    before, end, latest = None, 0, None
    failures = skipped = 0
    while failures < _TRIES:
        try:
            for packet in container.demux(stream):
                if not packet.size:
                    continue
                failures = 0
                if guessed:
                    packet.pts = None
                pts, dts = packet.pts, packet.dts
                if dts is not None:
                    if before is not None:
                        step = dts - before
                        if step < -2 * gap or step > pause:
                            shift = end + gap - (dts if pts is None else pts)
                        elif 0 < step <= second:
                            gap = step
                    before = dts
                    if shift:
                        packet.dts = dts = dts + shift
                if pts is not None and shift:
                    packet.pts = pts = pts + shift
                time = dts if pts is None else pts
                if time is not None and time > end:
                    end = time
                latest = packet
                yield packet
            break
        except av.error.FFmpegError:
            failures += 1
            skipped += 1
    if skipped and failures < _TRIES:
        _warn(f"{path}: parts of the file left out as unreadable: {skipped:,}")
    seconds = (end + gap) * tick
    promised = 0 if anywhere else (stream.duration or 0) * tick
    if failures or seconds < 0.9 * promised - 0.5:
        _warn(f"{path}: ends after {seconds:.2f} seconds, as it is damaged or cut off")
    elif latest is not None and _starts_again(path, (latest.pos or 0) + latest.size):
        _warn(
            f"{path}: another recording begins after {seconds:.2f} seconds, which is not read; split the file"
        )


def _starts_again(path: Path, offset: int) -> bool:
    """Whether the file's first bytes occur again after `offset`."""
    with path.open("rb") as file:
        head = file.read(12)[4:]  # MP4 has a length before it
        file.seek(offset)
        rest = b""
        while chunk := file.read(2**20):
            rest = rest[-len(head) :] + chunk
            if head in rest:
                return True
    return False


def _gap(stream: Any) -> int:
    """Ticks from one frame to the next, as the file says."""
    return max(1, round(1 / float(stream.average_rate or 25) / stream.time_base))


def _decode(path: Path, wanted: np.ndarray | None = None) -> Generator[tuple[float, Any], None, None]:
    """As `_decoded`, of a file."""
    with _opened(path) as (container, stream):
        yield from _decoded(path, _packets(path, container, stream), stream, wanted)


def _decoded(
    path: Path, packets: Iterable[Any], stream: Any, wanted: np.ndarray | None
) -> Generator[tuple[float, Any], None, None]:
    """Seconds and PyAV's frames in order of time, without those that are damaged.

    Where `wanted` names the times of frames, others that no frame is built on are left out.
    """
    damaged = late = good = 0
    pixels = stream.width * stream.height  # each thread of a huge video would hold its own frames
    stream.thread_type = "AUTO" if _SMALL < pixels <= _HUGE else "NONE"
    stream.codec_context.options = {"max_pixels": str(allowed_pixels())}  # also where the size changes
    gap, tick = _gap(stream), float(stream.time_base)
    needed = None if wanted is None else set((wanted / tick).round().astype(int).tolist())
    last, delay = -gap, None
    try:
        for packet in chain(packets, [None]):  # None: what the decoder still holds
            if needed is not None:
                spare = packet is not None and packet.pts is not None and packet.pts not in needed
                stream.codec_context.skip_frame = "NONREF" if spare else "DEFAULT"
            try:
                frames = stream.decode(packet)
            except av.error.FFmpegError:
                damaged += 1
                continue
            for frame in frames:
                time = frame.pts
                if time is None and frame.dts is not None:  # of the packet that pushed it out
                    delay = frame.dts if delay is None else delay
                    time = frame.dts - delay
                elif time is None:
                    time = last + gap
                if good and time <= last:
                    late += 1  # a clock that stops, or goes back by a frame
                    continue
                if good:
                    gap = time - last
                last, good = time, good + 1
                yield time * tick, frame
    finally:
        if good and damaged:
            _warn(f"{path}: damaged frames left out: {damaged:,}")
        if good and late:
            _warn(f"{path}: frames left out as no later than the ones before: {late:,}")


def _warn(message: str) -> None:
    warnings.warn(message, VisionWarning, stacklevel=2)


def _upright(time: float, frame: Any, reformatter: VideoReformatter) -> Frame:
    """The image as a player would show it: a phone's rotation is applied. A reformatter is slow to make.

    Frames larger than 1920 x 1088 are made as small as that, since all of a clip are held in memory.
    More threads than one take four times as long to convert a small image.
    """
    width, height = frame.width, frame.height
    if width * height > _SHOWN:
        scale = (_SHOWN / (width * height)) ** 0.5
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
    pixels = reformatter.reformat(frame, width, height, format="rgb24", threads=1).to_ndarray()
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
            success, pixels = camera.read()
            if not success:
                return
            yield time.monotonic() - started, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    finally:
        camera.release()
