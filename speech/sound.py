"""Reading sound: any file, or video, that FFmpeg decodes, as one channel at one rate, in constant memory.

What is damaged is left out, and a `common.errors.VisionWarning` says so. Samples lie between -1 and 1.
"""

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np

from common.errors import ImageError, VisionWarning
from common.images import blamed_on
from common.media import open_media

STDIN = "-"
# fmt: off
SOUND_SUFFIXES = frozenset({
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".wma", ".aif", ".aiff", ".au", ".snd",
    ".amr", ".caf", ".w64", ".wv", ".ape", ".tta", ".sph", ".gsm", ".ac3", ".mka", ".weba", ".voc",
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".3gp", ".ogv",
})
"""Of recordings in folders."""
# fmt: on
_TRIES = 100  # errors one after the other with which the rest of a file is given up
_DEAD = 1e-5  # a channel with less than this share of the power of the loudest one is not connected
_UNKNOWN = 2**31 - 2**16  # bytes from which on a length is what programs write that do not know it
_OPPOSED = 0.05  # channels whose mean has less than this share of their power cancel each other


class SoundError(ImageError):
    """A recording that cannot be read. The message names the file."""


def read_sound(path: Path | str, rate: int) -> np.ndarray:
    """All samples of a recording, float32 (S,). Raises SoundError, also where there is none."""
    return np.concatenate(list(sound_blocks(path, rate)))


def sound_blocks(path: Path | str, rate: int) -> Iterator[np.ndarray]:
    """Samples of a recording, float32, one block after the other, in constant memory.

    Several channels become their mean, without those that are not connected. In a video sound that begins
    later than the images has silence before it, so that times are those of the video.

    Args:
        path: of the file, or `-` for standard input.
        rate: samples a second.

    Raises:
        SoundError: missing, empty, damaged, no sound in it, or not one sample.
    """
    name = "standard input" if path == STDIN else Path(path)
    found = False
    with blamed_on(name, SoundError):
        opened = _open(Path(path), path == STDIN)
        with opened as container:
            stream = container.streams.best("audio")
            if stream is None:
                kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
                raise SoundError(f"{name}: holds no sound, only {kinds}")
            late = _late(container, stream)
            mixer = _Mixer()
            for frame in _resampled(name, container, stream, rate):
                block = mixer(frame)
                if len(block):
                    if not found and late > 0:
                        yield from (np.zeros(rate, np.float32) for _ in range(int(late)))
                        yield np.zeros(int(late % 1 * rate), np.float32)
                    found = True
                    yield block
    if not found:
        raise SoundError(f"{name}: not one sample can be decoded; copy or record it again")


def _open(path: Path, standard_input: bool) -> Any:
    if standard_input:
        return open_media(Path("standard input"), "sound", SoundError, "WAV", sys.stdin.buffer)
    if not path.is_file():
        raise SoundError(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
    if path.stat().st_size == 0:
        raise SoundError(f"{path}: the file is empty (0 bytes); copy it again")
    return open_media(path, "sound", SoundError, "WAV")


def _late(container: Any, stream: Any) -> float:
    """Seconds by which the sound of a video begins after its images."""
    if not container.streams.video or stream.start_time is None or container.start_time is None:
        return 0.0
    late = float(stream.start_time * stream.time_base) - container.start_time / av.time_base
    return late if 0.02 < late < 3600 else 0.0


def _resampled(name: Path | str, container: Any, stream: Any, rate: int) -> Iterator[np.ndarray]:
    """Blocks (channels, S) of float32 at `rate`."""
    resampler: Any = None
    layout = ""
    failures = skipped = decoded = 0
    packets = container.demux(stream)
    while failures < _TRIES:
        try:
            packet = next(packets, None)
            if packet is None:
                break
            frames = packet.decode()
            failures = 0
        except av.error.FFmpegError:
            failures += 1
            skipped += 1
            packets = container.demux(stream)  # an error while reading has ended it
            continue
        for frame in frames:
            form = f"{frame.layout.name} {frame.sample_rate} {frame.format.name}"
            if form != layout:  # it may change within a file
                if resampler is not None:
                    yield from (part.to_ndarray() for part in resampler.resample(None))
                resampler, layout = av.AudioResampler("fltp", None, rate), form
            frame.pts = None
            decoded += frame.samples / frame.sample_rate
            yield from (part.to_ndarray() for part in resampler.resample(frame))
    if resampler is not None:
        yield from (part.to_ndarray() for part in resampler.resample(None))
    if skipped:
        _warn(f"{name}: parts of the recording left out as damaged: {skipped:,}")
    promised = float((stream.duration or 0) * stream.time_base)
    if decoded and _is_cut(name):
        _warn(f"{name}: ends after {decoded:.2f} seconds, as it is cut off")
    elif decoded and decoded < 0.98 * promised - 0.1:
        _warn(f"{name}: ends after {decoded:.2f} of {promised:.2f} seconds, as it is damaged or cut off")


def _is_cut(name: Path | str) -> bool:
    """Whether a WAV or AIFF file is shorter than it says; of these FFmpeg tells only what is there."""
    if not isinstance(name, Path):
        return False
    with name.open("rb") as file:
        head = file.read(8)
    kinds: dict[bytes, Literal["little", "big"]] = {b"RIFF": "little", b"FORM": "big"}
    if head[:4] not in kinds:
        return False
    promised = int.from_bytes(head[4:], kinds[head[:4]])
    return promised < _UNKNOWN and name.stat().st_size < promised + 7  # some leave out the last, even byte


class _Mixer:
    """Channels -> their mean. Their power is that of all blocks so far."""

    def __init__(self) -> None:
        self.power: Any = None
        self.mean_power = 0.0

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """(channels, S) -> (S,)"""
        block = np.clip(np.nan_to_num(block.astype(np.float32)), -1, 1)
        if len(block) == 1:
            return block[0]
        power = np.square(block - block.mean(axis=1, keepdims=True), dtype=np.float64).sum(axis=1)
        if self.power is None or len(self.power) != len(block):
            self.power, self.mean_power = np.zeros(len(block)), 0.0
        self.power += power
        live = self.power >= _DEAD * self.power.max()
        mean = block[live].mean(axis=0)
        self.mean_power += float(np.square(mean - mean.mean(), dtype=np.float64).sum())
        if self.mean_power < _OPPOSED * self.power[live].mean():
            return block[int(self.power.argmax())]
        return mean


def _warn(message: str) -> None:
    warnings.warn(message, VisionWarning, stacklevel=2)
