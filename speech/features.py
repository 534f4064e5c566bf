"""The spectrogram that a recognizer sees: logarithms of the power in bands of the mel scale.

Notation: N clips, S samples, F frames, B bands.
"""

from collections.abc import Iterable, Sequence

import numpy as np

VERSION = 1
"""Of what is computed; cached features of another one are computed again."""
HOP, WINDOW = 0.010, 0.025
"""Seconds from frame to frame, and of sound in a frame."""
LOWEST = 20.0
"""Hz at which the first band begins."""
FLOOR = 1e-6
"""Is added to the power of a band."""
MARGIN = 30
"""Frames of silence that a clip gets before and behind it; a closely cut word needs them."""
_QUIETER = (
    2.0  # nats by which they are below what is quietest in the clip, where closely cut words still sound
)
_AT_ONCE = 2048  # frames
_ROUND = 64  # frames


def background(frames: np.ndarray) -> np.ndarray:
    """What the quietest twentieth of the frames (F, B) sounds like: (B,)."""
    quiet = np.argsort(frames.mean(axis=1))[: max(1, len(frames) // 20)]
    return frames[quiet].mean(axis=0)


def with_margins(frames: np.ndarray) -> np.ndarray:
    """A clip with `MARGIN` frames of silence before and behind it: (F, B) -> (F + 2 * MARGIN, B)."""
    silence = np.maximum(background(frames) - _QUIETER, np.log(FLOOR)).astype(np.float32)
    margin = np.repeat(silence[None], MARGIN, axis=0)
    return np.concatenate([margin, frames, margin])


def stack(clips: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Spectrograms (F_i, B) -> (N, F, B), padded with 0 behind, and their lengths (N,).

    F is a multiple of 64: for each new shape a CPU's kernels are made anew, which takes as long as a step.
    """
    lengths = np.array([len(frames) for frames in clips])
    batch = np.zeros((len(clips), -(-int(lengths.max()) // _ROUND) * _ROUND, clips[0].shape[1]), np.float32)
    for row, frames in zip(batch, clips, strict=True):
        row[: len(frames)] = frames
    return batch, lengths


def hertz_to_mel(hertz: np.ndarray | float) -> np.ndarray:
    """The mel scale of O'Shaughnessy 1987, as HTK has it."""
    return 2595.0 * np.log10(1.0 + np.asarray(hertz) / 700.0)


def mel_to_hertz(mel: np.ndarray | float) -> np.ndarray:
    """The inverse of `hertz_to_mel`."""
    return 700.0 * (10.0 ** (np.asarray(mel) / 2595.0) - 1.0)


class LogMel:
    """Samples -> log-mel spectrogram, at once or as they come.

    Frame f is centred on sample f * hop; before and behind the sound lies silence. A periodic Hann window of
    25 ms, the squared magnitudes of the Fourier transform, triangular filters of height 1 between `LOWEST`
    and half the rate, log(power + `FLOOR`).

    Args:
        rate: samples a second.
        bands: B.
    """

    def __init__(self, rate: int, bands: int) -> None:
        self.rate, self.bands = rate, bands
        self.hop, length = round(HOP * rate), round(WINDOW * rate)
        self.size = 1 << (length - 1).bit_length()  # of the Fourier transform
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
        before = (self.size - length) // 2
        self._window = np.pad(window, (before, self.size - length - before)).astype(np.float32)
        self.edges = mel_to_hertz(np.linspace(hertz_to_mel(LOWEST), hertz_to_mel(rate / 2), bands + 2))
        bins = np.linspace(0, rate / 2, self.size // 2 + 1)[:, None]
        rising = (bins - self.edges[:-2]) / np.diff(self.edges[:-1])
        falling = (self.edges[2:] - bins) / np.diff(self.edges[1:])
        self._filters = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)

    def __call__(self, sound: np.ndarray) -> np.ndarray:
        """float32 (S,) -> float32 (F, B), F = 1 + S // hop."""
        stream = FrameStream(self)
        return np.concatenate([stream.push(sound), stream.end()])

    def of_blocks(self, blocks: Iterable[np.ndarray]) -> np.ndarray:
        """As of all blocks together."""
        stream = FrameStream(self)
        return np.concatenate([*(stream.push(block) for block in blocks), stream.end()])

    def frames(self, samples: np.ndarray) -> np.ndarray:
        """Frames that begin every `hop` samples, as many as fit: (S,) -> (F, B)."""
        if len(samples) < self.size:
            return np.zeros((0, self.bands), np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(samples, self.size)[:: self.hop]
        parts = []
        for start in range(0, len(windows), _AT_ONCE):
            spectrum = np.fft.rfft(windows[start : start + _AT_ONCE] * self._window)
            power = np.square(spectrum.real) + np.square(spectrum.imag)
            parts.append(np.log(power.astype(np.float32) @ self._filters + np.float32(FLOOR)))
        return np.concatenate(parts)


class FrameStream:
    """Frames of sound that comes in blocks; the same as of all of it at once.

    Args:
        mel: computes them.
    """

    def __init__(self, mel: LogMel) -> None:
        self.mel = mel
        self._rest = np.zeros(mel.size // 2, np.float32)

    def push(self, block: np.ndarray) -> np.ndarray:
        """The next samples (S,) -> the frames (F, B) that they complete."""
        samples = np.concatenate([self._rest, block.astype(np.float32, copy=False)])
        found = self.mel.frames(samples)
        self._rest = samples[len(found) * self.mel.hop :]
        return found

    def end(self) -> np.ndarray:
        """The frames (F, B) with silence behind the sound."""
        return self.push(np.zeros(self.mel.size // 2, np.float32))
