from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from common.distributed import DrawSampler
from common.errors import DataError, UsageError
from common.images import Preprocess
from segmentation.data import (
    Scene,
    SceneDataset,
    Tint,
    class_weights,
    read_classes,
    read_scenes,
)
from segmentation.images import ScenePreprocess
from segmentation.metrics import confusion, score_confusion
from tests.conftest import trainer_at
from tests.segmentation.conftest import CLASSES, IGNORED, scene, write_scenes

OWN = ScenePreprocess(64, 80, (0.5,) * 3, (0.5,) * 3, "bilinear")


@pytest.fixture
def folder(tmp_path):
    return write_scenes(tmp_path / "set")


def test_reads_grey_and_palette_labels(folder, capsys):
    scenes = read_scenes(folder, "train", 3, IGNORED)
    assert len(scenes) == 12
    assert "train: 12 pictures\n  dropped nothing" in capsys.readouterr().out
    assert all(sum(s.counts) == 80 * 64 - 2 * 80 - 2 * 62 for s in scenes)
    assert read_classes(folder) == list(CLASSES)


def test_says_what_it_leaves_out(folder, capsys):
    images, labels = folder / "train" / "images", folder / "train" / "labels"
    (labels / "00.png").unlink()
    Image.new("L", (40, 32)).save(labels / "01.png")
    Image.new("RGB", (80, 64)).save(labels / "02.png")
    Image.new("L", (80, 64), 7).save(labels / "03.png")
    Image.new("L", (80, 64), IGNORED).save(labels / "04.png")
    (images / "05.png").write_bytes(b"x")
    (labels / "06.png").write_bytes(b"x")
    (images / "07.png").unlink()
    assert len(read_scenes(folder, "train", 3, IGNORED)) == 4
    out = capsys.readouterr().out
    for reason in (
        "dropped 1: label is missing, e.g. 00.png",
        "dropped 1: label has another size than its picture, e.g. 01.png (40, 32) and (80, 64)",
        "label is a colour picture; save class ids as 8-bit grey or palette, e.g. 02.png mode RGB",
        "dropped 1: class ids that classes.txt does not name, e.g. 03.png",
        "dropped 1: nothing but the ignored label, e.g. 04.png",
        "dropped 1: damaged picture, e.g. 05.png",
        "dropped 1: label is damaged, e.g. 06.png",
        "dropped 1: label without a picture, e.g. 07.png",
    ):
        assert reason in out


def test_what_is_no_data_set_is_refused(folder, tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        read_classes(tmp_path / "gone")
    with pytest.raises(UsageError, match=r"no classes\.txt in it"):
        read_classes(tmp_path)
    with pytest.raises(UsageError, match="holds no 'test' part; expected test/images and test/labels"):
        read_scenes(folder, "test", 3, IGNORED)
    (tmp_path / "empty" / "val" / "images").mkdir(parents=True)
    (tmp_path / "empty" / "val" / "labels").mkdir()
    with pytest.raises(DataError, match="nothing is left to use"):
        read_scenes(tmp_path / "empty", "val", 3, IGNORED)


def test_a_picture_keeps_its_shape_and_gets_the_area():
    own = ScenePreprocess(360, 480, (0.0,) * 3, (1.0,) * 3)
    assert own.fitted(480, 360) == Preprocess(**vars(own))
    assert (own.fitted(960, 720).width, own.fitted(960, 720).height) == (480, 360)
    for width, height in ((5000, 40), (1, 1), (300, 900)):
        new = own.fitted(width, height)
        assert new.width * new.height == pytest.approx(360 * 480, rel=0.02)
        assert new.width / new.height == pytest.approx(width / height, rel=0.02)


def test_class_weights():
    scenes = [Scene("", "", (1, 1), (75, 25, 0)), Scene("", "", (1, 1), (100, 0, 0))]
    frequency = (175 / 200, 25 / 100)
    middle = sum(frequency) / 2
    expected = [middle / frequency[0], middle / frequency[1], 0]
    torch.testing.assert_close(class_weights(scenes, 1.0), torch.tensor(expected))
    torch.testing.assert_close(class_weights(scenes, 0.0), torch.tensor([1.0, 1.0, 0.0]))


def test_augmentation_moves_picture_and_label_together(folder):
    scenes = read_scenes(folder, "train", 3, IGNORED)
    data = SceneDataset(scenes, OWN, IGNORED, (48, 56))
    for seed in range(8):
        pixels, labels, index = data[1, seed]
        assert (pixels.shape, labels.shape, index) == ((3, 48, 56), (48, 56), 1)
        red, blue = (labels == 1), (labels == 2)  # the circle lies over the square
        assert set(labels.unique().tolist()) <= {0, 1, 2, IGNORED}
        if red.sum() > 30:
            assert (pixels[0] - pixels[2])[red].mean() > 0.2
        if blue.sum() > 30:
            assert (pixels[2] - pixels[0])[blue].mean() > 0.2
    first, again, other = data[1, 5], data[1, 5], data[1, 6]
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])


def test_a_tint_is_of_the_whole_picture_and_of_no_label():
    torch.manual_seed(0)
    picture, label = tv_tensors.Image(torch.full((3, 4, 5), 100, dtype=torch.uint8)), torch.ones(4, 5).long()
    tints = []
    for _ in range(20):
        tinted, same = Tint(0.3)(picture, tv_tensors.Mask(label))
        assert (tinted.dtype, type(tinted), torch.equal(same, label)) == (torch.uint8, tv_tensors.Image, True)
        assert (tinted == tinted[:, :1, :1]).all()
        tints.append(tinted[:, 0, 0].tolist())
    values = [value for tint in tints for value in tint]
    assert min(values) >= 70
    assert max(values) <= 130
    assert max(values) - min(values) > 40
    assert all(len(set(tint)) > 1 for tint in tints)


def test_crops_lie_around_every_class_alike_where_told(tmp_path):
    label = np.zeros((200, 300), np.uint8)
    label[150:156, 250:256] = 1  # 0.06 % of the pixels
    for part, pixels in (("images", np.zeros((200, 300, 3), np.uint8)), ("labels", label)):
        (tmp_path / "train" / part).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "train" / part / "0.png")
    scenes = read_scenes(tmp_path, "train", 2, IGNORED)

    def share(rare):
        data = SceneDataset(scenes, replace(OWN, height=200, width=300), IGNORED, (40, 40), (1, 1), rare)
        crops = [data[0, seed][1] for seed in range(60)]
        assert all(crop.shape == (40, 40) for crop in crops)
        return sum(bool((crop == 1).any()) for crop in crops) / 60

    assert share(0.0) < 0.25
    assert 0.35 < share(1.0) < 0.75


def test_val_is_left_as_it_is(folder):
    scenes = read_scenes(folder, "val", 3, IGNORED)
    pixels, labels, _ = SceneDataset(scenes, OWN, IGNORED)[0, 0]
    image, label = scene(100)
    assert torch.equal(labels, torch.from_numpy(np.asarray(label).astype(np.int64)))
    expected = F.normalize(
        F.to_dtype(F.pil_to_tensor(image), torch.float32, scale=True), [0.5] * 3, [0.5] * 3
    )
    assert torch.equal(pixels, expected)


def write_turned(root, orientation, size=(80, 64), suffix=".jpg", label_as="stored"):
    """One picture of val stored so that EXIF makes it upright, which `scene(100, size)` is, and its label."""
    image, label = scene(100, size)
    undo = {
        2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90",
        7: "TRANSVERSE", 8: "ROTATE_270",
    }  # fmt: skip
    method = Image.Transpose[undo[orientation]]
    exif = Image.Exif()
    exif[0x0112] = orientation
    images, labels = root / "val" / "images", root / "val" / "labels"
    for path in (*images.iterdir(), *labels.iterdir()):
        path.unlink()
    image.transpose(method).save(images / f"p{suffix}", exif=exif)
    (label.transpose(method) if label_as == "stored" else label).save(labels / "p.png")
    return image, np.asarray(label)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("label_as", ["stored", "upright"])
def test_a_label_is_turned_with_its_picture(folder, capsys, orientation, suffix, label_as):
    image, label = write_turned(folder, orientation, suffix=suffix, label_as=label_as)
    (found,) = read_scenes(folder, "val", 3, IGNORED)
    said = "1 labels are turned upright with their pictures (EXIF), e.g. p.png"
    assert (said in capsys.readouterr().out) == (label_as == "stored")
    pixels, ids, _ = SceneDataset([found], OWN, IGNORED)[0, 0]
    assert np.array_equal(ids, label)
    if suffix == ".png":
        expected = F.to_dtype(F.pil_to_tensor(image), torch.float32, scale=True)
        torch.testing.assert_close(pixels, F.normalize(expected, [0.5] * 3, [0.5] * 3))


@pytest.mark.parametrize(
    ("orientation", "size"), [(3, (80, 64)), (2, (80, 64)), (4, (80, 64)), (6, (64, 64))]
)
def test_a_label_that_fits_a_turned_picture_either_way_is_left_out(folder, orientation, size):
    write_turned(folder, orientation, size)
    reason = rf"EXIF turns or mirrors .* fits either way; .* e\.g\. p\.jpg \(orientation {orientation}\)"
    with pytest.raises(DataError, match=reason):
        read_scenes(folder, "val", 3, IGNORED)


def test_pictures_that_share_a_label_are_left_out(folder, capsys):
    images = folder / "val" / "images"
    scene(1)[0].save(images / "00.jpg")
    assert len(read_scenes(folder, "val", 3, IGNORED)) == 3
    assert "dropped 2: several pictures for one label, e.g. 00.jpg, 00.png" in capsys.readouterr().out


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_class_names_may_have_a_byte_order_mark(folder, encoding):
    (folder / "classes.txt").write_text("\n".join(CLASSES), encoding=encoding)
    assert read_classes(folder) == list(CLASSES)
    (folder / "classes.txt").write_bytes(b"a\nb\xe9\n")
    with pytest.raises(DataError, match="not UTF-8"):
        read_classes(folder)


def test_each_epoch_has_new_seeds():
    epochs = [dict(DrawSampler(5, 0, shuffle=True, trainer=trainer_at(epoch))) for epoch in (0, 1, 1)]
    assert all(sorted(seeds) == list(range(5)) for seeds in epochs)
    assert len({seed for seeds in epochs[:2] for seed in seeds.values()}) == 10
    assert epochs[1] == epochs[2]


def test_scores_over_a_set_equal_counting_by_hand():
    torch.manual_seed(0)
    truth, told = torch.randint(0, 4, (2, 9, 9)), torch.randint(0, 3, (2, 9, 9))
    truth[truth == 3] = IGNORED
    counts = sum(confusion(told[i], truth[i], 4, IGNORED) for i in range(2))
    scores = score_confusion(counts, ["a", "b", "c", "never"])
    inside = truth != IGNORED
    for i, name in enumerate("abc"):
        both = ((truth == i) & (told == i) & inside).sum()
        either = (((truth == i) | (told == i)) & inside).sum()
        assert scores["iou"][name] == pytest.approx(100 * float(both / either))
    assert "never" not in scores["iou"]
    assert scores["mean_iou"] == pytest.approx(sum(scores["iou"].values()) / 3)
    assert scores["pixel_accuracy"] == pytest.approx(100 * float((truth == told)[inside].float().mean()))
