from itertools import product

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from common.errors import DataError, UsageError
from common.images import Preprocess
from tests.conftest import TINY_ENCODER
from tests.video.conftest import moving_square, tiny_classifier, write_clips, write_video
from video.data import Clip, ClipReader, check_groups, read_clips, sample
from video.decode import Frame
from video.images import content_box, cropped, middles, prepared, read_clip, stream_image
from video.training import VideoConfig, _open

PREPROCESS = Preprocess(64, 64, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def table(root, text):
    (root / "clips").mkdir(exist_ok=True)
    for name in ("a", "b"):
        write_video(root / "clips" / f"{name}.mp4", moving_square("up", 3))
    (root / "train.csv").write_text(text)
    return root


def test_what_is_dropped_is_said(tmp_path, capsys):
    rows = ["file,label,group", "clips/a.mp4,up,p1", "clips/a.mp4,up,p1", "clips/gone.mp4,up,p1",
            "clips/b.mp4,,p2", "clips/b.mp4,down,p2"]  # fmt: skip
    clips = read_clips(table(tmp_path, "\n".join(rows)), "train")
    assert [(clip.path.name, clip.label, clip.group) for clip in clips] == [
        ("a.mp4", "up", "p1"),
        ("b.mp4", "down", "p2"),
    ]
    said = capsys.readouterr().out
    assert "train: 2 clips, 2 labels, 2 groups" in said
    for reason in (
        "1: duplicate row, e.g. clips/a.mp4",
        "1: file is missing",
        "1: file, label or group is empty",
    ):
        assert f"dropped {reason}" in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,class\nclips/a.mp4,up\n", "no column file, label, group; the header has name, class"),
        ("", "the header has nothing"),
        ("file,label,group\n", "nothing is left to use"),
        ("file,label,group\nclips/a.mp4,up,p\nclips/a.mp4,down,p\n", "stands in it twice"),
    ],
)
def test_bad_tables(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_clips(table(tmp_path, text), "train")


def test_a_part_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        read_clips(tmp_path / "gone", "train")
    with pytest.raises(UsageError, match=r"holds no 'test' part; expected test\.csv"):
        read_clips(table(tmp_path, ""), "test")


def test_a_group_on_both_sides_is_refused(tmp_path):
    clip = Clip(tmp_path / "a.mp4", "up", "person1")
    with pytest.raises(DataError, match=r"group 'person1' \(1 in all\) stands in train\.csv and in val\.csv"):
        check_groups({"train": [clip], "val": [clip]})


def test_streams_show_what_they_say():
    frames = [Frame(i / 10, pixels) for i, pixels in enumerate(moving_square("right", 5, size=(96, 64)))]
    still = stream_image(frames[0], None, "difference")
    assert set(np.unique(still)) == {128}
    moved = np.asarray(stream_image(frames[3], frames[2], "difference")).astype(int)
    assert moved.max() > 180
    assert moved.min() < 80
    now, before = (frame.pixels.astype(int) for frame in frames[3:1:-1])
    assert np.array_equal(moved, (now - before) // 2 + 128)
    texture = cv2.GaussianBlur(
        np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8), (9, 9), 2
    )
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    before, after = Frame(0, texture), Frame(0.1, np.roll(texture, 4, axis=1))
    flow = np.asarray(stream_image(after, before, "flow"))[8:-8, 8:-8].mean(axis=(0, 1))
    assert flow == pytest.approx([255 * (0.5 + 4 / 40), 127, 255 * 4 / 20], abs=8)  # four pixels to the right
    assert np.asarray(stream_image(before, None, "flow"))[8:-8, 8:-8].mean(axis=(0, 1)) == pytest.approx(
        [127, 127, 0], abs=2
    )
    assert np.array_equal(stream_image(frames[1], frames[0], "appearance"), frames[1].pixels)


def test_views_move_the_clip_and_stay_the_same(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_square("right", 12))
    plain = ClipReader("appearance", 4).read(path, PREPROCESS)
    view = ClipReader("appearance", 4, 1).read(path, PREPROCESS)
    assert plain.shape == view.shape == (8, 3, 64, 64)
    assert not np.array_equal(plain, view)
    np.testing.assert_array_equal(view, ClipReader("appearance", 4, 1).read(path, PREPROCESS))
    mirrored = ClipReader("appearance", 4, 1, flip=True).read(path, PREPROCESS)
    np.testing.assert_array_equal(np.flip(mirrored, -1), view)
    # a thing stays in the picture: the square's place in the view follows the plain one's
    place = [float((clip[:, 0] > 0).sum((0, 1)).argmax()) for clip in (plain, view)]
    assert abs(place[0] - place[1]) < 20


def test_what_a_mirrored_clip_does_goes_the_other_way(tmp_path):
    """Flow says it in red, so that its colours change, too."""
    path = write_video(tmp_path / "a.mp4", moving_square("right", 12))
    plain = ClipReader("flow", 4, 1).read(path, PREPROCESS)
    mirrored = np.flip(ClipReader("flow", 4, 1, flip=True).read(path, PREPROCESS), -1)
    np.testing.assert_array_equal(mirrored[:, 1:], plain[:, 1:])  # down and speed
    moving = np.abs(plain[:, 0] - np.median(plain[:, 0])) > 0.05
    assert moving.any()
    still = np.median(plain[:, 0])
    np.testing.assert_allclose((mirrored[:, 0] - still)[moving], -(plain[:, 0] - still)[moving], atol=0.02)


@pytest.mark.parametrize("pairs", [(), ("left", "right")])
def test_mirrored_views_have_the_label_of_the_mirror_image(tmp_path, encoder_weights, pairs):
    root = write_clips(tmp_path / "set", 2, 1, frames=4)
    config = VideoConfig(
        data=root, out=tmp_path / "run", encoder=TINY_ENCODER, encoder_weights=encoder_weights, device="cpu",
        cache=tmp_path / "cache", frames=4, streams=("appearance",), views=3, flip=True, mirror_pairs=pairs,
    )  # fmt: skip
    parts = {name: read_clips(root, name) for name in ("train", "val")}
    model = tiny_classifier(streams=("appearance",))
    opened = _open(config, model, parts, parts["train"])
    plain, mirrored, again = ([model.labels[i] for i in part.labels] for part in opened["train"].datasets)
    other = {"left": "right", "right": "left"} if pairs else {}
    assert plain == again == [clip.label for clip in parts["train"]]
    assert mirrored == [other.get(label, label) for label in plain]
    assert [model.labels[i] for i in opened["val"].datasets[0].labels] == [c.label for c in parts["val"]]


def test_readers_give_clips_in_order_and_name_bad_ones(tmp_path):
    root = write_clips(tmp_path / "set", 2, 1)
    (root / "clips" / "bad.mp4").write_text("x")
    paths = [root / "clips" / name for name in ("train_up_0.mp4", "bad.mp4", "train_left_1.mp4")]
    batches = list(ClipReader("difference", 4)(paths, PREPROCESS, 1, 2))
    assert [batch.indices for batch in batches] == [[0] * 8, [], [2] * 8]
    assert "bad.mp4" in str(batches[1].errors[1])
    torch.testing.assert_close(batches[2].images, ClipReader("difference", 4).read(paths[2], PREPROCESS))


@pytest.mark.parametrize("size", [(60, 90), (150, 130), (700, 500), (40, 300)])
def test_frames_are_resized_nearly_as_pillow_does(size):
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (9, 12, 3), np.uint8))
    image = coarse.resize(size, Image.Resampling.BICUBIC)
    preprocess = Preprocess(64, 48, (0.0,) * 3, (1 / 255,) * 3)
    ours = prepared([np.asarray(image)], preprocess)
    theirs = np.asarray(image.resize((48, 64), Image.Resampling.BICUBIC)).transpose(2, 0, 1)[None]
    assert ours.shape == (1, 3, 64, 48)
    assert np.abs(ours - theirs).mean() < 2
    assert np.abs(ours - theirs).max() < 16


def test_the_middle_frames_are_those_of_validation():
    for length, count in product((1, 5, 23, 47, 48, 99, 1000), (1, 7, 24)):
        frames = torch.arange(length).view(1, 1, -1, 1, 1)
        chosen, _ = sample(frames, torch.tensor([length]), count, jitter=False)
        assert middles(length, count).tolist() == chosen.flatten().tolist()[: min(length, count)]


def lit(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (320, 240)) -> list[Frame]:
    """A black frame for each box, which is bright."""
    frames = []
    for i, (left, top, right, bottom) in enumerate(boxes):
        pixels = np.zeros((size[1], size[0], 3), np.uint8)
        pixels[top:bottom, left:right] = 90
        frames.append(Frame(i / 10, pixels))
    return frames


def test_content_is_the_square_around_what_is_bright_in_any_frame():
    left, top, right, bottom = content_box(lit((100, 50, 140, 150), (110, 60, 180, 150)))
    assert right - left == bottom - top == pytest.approx(110, abs=4)  # a twentieth more on each side
    assert (left + right) / 2 == pytest.approx(140, abs=2)
    assert (top + bottom) / 2 == pytest.approx(100, abs=2)
    dotted = lit((100, 50, 140, 150))
    dotted[0].pixels[200, 300] = 255
    assert content_box(dotted) == content_box(lit((100, 50, 140, 150)))


def test_a_square_beyond_the_frame_is_moved_inside_or_cut():
    assert content_box(lit((0, 100, 40, 200)))[0] == 0
    left, top, right, bottom = content_box(lit((0, 40, 320, 200)))  # a film between bars
    assert (left, right) == (0, 320)
    assert (top, bottom) == (0, 240)


def test_without_content_the_frame_stays_whole():
    assert content_box(lit((0, 0, 0, 0))) == (0, 0, 320, 240)
    assert content_box(lit((0, 0, 320, 240))) == (0, 0, 320, 240)
    assert content_box([*lit((9, 9, 50, 50)), *lit((9, 9, 50, 50), size=(160, 120))]) == (0, 0, 320, 240)


def test_a_clip_is_read_as_its_content(tmp_path):
    whole = lit((160, 80, 200, 160), (180, 80, 220, 160), (180, 80, 220, 160))
    path = write_video(tmp_path / "a.mp4", [frame.pixels for frame in whole])
    found = read_clip(path, 8, "content")
    assert found[0].pixels.shape == cropped(whole, content_box(whole))[0].pixels.shape
    assert read_clip(path, 8)[0].pixels.shape == (240, 320, 3)
    readers = [ClipReader("appearance", 4, crop=crop) for crop in ("none", "content")]
    plain, near = (reader.read(path, PREPROCESS) for reader in readers)
    assert (near > near.min() + 0.5).mean() > 3 * (plain > plain.min() + 0.5).mean()
