import json

import pytest
import torch

from captioning.data import CaptionDataset, collate, read_captions
from common.errors import DataError, UsageError
from common.text import BOS, EOS, PAD, Vocabulary
from tests.conftest import shape_picture


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations").mkdir()
    for name in ("a.jpg", "b.jpg", "\u00e9 t.jpg"):
        shape_picture("red", "circle").save(tmp_path / "images" / name)
    return tmp_path


def coco(folder, images, annotations, name="captions_train.json"):
    content = {
        "images": [{"id": i, "file_name": f} for i, f in images],
        "annotations": [{"id": n, "image_id": i, "caption": c} for n, (i, c) in enumerate(annotations)],
    }
    (folder / "annotations" / name).write_text(json.dumps(content), encoding="utf-8")


def test_coco_and_what_it_drops(folder, capsys):
    coco(
        folder,
        [(1, "a.jpg"), (2, "\u00e9 t.jpg"), (3, "gone.jpg"), (4, "b.jpg")],
        [(1, "A dog."), (1, " "), (2, "Un caf\u00e9."), (3, "A cat."), (4, "7"), (9, "Nobody's.")],
    )
    images = read_captions(folder, "train")
    assert [(i.image_id, i.path.name, i.captions) for i in images] == [
        (1, "a.jpg", ("A dog.",)),
        (2, "\u00e9 t.jpg", ("Un caf\u00e9.",)),
    ]
    said = capsys.readouterr().out
    assert "train: 2 images, 2 captions" in said
    for line in (
        "picture is missing",
        "caption is empty",
        "no letters, e.g. '7'",
        "not listed",
        "left without",
    ):
        assert f"{line}" in said
        assert "dropped 1" in said


def test_coco_as_it_is_downloaded(folder):
    (folder / "train2017").mkdir()
    shape_picture("red", "circle").save(folder / "train2017" / "c.jpg")
    coco(folder, [(1, "c.jpg")], [(1, "A ball.")], "captions_train2017.json")
    assert read_captions(folder, "train")[0].path == folder / "train2017" / "c.jpg"


def test_karpathy(folder, capsys):
    def image(name, split, number):
        sentences = [{"raw": "A dog .", "tokens": ["a", "dog"]}]
        return {"filename": name, "split": split, "imgid": number, "sentences": sentences}

    content = {"images": [image("a.jpg", "train", 0), image("b.jpg", "restval", 1), image("a.jpg", "val", 2)]}
    (folder / "dataset_flickr8k.json").write_text(json.dumps(content))
    assert [i.image_id for i in read_captions(folder, "train")] == [0, 1]
    assert [i.image_id for i in read_captions(folder, "val")] == [2]
    with pytest.raises(DataError, match="no image has this split"):
        read_captions(folder, "test")


def test_jsonl_and_what_it_drops(folder, capsys):
    lines = [
        json.dumps({"image": "images/a.jpg", "captions": ["A dog.", "It is a dog."]}).encode(),
        json.dumps(
            {"image": "images/\u00e9 t.jpg", "captions": "A single one."}, ensure_ascii=False
        ).encode(),
        b'{"image": "images/b.jpg"}',
        b"not json",
        '{"image": "images/b.jpg", "captions": ["caf\u00e9"]}'.encode("latin-1"),
        b"",
    ]
    (folder / "train.jsonl").write_bytes(b"\n".join(lines))
    images = read_captions(folder, "train")
    assert [i.captions for i in images] == [("A dog.", "It is a dog."), ("A single one.",)]
    said = capsys.readouterr().out
    assert "dropped 2: line is not {" in said
    assert "dropped 1: line is not UTF-8, e.g. line 5" in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe broken", "not UTF-8"),
        (b"{", "no JSON"),
        (b"[]", "not COCO"),
        (b'{"images": []}', "not COCO"),
        (b'{"images": [{"id": 1}], "annotations": []}', "file_name"),
        (b'{"images": [], "annotations": []}', "nothing is left"),
    ],
)
def test_a_broken_annotation_file_is_named(folder, content, message):
    (folder / "annotations" / "captions_train.json").write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read_captions(folder, "train")
    assert "captions_train.json" in str(error.value)


def test_captions_that_are_no_text_are_an_error_that_shows_them(folder):
    coco(folder, [(1, "a.jpg")], [(1, "0"), (1, "1")])
    with pytest.raises(DataError, match=r"caption has no letters, e\.g\. '0' for image 1"):
        read_captions(folder, "train")


def test_what_is_not_there_is_bad_usage(folder):
    with pytest.raises(UsageError, match="no such folder"):
        read_captions(folder / "gone", "train")
    with pytest.raises(UsageError, match="holds no 'val' part"):
        read_captions(folder, "val")


def test_batches_hold_every_caption_once(folder, capsys):
    coco(folder, [(1, "a.jpg"), (2, "b.jpg")], [(1, "a dog"), (1, "a dog runs far away"), (2, "a cat")])
    images = read_captions(folder, "train")
    vocabulary = Vocabulary(["a", "dog", "cat", "runs"])
    features = [torch.full((2, 3), float(i)) for i in range(5)]
    dataset = CaptionDataset(images, features, {0: 4, 1: 2}, vocabulary, max_length=4)
    batch = collate([dataset[0], dataset[1]])
    assert batch.features[:, 0, 0].tolist() == [4.0, 2.0]
    assert batch.image_ids == [1, 2]
    assert batch.tokens.tolist() == [
        [[BOS, 4, 5, EOS, PAD, PAD], [BOS, 4, 5, 7, 3, EOS]],  # "far" is unknown, "away" is cut
        [[BOS, 4, 6, EOS, PAD, PAD], [PAD] * 6],
    ]
