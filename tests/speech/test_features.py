import json
from pathlib import Path

import numpy as np
import pytest

from speech.features import FLOOR, MARGIN, FrameStream, LogMel, background, with_margins

REFERENCE = json.loads((Path(__file__).parent / "log_mel.json").read_text())
"""torchaudio 2.11: log(MelSpectrogram(win_length=25 ms, hop_length=10 ms, f_min=20, power=2, center=True,
pad_mode="constant", norm=None, mel_scale="htk") + 1e-6) of `chirp`, each 7th frame and each 5th band."""


def chirp(rate):
    t = np.arange(rate // 2) / rate
    tones = 0.3 * np.sin(2 * np.pi * (200 + 1500 * t) * t) + 0.05 * np.sin(2 * np.pi * 0.37 * rate * t)
    return (tones + 0.002 * np.cos(1e4 * t * t)).astype(np.float32)


@pytest.mark.parametrize(("rate", "bands"), [(16000, 80), (8000, 40), (22050, 64)])
def test_log_mel_is_that_of_torchaudio(rate, bands):
    found = LogMel(rate, bands)(chirp(rate))
    assert found.shape == (51, bands)
    assert np.abs(found[::7, ::5] - np.array(REFERENCE[str(rate)])).max() < 1e-3


def test_log_mel_is_its_definition():
    """Frame by frame, with the Fourier sum written out, in fp64."""
    rate, bands, sound = 8000, 12, chirp(8000)[:1600]
    size, window = 256, 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(200) / 200)
    padded = np.pad(sound.astype(np.float64), size // 2)
    mel = np.linspace(2595 * np.log10(1 + 20 / 700), 2595 * np.log10(1 + 4000 / 700), bands + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    n = np.arange(size)
    for frame, found in enumerate(LogMel(rate, bands)(sound)):
        part = padded[frame * 80 : frame * 80 + size].copy()
        part[:28] = part[228:] = 0
        part[28:228] *= window
        for band in range(bands):
            power = 0.0
            for k in range(size // 2 + 1):
                hertz = k * rate / size
                low, middle, high = edges[band : band + 3]
                weight = max(0, min((hertz - low) / (middle - low), (high - hertz) / (high - middle)))
                if weight:
                    power += weight * abs((part * np.exp(-2j * np.pi * k * n / size)).sum()) ** 2
            assert found[band] == pytest.approx(np.log(power + FLOOR), abs=1e-3)


@pytest.mark.parametrize("size", [1, 77, 80, 1000])
def test_frames_of_blocks_are_those_of_the_whole(size):
    mel = LogMel(8000, 20)
    sound = chirp(8000)
    blocks = [sound[i : i + size] for i in range(0, len(sound), size)]
    whole = mel(sound)
    np.testing.assert_allclose(mel.of_blocks(blocks), whole, atol=1e-5)
    stream = FrameStream(mel)
    assert sum(len(stream.push(block)) for block in blocks) <= len(whole)


def test_short_and_silent_sound_has_frames():
    mel = LogMel(16000, 80)
    for count in (1, 160, 399):
        assert mel(np.zeros(count, np.float32)).shape == (1 + count // 160, 80)
    np.testing.assert_allclose(mel(np.zeros(1000, np.float32)), np.log(FLOOR), rtol=1e-6)


def test_margins_are_quieter_than_the_clip():
    frames = LogMel(8000, 20)(np.concatenate([np.zeros(2000, np.float32), chirp(8000)]))
    wider = with_margins(frames)
    assert len(wider) == len(frames) + 2 * MARGIN
    np.testing.assert_array_equal(wider[MARGIN:-MARGIN], frames)
    np.testing.assert_allclose(wider[0], np.maximum(background(frames) - 2, np.log(FLOOR)), rtol=1e-6)
    assert wider[0].max() < frames.mean()
