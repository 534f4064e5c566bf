"""Captioned images: COCO, Karpathy and JSONL readers, the data set and its batches.

Notation: N images, K captions an image, L grid places, C channels, T tokens.
"""

import copy
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.data import Dataset

from captioning.concepts import Recognised
from common.errors import DataError, ImageError, UsageError
from common.features import FeatureStore
from common.files import Dropped, load_json, read_bytes
from common.images import Preprocess, load_image
from common.text import BOS, EOS, PAD, Vocabulary, tokenize
from common.threads import ahead


@dataclass(frozen=True)
class CaptionedImage:
    """One image and what people said about it."""

    image_id: int | str
    path: Path
    captions: tuple[str, ...]


def read_captions(data: Path, split: str) -> list[CaptionedImage]:
    """Read one part of a captioned set and print what was dropped and why.

    `data` is a folder with one of, looked for in this order:

    - `annotations/captions_SPLIT*.json` (COCO), images in `images/`, or as COCO itself lays them out;
    - `dataset*.json` (Karpathy; `restval` counts as train), images in `images/`;
    - `SPLIT.jsonl`, lines of `{"image": path, "captions": [...]}`, paths relative to the file.

    Raises:
        UsageError: the folder, or this part of it, is not there.
        DataError: a file cannot be read, or nothing is left of it.
    """
    if not data.is_dir():
        raise UsageError(f"--data {data}: no such folder")
    coco = sorted(data.glob(f"annotations/captions_{split}*.json"))
    karpathy = sorted(data.glob("dataset*.json"))
    jsonl = data / f"{split}.jsonl"
    dropped = Dropped()
    if coco:
        source, found = coco[0], _read_coco(coco[0], data, dropped)
    elif karpathy:
        source, found = karpathy[0], _read_karpathy(karpathy[0], data, split, dropped)
    elif jsonl.is_file():
        source, found = jsonl, _read_jsonl(jsonl, dropped)
    else:
        raise UsageError(
            f"--data {data}: holds no {split!r} part; expected annotations/captions_{split}.json (COCO), "
            f"dataset*.json (Karpathy) or {split}.jsonl"
        )
    images = [image for item in _unrepeated(found, dropped) if (image := _checked(item, dropped))]
    captions = sum(len(image.captions) for image in images)
    summary = f"{split}: {len(images):,} images, {captions:,} captions from {source}\n{dropped}"
    if not images:
        raise DataError(f"nothing is left to use\n{summary}")
    print(summary, flush=True)
    return images


def _unrepeated(images: list[CaptionedImage], dropped: Dropped) -> list[CaptionedImage]:
    """Leave out every image whose id another image has too: nobody knows whose the captions are."""
    files: defaultdict[int | str, dict[Path, None]] = defaultdict(dict)
    for image in images:
        files[image.image_id][image.path] = None
    repeated = {image_id: paths for image_id, paths in files.items() if len(paths) > 1}
    for image_id, paths in repeated.items():
        names = ", ".join(path.name for path in paths)
        for _ in paths:
            dropped.add("image id given twice", f"{image_id} ({names})")
    return [image for image in images if image.image_id not in repeated]


def _checked(image: CaptionedImage, dropped: Dropped) -> CaptionedImage | None:
    """Leave out missing files and captions without words."""
    if not image.path.is_file():
        dropped.add("picture is missing", image.path)
        return None
    kept = []
    for caption in image.captions:
        if not isinstance(caption, str):  # null, a number, a list
            dropped.add("caption is no text", f"{caption!r} for image {image.image_id}")
        elif not caption.strip():
            dropped.add("caption is empty", f"image {image.image_id}")
        elif not any(character.isalpha() for character in caption):
            dropped.add("caption has no letters", f"{caption!r} for image {image.image_id}")
        else:
            kept.append(caption)
    if not kept:
        dropped.add("picture is left without captions", image.path.name)
        return None
    return CaptionedImage(image.image_id, image.path, tuple(kept))


def _read_coco(file: Path, data: Path, dropped: Dropped) -> list[CaptionedImage]:
    content = load_json(file)
    part = file.stem.removeprefix("captions_")
    folders = [data / "images", data / part, data / "images" / part]
    folder = next((f for f in folders[1:] if f.is_dir()), folders[0])
    try:
        captions: dict[Any, dict[Any, Any]] = {image["id"]: {} for image in content["images"]}
        for annotation in content["annotations"]:
            of_image, number = captions.get(annotation["image_id"]), annotation["id"]
            if of_image is None:
                dropped.add("caption of an image that is not listed", f"annotation {number}")
            elif (number, repr(annotation["caption"])) in of_image:
                dropped.add("caption given twice", f"annotation {number}")
            else:
                of_image[number, repr(annotation["caption"])] = annotation["caption"]
        listed = dict.fromkeys((image["id"], folder / image["file_name"]) for image in content["images"])
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: not COCO caption format, {error!r} is missing or wrong") from None
    return [CaptionedImage(i, path, tuple(captions[i].values())) for i, path in listed]


def _read_karpathy(file: Path, data: Path, split: str, dropped: Dropped) -> list[CaptionedImage]:
    wanted = {"train": ("train", "restval")}.get(split, (split,))
    result: list[CaptionedImage] = []
    try:
        for image in load_json(file)["images"]:
            if image["split"] in wanted:
                path = data / "images" / image.get("filepath", "") / image["filename"]
                captions = tuple(sentence["raw"] for sentence in image["sentences"])
                result.append(
                    CaptionedImage(image.get("cocoid", image.get("imgid", len(result))), path, captions)
                )
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: not Karpathy's format, {error!r} is missing or wrong") from None
    if not result:
        dropped.add("no image has this split", split)
    return result


def _read_jsonl(file: Path, dropped: Dropped) -> list[CaptionedImage]:
    result = []
    for number, line in enumerate(read_bytes(file).splitlines(), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line.decode("utf-8"))
            captions = item["captions"] if isinstance(item["captions"], list) else [item["captions"]]
            result.append(CaptionedImage(number, file.parent / item["image"], tuple(captions)))
        except UnicodeDecodeError:
            dropped.add("line is not UTF-8", f"line {number}")
        except (ValueError, KeyError, TypeError):
            dropped.add('line is not {"image": path, "captions": [...]}', f"line {number}")
    return result


class CaptionBatch(NamedTuple):
    """What the model trains on."""

    features: torch.Tensor
    """(N, L, C), or images (N, 3, H, W) for an encoder that is trained"""
    tokens: torch.Tensor
    """(N, K, 1 + T) begin, words, end, padding; an image with fewer than K captions has rows of padding"""
    image_ids: list[int | str]
    classes: torch.Tensor
    """(N, classes), what the classifier says of the images; (N, 0) where nothing needs it"""


class ImageFiles:
    """Preprocessed images by row, read when they are asked for; takes the place of a `FeatureStore`.

    Args:
        paths: the files.
        preprocess: as the encoder sees.
    """

    def __init__(self, paths: Sequence[Path], preprocess: Preprocess) -> None:
        self.paths, self.preprocess = paths, preprocess

    def __getitem__(self, row: int) -> torch.Tensor:
        """float32 (3, H, W). Raises ImageError."""
        return torch.from_numpy(self.preprocess(self.paths[row]))

    def errors(self, workers: int) -> dict[int, ImageError]:
        """Read every file once; the position of each that cannot be read, with the reason."""
        read = ahead(lambda path: load_image(path, self.preprocess.height).size, self.paths, workers, 64)
        return {i: found for i, found in enumerate(read) if isinstance(found, ImageError)}


CaptionItem = tuple[torch.Tensor, list[list[int]], int | str, torch.Tensor]


class CaptionDataset(Dataset[CaptionItem]):
    """Features and all captions of each image.

    Args:
        images: the images.
        features: their grids, or the images themselves.
        rows: position in `images` -> row of `features`; images without a row must be left out before.
        vocabulary: gives words their numbers.
        max_length: captions are cut after so many words.
        recognised: what the classifier says of each of `images`.
    """

    def __init__(
        self,
        images: Sequence[CaptionedImage],
        features: FeatureStore | ImageFiles,
        rows: dict[int, int],
        vocabulary: Vocabulary,
        max_length: int,
        recognised: Recognised | None = None,
    ) -> None:
        self.images, self.features, self.rows, self.recognised = images, features, rows, recognised
        self.tokens = [
            [[BOS, *vocabulary.encode(tokenize(caption)[:max_length]), EOS] for caption in image.captions]
            for image in images
        ]

    def seen_as(self, features: FeatureStore, rows: dict[Path, int]) -> "CaptionDataset":
        """The same images and captions with other features; images without a row are left out."""
        view = copy.copy(self)
        kept = [i for i, image in enumerate(self.images) if image.path in rows]
        view.images, view.tokens = [self.images[i] for i in kept], [self.tokens[i] for i in kept]
        view.features = features
        if self.recognised:
            view.recognised = Recognised(*(field[kept] for field in self.recognised))
        view.rows = {i: rows[image.path] for i, image in enumerate(view.images)}
        return view

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> CaptionItem:
        classes = self.recognised.classes[i].float() if self.recognised else torch.zeros(0)
        return self.features[self.rows[i]], self.tokens[i], self.images[i].image_id, classes


def collate(items: Sequence[CaptionItem]) -> CaptionBatch:
    """Stack features; pad captions to the longest, and images to the most captions."""
    features, captions, image_ids, classes = zip(*items, strict=True)
    most = max(len(c) for c in captions)
    longest = max(len(ids) for c in captions for ids in c)
    tokens = torch.full((len(items), most, longest), PAD)
    for n, image_captions in enumerate(captions):
        for k, ids in enumerate(image_captions):
            tokens[n, k, : len(ids)] = torch.tensor(ids)
    return CaptionBatch(torch.stack(features), tokens, list(image_ids), torch.stack(classes))
