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


def test_pictures_that_share_an_id_are_left_out(folder, capsys):
    coco(
        folder,
        [(0, "a.jpg"), (1, "b.jpg"), (0, "\u00e9 t.jpg"), (1, "b.jpg")],
        [(0, "A dog."), (1, "A cat."), (0, "A horse.")],
    )
    assert [(i.path.name, i.captions) for i in read_captions(folder, "train")] == [("b.jpg", ("A cat.",))]
    said = capsys.readouterr().out
    assert "dropped 2: image id given twice, e.g. 0 (a.jpg, \u00e9 t.jpg)" in said


def test_an_annotation_that_stands_twice_counts_once(folder, capsys):
    coco(folder, [(1, "a.jpg")], [(1, "A dog."), (1, "A dog.")])
    assert read_captions(folder, "train")[0].captions == ("A dog.", "A dog.")  # two people said so
    file = folder / "annotations" / "captions_train.json"
    content = json.loads(file.read_text())
    content["annotations"].append(content["annotations"][0])
    file.write_text(json.dumps(content))
    assert len(read_captions(folder, "train")[0].captions) == 2
    assert "dropped 1: caption given twice, e.g. annotation 0" in capsys.readouterr().out


NO_TEXT = (None, 7, float("nan"), True, ["a dog", "a hound"], {"en": "a dog"})


@pytest.mark.parametrize("layout", ["coco", "karpathy", "jsonl"])
@pytest.mark.parametrize("caption", NO_TEXT)
def test_a_caption_that_is_no_text_is_left_out(folder, capsys, layout, caption):
    given = [caption, "A cat."]
    if layout == "coco":
        coco(folder, [(1, "a.jpg")], [(1, c) for c in given])
    elif layout == "karpathy":
        image = {"filename": "a.jpg", "split": "train", "imgid": 1, "sentences": [{"raw": c} for c in given]}
        (folder / "dataset.json").write_text(json.dumps({"images": [image]}))
    else:
        (folder / "train.jsonl").write_text(json.dumps({"image": "images/a.jpg", "captions": given}))
    assert read_captions(folder, "train")[0].captions == ("A cat.",)
    assert f"dropped 1: caption is no text, e.g. {caption!r} for image 1" in capsys.readouterr().out


def test_captions_of_a_line_that_are_null(folder):
    (folder / "train.jsonl").write_text('{"image": "images/a.jpg", "captions": null}')
    with pytest.raises(DataError, match=r"caption is no text, e\.g\. None for image 1"):
        read_captions(folder, "train")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("layout", ["coco", "karpathy", "jsonl"])
def test_a_byte_order_mark_is_skipped(folder, capsys, layout, encoding):
    coco(folder, [(1, "a.jpg")], [(1, "Un caf\u00e9.")])
    file = folder / "annotations" / "captions_train.json"
    content = file.read_text(encoding="utf-8")
    if layout != "coco":
        file.unlink()
        image = {"filename": "a.jpg", "split": "train", "imgid": 1, "sentences": [{"raw": "Un caf\u00e9."}]}
        content = json.dumps({"images": [image]}, ensure_ascii=False)
        file = folder / "dataset.json"
    if layout == "jsonl":
        content = json.dumps({"image": "images/a.jpg", "captions": ["Un caf\u00e9."]}, ensure_ascii=False)
        file = folder / "train.jsonl"
    file.write_text(content, encoding=encoding)
    assert read_captions(folder, "train")[0].captions == ("Un caf\u00e9.",)
    assert "dropped nothing" in capsys.readouterr().out


def test_marks_between_files_that_were_put_together(folder):
    line = json.dumps({"image": "images/a.jpg", "captions": ["A dog."]}).encode("utf-8-sig")
    (folder / "train.jsonl").write_bytes(line + b"\r\n" + line)
    assert len(read_captions(folder, "train")) == 2


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
