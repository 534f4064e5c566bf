"""Other voices, speeds, microphones and rooms, made from a log-mel spectrogram. F frames, B bands.

All of it happens on the spectrogram, so that this is computed once: stretched in time it is another speed, on
the axis of frequency another length of the vocal tract, and sounds that are mixed add their powers.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from speech.features import FLOOR, background, hertz_to_mel, mel_to_hertz

_SPEED, _TRACT = 0.15, 0.15  # up to which share a voice is faster or slower, and its formants higher or lower
_LEVEL, _COLOUR = 2.0, 0.7  # nats of power: spread of the loudness, and of each wave of a microphone's curve
_NOISE = (0.0, 5.5)  # nats by which noise is below the clip's loud frames
_NOISY = 0.5  # share of the clips with noise
_GRAINS = 2.0  # noise of a band is a sum of so many exponentially distributed powers
_PAUSE = (0.05, 0.6)  # seconds between joined clips, nine tenths of the pauses
_BAND_MASKS, _BAND_SHARE = 2, 0.2  # SpecAugment: masks, and share of the bands that one hides at most
_TIME_EVERY, _TIME_MASK = 120, 14  # a mask for each so many frames, and frames that it hides at most


class Mel(NamedTuple):
    """What of a spectrogram must be known to change it."""

    rate: int
    bands: int


def distorted(frames: np.ndarray, mel: Mel, random: np.random.Generator) -> np.ndarray:
    """Another voice at another speed, as loud as before: (F, B) -> (F', B), float32."""
    speed = np.exp(random.uniform(-_SPEED, _SPEED))
    tract = np.exp(random.uniform(-_TRACT, _TRACT))
    count = max(1, round(len(frames) / speed))
    frames = _at(frames, np.linspace(0, len(frames) - 1, count), 0)
    return _at(frames, _warped(mel, tract), 1)


def _warped(mel: Mel, factor: float) -> np.ndarray:
    """For each band the position, in bands, of the sound that is there once all formants are `factor` higher.

    Vocal tract length perturbation (Jaitly & Hinton 2013); the highest bands are stretched to fill the rest.
    """
    low, high = hertz_to_mel(20.0), hertz_to_mel(mel.rate / 2)
    step = (high - low) / (mel.bands + 1)
    centres = mel_to_hertz(low + step * np.arange(1, mel.bands + 1))
    top, knee = mel.rate / 2, 0.8 * mel.rate / 2 * min(factor, 1.0)
    source = np.where(
        centres <= knee,
        centres / factor,
        top - (top - knee / factor) / (top - knee) * (top - centres),
    )
    return np.clip((hertz_to_mel(source) - low) / step - 1, 0, mel.bands - 1)


def _at(values: np.ndarray, positions: np.ndarray, axis: int) -> np.ndarray:
    """Values between those of an axis, linearly interpolated."""
    below = np.minimum(positions.astype(int), max(0, values.shape[axis] - 2))
    above = np.minimum(below + 1, values.shape[axis] - 1)
    share = (positions - below).astype(np.float32)
    share = share[:, None] if axis == 0 else share
    return values.take(below, axis) * (1 - share) + values.take(above, axis) * share


def joined(parts: Sequence[np.ndarray], frames: int, mel: Mel, random: np.random.Generator) -> np.ndarray:
    """Clips one after the other with pauses of their own background between, before and behind them.

    Where there is no clip it is noise alone, so many frames of it.
    """
    if not parts:
        parts = [np.log(random.gamma(_GRAINS, 1e-4 / _GRAINS, (frames, mel.bands)) + FLOOR)]
    every = np.concatenate(parts)
    quiet = background(every) - random.uniform(0, 4)
    pieces = [_pause(quiet, random)]
    for part in parts:
        pieces += [part, _pause(quiet, random)]
    return np.concatenate(pieces).astype(np.float32)


def _pause(level: np.ndarray, random: np.random.Generator) -> np.ndarray:
    seconds = random.uniform(*_PAUSE) if random.random() < 0.9 else random.uniform(0, 1.5)
    frames = round(100 * seconds)
    return level + np.log(random.gamma(_GRAINS, 1 / _GRAINS, (frames, len(level))) + 1e-3)


def recorded(frames: np.ndarray, mel: Mel, random: np.random.Generator) -> np.ndarray:
    """By another microphone, at another loudness, half of the time with noise: (F, B) -> (F, B)."""
    frames = frames + _curve(mel.bands, random) * _COLOUR + random.normal() * _LEVEL
    if random.random() < _NOISY:
        loud = np.quantile(frames.mean(axis=1), 0.9)
        level = loud - random.uniform(*_NOISE) + _curve(mel.bands, random)
        noise = level + np.log(random.gamma(_GRAINS, 1 / _GRAINS, frames.shape) + 1e-3)
        frames = np.logaddexp(frames, noise)
    return np.logaddexp(frames, np.log(FLOOR)).astype(np.float32)


def _curve(bands: int, random: np.random.Generator) -> np.ndarray:
    """A smooth function of the band."""
    place = np.linspace(0, np.pi, bands)
    return sum(random.normal() * np.cos(k * place) for k in (1, 2, 3))  # type: ignore[return-value]


def masked(frames: np.ndarray, mean: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """SpecAugment (Park et al. 2019): some bands and some frames are set to the mean of the training part."""
    frames = frames.copy()
    count, bands = frames.shape
    for _ in range(_BAND_MASKS):
        width = random.integers(0, round(_BAND_SHARE * bands) + 1)
        start = random.integers(0, bands - width + 1)
        frames[:, start : start + width] = mean[start : start + width]
    for _ in range(random.poisson(count / _TIME_EVERY)):
        width = random.integers(1, _TIME_MASK + 1)
        start = random.integers(0, max(1, count - width))
        frames[start : start + width] = mean
    return frames
