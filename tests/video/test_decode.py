import wave

import av
import numpy as np
import pytest

from common.errors import UsageError
from tests.video.conftest import moving_square, write_video
from video.decode import VideoError, dense, frame_times, read_frames, stream_frames, uniform


@pytest.fixture
def clip(tmp_path):
    return write_video(tmp_path / "clip.mp4", moving_square("right", 20))


def column(frame) -> float:
    """Where the bright square is."""
    return float(np.argwhere(frame.pixels[..., 0] > 130)[:, 1].mean())


def test_uniform_takes_middles_and_repeats_nothing():
    times = np.arange(10) / 10
    assert uniform(times, 5).tolist() == [1, 3, 5, 7, 9]
    assert uniform(times, 2).tolist() == [2, 7]
    assert uniform(times, 50).tolist() == list(range(10))
    assert uniform(np.array([0.4]), 8).tolist() == [0]


def test_uniform_goes_by_time_not_by_count():
    times = np.array([0.0, 0.01, 0.02, 0.03, 1.0, 2.0, 3.0])
    assert uniform(times, 4).tolist() == [3, 4, 5, 6]


def test_dense_windows_reach_the_end():
    times = np.arange(50) / 10
    windows = dense(times, 2.0, 1.0)
    assert [(w[0], w[-1]) for w in windows] == [(0, 19), (10, 29), (20, 39), (30, 49)]
    assert [w.tolist() for w in dense(times[:5], 2.0, 1.0)] == [[0, 1, 2, 3, 4]]
    with pytest.raises(UsageError, match="above 0 seconds"):
        dense(times, 0, 1)


def test_frames_are_those_shown_at_their_time(clip):
    times = frame_times(clip)
    np.testing.assert_allclose(times, np.arange(20) / 20, atol=1e-4)
    everything = read_frames(clip, times)
    assert [round(frame.time * 20) for frame in everything] == list(range(20))
    columns = [column(frame) for frame in everything]
    assert columns[-1] > columns[0] + 25
    some = read_frames(clip, [times[14], times[5], times[14]])
    assert [round(frame.time * 20) for frame in some] == [5, 14]
    assert np.array_equal(some[0].pixels, everything[5].pixels)


def test_leaving_out_frames_changes_none_of_the_others(clip):
    with av.open(str(clip)) as opened:  # some frames look ahead, and nothing is built on them
        assert "B" in {av.video.frame.PictureType(frame.pict_type).name for frame in opened.decode(video=0)}
    times = frame_times(clip)
    everything = read_frames(clip, times)
    for time, whole in zip(times, everything, strict=True):
        (alone,) = read_frames(clip, [time])
        assert alone.time == whole.time
        assert np.array_equal(alone.pixels, whole.pixels)


def test_a_variable_frame_rate(tmp_path):
    times = [0, 0.05, 0.1, 0.15, 1.0, 1.5]
    path = write_video(tmp_path / "v.mp4", moving_square("right", 6), times)
    np.testing.assert_allclose(frame_times(path), times, atol=1e-3)
    assert [round(frame.time, 2) for frame in read_frames(path, [0.15, 1.0])] == [0.15, 1.0]


@pytest.mark.parametrize("rate", [1, 240])
def test_slow_and_fast_cameras(tmp_path, rate):
    path = write_video(tmp_path / "v.mp4", moving_square("right", 6), rate=rate)
    np.testing.assert_allclose(frame_times(path), np.arange(6) / rate, atol=1e-3)
    assert len(list(stream_frames(path, 20))) == (6 if rate == 1 else 1)


def test_a_phone_that_was_turned(tmp_path):
    pictures = moving_square("right", 4, size=(64, 32))
    plain = read_frames(write_video(tmp_path / "a.mp4", pictures), [0])[0].pixels
    turned = read_frames(write_video(tmp_path / "b.mp4", pictures, rotation=90), [0])[0].pixels
    assert (plain.shape, turned.shape) == ((32, 64, 3), (64, 32, 3))
    assert np.array_equal(turned, np.rot90(plain))  # as av's `rotation` counts: counterclockwise


def test_odd_sizes_and_other_containers(tmp_path):
    pictures = moving_square("right", 5, size=(35, 17))
    for name, codec, pixels in (
        ("v.avi", "ffv1", "bgr0"),
        ("v.mkv", "ffv1", "bgr0"),
        ("v.gif", "gif", "rgb8"),
    ):
        path = write_video(tmp_path / name, pictures, codec=codec, pixels=pixels)
        assert len(frame_times(path)) == 5
        assert read_frames(path, [0])[0].pixels.shape == (17, 35, 3)


def test_a_single_frame(tmp_path):
    path = write_video(tmp_path / "v.mp4", moving_square("up", 1))
    assert len(read_frames(path, frame_times(path))) == 1


def test_a_file_that_was_cut_off_gives_what_is_left(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (40, 64, 64, 3), dtype=np.uint8)
    path = write_video(tmp_path / "v.mkv", list(noise))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    times = frame_times(path)
    assert 5 < len(times) < 35
    assert 5 < len(read_frames(path, times)) <= len(times)


def bad_files(root):
    clip = write_video(root / "whole.mp4", moving_square("up", 10))
    (root / "cut.mp4").write_bytes(clip.read_bytes()[:900])
    (root / "empty.mp4").write_bytes(b"")
    (root / "text.mp4").write_text("no video at all\n" * 50)
    (root / "folder.mp4").mkdir()
    with wave.open(str(root / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16000))
    write_video(root / "nothing.mkv", [])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.mp4", "no such file"),
        ("folder.mp4", "not a file"),
        ("empty.mp4", "the file is empty"),
        ("text.mp4", "not a video, whatever its name says"),
        ("cut.mp4", "damaged"),
        ("sound.wav", "holds no video"),
        ("nothing.mkv", "no frame can be decoded|holds no video|damaged"),
    ],
)
def test_files_that_are_no_video(tmp_path, name, message):
    bad_files(tmp_path)
    with pytest.raises(VideoError, match=f"{name}.*({message})"):
        frame_times(tmp_path / name)
    with pytest.raises(VideoError, match=message):
        next(stream_frames(tmp_path / name, 10))


def test_a_camera_that_is_not_there():
    with pytest.raises(VideoError, match="camera 77: there is none"):
        next(stream_frames(77, 10))


def test_streaming_thins_the_frames(clip):
    frames = list(stream_frames(clip, 10))
    assert [round(frame.time, 2) for frame in frames] == [round(i / 10, 2) for i in range(10)]
