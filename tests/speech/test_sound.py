import io
import random
import sys
import warnings
from contextlib import suppress

import av
import numpy as np
import pytest

from common.errors import VisionWarning
from speech.sound import SoundError, read_sound, sound_blocks
from tests.conftest import mutated
from tests.speech.conftest import RATE, write_wav


def tone(seconds=1.0, rate=RATE, hertz=440.0):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def loudest(sound, rate=RATE):
    """Hertz of the strongest tone."""
    return np.abs(np.fft.rfft(sound)).argmax() * rate / len(sound)


def encode(path, sound, rate, codec, channels=1, video=False):
    """A file that FFmpeg writes, with grey images beside the sound for a video."""
    with av.open(str(path), "w") as container:
        pictures = None
        if video:
            pictures = container.add_stream("mpeg4", rate=10)
            pictures.width = pictures.height = 32
            pictures.pix_fmt = "yuv420p"
        stream = container.add_stream(codec, rate=rate)
        stream.layout = {1: "mono", 2: "stereo"}[channels]
        for i in range(10 if video else 0):
            image = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 20 * i, np.uint8), format="rgb24")
            container.mux(pictures.encode(image))
        samples = np.repeat(sound[None], channels, axis=0)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=stream.layout.name)
        frame.sample_rate = rate
        resampler = av.AudioResampler(stream.format.name, stream.layout.name, rate, stream.frame_size or None)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
        if pictures is not None:
            container.mux(pictures.encode(None))
    return path


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 192000])
@pytest.mark.parametrize("width", [1, 2])
def test_any_rate_and_width(tmp_path, rate, width):
    file = write_wav(tmp_path / "a.wav", tone(rate=rate), rate, width)
    sound = read_sound(file, RATE)
    assert sound.dtype == np.float32
    assert len(sound) == pytest.approx(RATE, abs=20)
    assert loudest(sound) == pytest.approx(440, abs=2)
    assert np.abs(sound).max() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("a.flac", "flac", 16000),
        ("a.ogg", "libopus", 48000),
        ("a.mp3", "libmp3lame", 44100),
        ("a.m4a", "aac", 32000),
    ],
)
def test_any_codec(tmp_path, name, codec, rate):
    sound = read_sound(encode(tmp_path / name, tone(rate=rate), rate, codec, 2), RATE)
    assert len(sound) == pytest.approx(RATE, abs=1200)
    assert loudest(sound) == pytest.approx(440, abs=3)


def test_the_sound_of_a_video_is_read(tmp_path):
    sound = read_sound(encode(tmp_path / "a.mp4", tone(rate=32000), 32000, "aac", video=True), RATE)
    assert loudest(sound) == pytest.approx(440, abs=3)


def test_a_video_without_sound_is_an_error(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(SoundError, match="holds no sound, only video"):
        read_sound(tmp_path / "a.mp4", RATE)


def test_stereo_is_its_mean(tmp_path):
    both = np.stack([tone(), tone(hertz=1000.0)], axis=1)
    sound = read_sound(write_wav(tmp_path / "a.wav", both), RATE)
    np.testing.assert_allclose(sound, both.mean(axis=1), atol=1e-3)


@pytest.mark.parametrize("dead", [0, 1])
@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_a_dead_channel_does_not_make_it_quieter(tmp_path, dead, offset):
    both = np.stack([tone(), tone()], axis=1)
    both[:, dead] = offset
    sound = read_sound(write_wav(tmp_path / "a.wav", both), RATE)
    np.testing.assert_allclose(sound, tone(), atol=1e-3)


def test_channels_that_cancel_each_other_are_heard(tmp_path):
    sound = read_sound(write_wav(tmp_path / "a.wav", np.stack([tone(), -tone()], axis=1)), RATE)
    assert np.abs(sound).max() == pytest.approx(0.5, abs=0.01)


def test_clipped_and_invalid_samples_stay_in_range(tmp_path):
    clipped = read_sound(write_wav(tmp_path / "a.wav", 40 * tone()), RATE)
    assert np.abs(clipped).max() <= 1
    wild = tone()
    wild[100:200], wild[300], wild[400] = np.nan, np.inf, -1e30
    encode(tmp_path / "b.wav", wild, RATE, "pcm_f32le")
    sound = read_sound(tmp_path / "b.wav", RATE)
    assert np.isfinite(sound).all()
    assert np.abs(sound).max() <= 1


@pytest.mark.parametrize("samples", [1, 80])
def test_ten_milliseconds_are_read(tmp_path, samples):
    assert len(read_sound(write_wav(tmp_path / "a.wav", tone()[:samples]), RATE)) == samples


def test_no_sample_is_an_error(tmp_path):
    with pytest.raises(SoundError, match="not one sample"):
        read_sound(write_wav(tmp_path / "a.wav", tone()[:0]), RATE)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "empty"), (b"This is a text, and no sound at all.\n" * 40, "not sound"), (b"RIFF", "not sound")],
)
def test_what_is_no_sound_says_so(tmp_path, content, said):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(SoundError, match=said):
        read_sound(tmp_path / "a.wav", RATE)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(SoundError, match="no such file"):
        read_sound(tmp_path / "none.wav", RATE)
    with pytest.raises(SoundError, match="not a file"):
        read_sound(tmp_path, RATE)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_a_cut_file_gives_what_it_has_and_a_warning(tmp_path, name):
    file = tmp_path / name
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 4 * RATE).astype(np.float32)
    if name == "a.wav":
        write_wav(file, noise)
    else:
        encode(file, noise, RATE, "flac")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.warns(VisionWarning, match=r"cut off|damaged"):
        sound = read_sound(file, RATE)
    assert RATE < len(sound) < 2.2 * RATE


def test_standard_input(tmp_path, monkeypatch):
    content = write_wav(tmp_path / "a.wav", tone()).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert loudest(read_sound("-", RATE)) == pytest.approx(440, abs=2)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(SoundError, match="standard input"):
        read_sound("-", RATE)


def test_a_list_of_files_is_not_followed(tmp_path):
    write_wav(tmp_path / "a.wav", tone())
    (tmp_path / "list.txt").write_text("ffconcat version 1.0\nfile a.wav\n")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\na.wav\n")
    for name in ("list.txt", "list.m3u8"):
        with pytest.raises(SoundError):
            read_sound(tmp_path / name, RATE)


def test_blocks_are_the_whole(tmp_path):
    file = write_wav(tmp_path / "a.wav", tone(3.0))
    blocks = list(sound_blocks(file, RATE))
    assert len(blocks) > 3
    np.testing.assert_array_equal(np.concatenate(blocks), read_sound(file, RATE))


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp4"])
def test_damaged_files_never_fail_in_another_way(tmp_path, name):
    file = tmp_path / name
    codec = {"a.flac": "flac", "a.ogg": "libopus", "a.mp4": "aac"}.get(name, "pcm_s16le")
    content = encode(file, tone(0.5, 16000), 16000, codec, video=name == "a.mp4").read_bytes()
    chance = random.Random(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VisionWarning)
        for _ in range(40):
            file.write_bytes(mutated(content, chance))
            with suppress(SoundError):
                assert np.isfinite(read_sound(file, RATE)).all()
