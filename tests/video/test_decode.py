import itertools
import os
import random
import wave

import av
import numpy as np
import pytest

from common.errors import VisionWarning
from tests.conftest import mutated
from tests.video.conftest import damage, moving_square, write_video
from video.decode import VideoError, frame_times, read_evenly, read_frames, stream_frames, uniform


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


@pytest.mark.parametrize("short", [2**25, 0])
@pytest.mark.parametrize("suffix", ["mp4", "avi", "ts", "h264"])
def test_even_frames_are_read_with_one_look_at_a_short_file(tmp_path, monkeypatch, suffix, short):
    path = write_video(tmp_path / f"v.{suffix}", moving_square("right", 20))
    times = frame_times(path)
    expected = read_frames(path, times[uniform(times, 6)])
    opened, real = [], av.open
    monkeypatch.setattr("video.decode._SHORT", short)
    monkeypatch.setattr(
        "video.decode.av.open", lambda *args, **flags: opened.append(args) or real(*args, **flags)
    )
    found = read_evenly(path, 6)
    assert [frame.time for frame in found] == [frame.time for frame in expected]
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(found, expected, strict=True))
    assert (len(opened) == 1) == (short > 0 and suffix != "h264")  # raw frames have no clock


def test_even_frames_of_damaged_files(tmp_path):
    path = write_video(tmp_path / "v.mp4", moving_square("right", 40), options={})
    damage(path, 10, 2)
    with pytest.warns(VisionWarning, match=r"v\.mp4: damaged frames left out: 2"):
        assert len(read_evenly(path, 40)) >= 38
    bad_files(tmp_path)
    for name in ("gone.mp4", "folder.mp4", "empty.mp4", "text.mp4", "cut.mp4", "sound.wav", "nothing.mkv"):
        with pytest.raises(VideoError, match=name):
            read_evenly(tmp_path / name, 4)


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


@pytest.mark.parametrize("size", [(64, 64), (800, 480)])  # decoded by one thread, and by several
def test_damaged_frames_are_left_out_and_the_rest_is_read(tmp_path, size):
    pictures = moving_square("right", 40, size=size)
    path = write_video(tmp_path / "v.mp4", pictures, options={})
    damage(path, 10, 2)
    times = frame_times(path)
    with pytest.warns(VisionWarning, match=r"v\.mp4: damaged frames left out: 2"):
        streamed = list(stream_frames(path, 100))
    assert len(streamed) == 38
    assert streamed[-1].time == times[-1]
    with pytest.warns(VisionWarning, match="damaged"):
        assert len(read_frames(path, times[[0, 10, 11, 39]])) >= 3


def test_a_file_that_was_cut_off_says_so(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (60, 64, 64, 3), dtype=np.uint8)
    path = write_video(tmp_path / "v.mp4", list(noise), options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.warns(VisionWarning, match=r"ends after 1\.\d+ seconds, as it is damaged or cut off"):
        assert 20 < len(list(stream_frames(path, 100))) < 40


def joined(path, *parts):
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize(("suffix", "codec"), [("ts", "libx264"), ("ts", "mpeg4")])
def test_a_clock_that_starts_again_goes_on(tmp_path, suffix, codec):
    parts = [
        write_video(tmp_path / f"{move}.{suffix}", moving_square(move, frames), codec=codec, rate=25)
        for move, frames in (("right", 20), ("left", 30), ("up", 10))
    ]
    path = joined(tmp_path / f"all.{suffix}", *parts)
    times = frame_times(path)
    np.testing.assert_allclose(np.diff(times), 0.04, atol=0.002)
    assert len(times) == 60
    frames = list(stream_frames(path, 100))
    np.testing.assert_allclose([frame.time for frame in frames], times, atol=1e-6)
    alone = [frame for part in parts for frame in stream_frames(part, 100)]
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(frames, alone, strict=True))
    for wanted in (times[[3, 25, 33, 55]], times[[59]], times[::7]):  # as clips are read: others are skipped
        found = read_frames(path, wanted)
        assert [frame.time for frame in found] == pytest.approx(wanted)
        at = [int(np.argmin(abs(times - time))) for time in wanted]
        assert all(np.array_equal(frame.pixels, frames[i].pixels) for frame, i in zip(found, at, strict=True))


def test_a_clock_that_goes_on_elsewhere(tmp_path, recwarn):
    parts = [
        write_video(tmp_path / f"{i}.ts", moving_square("up", 20), [start + k / 20 for k in range(20)])
        for i, start in enumerate((0, 5000, 20))
    ]
    path = joined(tmp_path / "all.ts", *parts)
    np.testing.assert_allclose(frame_times(path), np.arange(60) / 20, atol=2e-3)
    assert not recwarn.list


@pytest.mark.parametrize("suffix", ["mp4", "flv"])
def test_a_recording_that_cannot_be_reached_is_named(tmp_path, recwarn, suffix):
    part = write_video(tmp_path / f"v.{suffix}", moving_square("up", 20))
    assert len(frame_times(part)) == 20
    assert not recwarn.list
    with pytest.warns(VisionWarning, match=r"another recording begins after 1\.00 seconds"):
        frame_times(joined(tmp_path / f"all.{suffix}", part, part))


def test_times_count_from_the_start_of_the_recording(tmp_path):
    shifted = write_video(tmp_path / "v.mkv", moving_square("up", 10), [100 + i / 20 for i in range(10)])
    np.testing.assert_allclose(frame_times(shifted), np.arange(10) / 20, atol=2e-3)
    assert [round(f.time, 2) for f in stream_frames(shifted, 100)] == [round(i / 20, 2) for i in range(10)]


def test_an_avi_whose_frames_are_stored_in_another_order(tmp_path, recwarn):
    path = write_video(tmp_path / "v.avi", moving_square("right", 30))
    times = frame_times(path)
    np.testing.assert_allclose(times, np.arange(30) / 20, atol=1e-6)
    frames = list(stream_frames(path, 100))
    np.testing.assert_allclose([frame.time for frame in frames], times, atol=1e-6)
    columns = np.array([column(frame) for frame in frames])
    assert (np.diff(columns) > -3).all()  # it goes to the right, with a pixel of jitter
    assert [frame.time for frame in read_frames(path, times[[3, 14, 29]])] == pytest.approx(
        times[[3, 14, 29]]
    )
    assert not [w for w in recwarn if issubclass(w.category, VisionWarning)]


def with_thumbnail(path, pictures, *, default, codec="mjpeg"):
    """A single picture as the first video stream, the film as the second."""
    with av.open(str(path), "w") as out:
        streams = []
        for name, (width, height), pixels in (
            (codec, (160, 120), "yuvj420p"),
            ("libx264", (64, 64), "yuv420p"),
        ):
            stream = out.add_stream(name, rate=20)
            stream.width, stream.height, stream.pix_fmt = width, height, pixels
            streams.append(stream)
        for stream, marked in zip(streams, default, strict=True):
            stream.disposition = av.stream.Disposition.default if marked else av.stream.Disposition(0)
        out.mux(streams[0].encode(av.VideoFrame.from_ndarray(np.zeros((120, 160, 3), np.uint8))))
        for picture in pictures:
            out.mux(streams[1].encode(av.VideoFrame.from_ndarray(picture)))
        for stream in streams:
            out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "avi"])
@pytest.mark.parametrize("default", list(itertools.product((False, True), repeat=2)))
def test_a_thumbnail_before_the_film_is_not_the_film(tmp_path, suffix, default):
    path = with_thumbnail(tmp_path / f"v.{suffix}", moving_square("right", 20), default=default)
    times = frame_times(path)
    assert len(times) == 20
    assert {frame.pixels.shape for frame in read_frames(path, times)} == {(64, 64, 3)}


def test_a_song_with_a_cover_is_no_video(tmp_path):
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as out:
        song = out.add_stream("aac", rate=8000)
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        out.mux(song.encode(sound))
        out.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        out.mux([*song.encode(None), *cover.encode(None)])
    with av.open(str(path)) as opened:
        assert opened.streams.video[0].disposition & av.stream.Disposition.attached_pic
    with pytest.raises(VideoError, match="holds no video"):
        frame_times(path)


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile other.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    ],
)
def test_a_file_that_names_others_opens_none_of_them(tmp_path, clip, text):
    clip.rename(tmp_path / "other.mp4")
    for name in ("list.mp4", "list.m3u8"):
        (tmp_path / name).write_text(text)
        with pytest.raises(VideoError, match=r"list.*(not read|not a video)"):
            frame_times(tmp_path / name)


@pytest.mark.parametrize(
    "name", [b"a:b.mp4", b"http:x.mp4", b"concat:x|y.mp4", b"%03d.mp4", b"caf\xe9\n.mp4"]
)
def test_any_name_is_only_a_name(tmp_path, clip, name):
    path = tmp_path / os.fsdecode(name)
    clip.rename(path)
    assert len(frame_times(path)) == 20
    os.chdir(tmp_path)
    assert len(frame_times(path.relative_to(tmp_path))) == 20


def test_whatever_decoding_raises_is_that_files_error(clip, monkeypatch):
    def fail(*_):
        raise NotImplementedError("no such pixels")

    monkeypatch.setattr("video.decode._upright", fail)
    for read in (lambda: read_frames(clip, [0.0]), lambda: next(stream_frames(clip, 10))):
        with pytest.raises(VideoError, match=r"clip\.mp4: damaged \(no such pixels\)"):
            read()


def test_videos_of_too_many_pixels_are_refused_before_they_are_decoded(clip, monkeypatch):
    monkeypatch.setattr("common.images._limit", 64 * 64 - 1)
    monkeypatch.setattr("video.decode._decoded", lambda *_: pytest.fail("decoded"))
    for read in (frame_times, lambda path: read_evenly(path, 3), lambda path: next(stream_frames(path, 10))):
        with pytest.raises(VideoError, match=r"clip\.mp4: 64 x 64 pixels, and at most 4,095 are read"):
            read(clip)


def test_large_frames_become_smaller(tmp_path, monkeypatch):
    path = write_video(tmp_path / "v.mp4", moving_square("right", 4, size=(256, 128)))
    monkeypatch.setattr("video.decode._SHOWN", 128 * 64)
    for frame in (*read_evenly(path, 4), *stream_frames(path, 100)):
        assert frame.pixels.shape == (64, 128, 3)
        assert frame.pixels.max() > 130


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("suffix", "codec", "pixels"),
    [
        ("mp4", "libx264", "yuv420p"), ("mkv", "libx264", "yuv420p"), ("ts", "libx264", "yuv420p"),
        ("avi", "libx264", "yuv420p"), ("avi", "mpeg4", "yuv420p"), ("gif", "gif", "rgb8"),
        ("webm", "libvpx-vp9", "yuv420p"), ("flv", "libx264", "yuv420p"), ("mjpeg", "mjpeg", "yuvj420p"),
        ("wmv", "wmv2", "yuv420p"), ("h264", "libx264", "yuv420p"), ("nut", "ffv1", "yuv420p"),
    ],
)  # fmt: skip
def test_damaged_files_raise_nothing_but_our_error(tmp_path, suffix, codec, pixels):
    path = write_video(tmp_path / f"v.{suffix}", moving_square("right", 12), codec=codec, pixels=pixels)
    content, chance = path.read_bytes(), random.Random(0)
    read, errors = 0, []
    for _ in range(150):
        path.write_bytes(mutated(content, chance))
        try:
            times = frame_times(path)
            assert (np.diff(times) > 0).all()
            read += len(read_frames(path, times[:: max(1, len(times) // 4)]))
            read += len(read_evenly(path, 4))
            streamed = [frame.time for frame in stream_frames(path, 100)]
            assert (np.diff(streamed) > 0).all()
        except VideoError as error:
            errors.append(str(error))
    assert read
    assert all(str(path) in error for error in errors)
