"""Captioned pictures: COCO, Karpathy and JSONL readers, the data set and its batches.

Notation: N images, K captions an image, L grid places, C channels, T tokens.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from common.errors import DataError, ImageError, UsageError
from common.features import FeatureStore, cached_features
from common.images import Preprocess, load_image
from common.reading import Dropped, load_json, read_bytes
from common.text import BOS, EOS, PAD, Vocabulary, tokenize
from common.training import EpochSampler


@dataclass(frozen=True)
class CaptionedImage:
    """One picture and what people said about it."""

    image_id: int | str
    path: Path
    captions: tuple[str, ...]


def read_captions(data: Path, split: str) -> list[CaptionedImage]:
    """Read one part of a captioned set and print what was dropped and why.

    `data` is a folder with one of, looked for in this order:

    - `annotations/captions_SPLIT*.json` (COCO), pictures in `images/`, or as COCO itself lays them out;
    - `dataset*.json` (Karpathy; `restval` counts as train), pictures in `images/`;
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
    """Leave out every picture whose id another picture has too: nobody knows whose the captions are."""
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
    """(N, L, C), or pictures (N, 3, H, W) for an encoder that is trained"""
    tokens: torch.Tensor
    """(N, K, 1 + T) begin, words, end, padding; an image with fewer than K captions has rows of padding"""
    image_ids: list[int | str]


class Pictures:
    """Preprocessed pictures by row, read when they are asked for; takes the place of a `FeatureStore`.

    Args:
        paths: the files.
        preprocess: as the encoder sees.
    """

    def __init__(self, paths: Sequence[Path], preprocess: Preprocess) -> None:
        self.paths, self.preprocess = paths, preprocess

    def __getitem__(self, row: int) -> torch.Tensor:
        """float32 (3, H, W). Raises ImageError."""
        return self.preprocess(self.paths[row])

    def check(self, workers: int) -> list[str | None]:
        """Read every file once: None, or why it cannot be read."""

        def read(path: Path) -> str | None:
            try:
                load_image(path, self.preprocess.height)
            except ImageError as error:
                return str(error)
            return None

        with ThreadPoolExecutor(max(1, workers)) as pool:
            return list(pool.map(read, self.paths))


class CaptionDataset(Dataset[tuple[torch.Tensor, list[list[int]], int | str]]):
    """Features and all captions of each image.

    Args:
        images: the pictures.
        features: their grids, or the pictures themselves.
        rows: position in `images` -> row of `features`; images without a row must be left out before.
        vocabulary: gives words their numbers.
        max_length: captions are cut after so many words.
    """

    def __init__(
        self,
        images: Sequence[CaptionedImage],
        features: FeatureStore | Pictures,
        rows: dict[int, int],
        vocabulary: Vocabulary,
        max_length: int,
    ) -> None:
        self.images, self.features, self.rows = images, features, rows
        self.tokens = [
            [[BOS, *vocabulary.encode(tokenize(caption)[:max_length]), EOS] for caption in image.captions]
            for image in images
        ]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, list[list[int]], int | str]:
        return self.features[self.rows[i]], self.tokens[i], self.images[i].image_id


def collate(items: Sequence[tuple[torch.Tensor, list[list[int]], int | str]]) -> CaptionBatch:
    """Stack features; pad captions to the longest, and images to the most captions."""
    features, captions, image_ids = zip(*items, strict=True)
    most = max(len(c) for c in captions)
    longest = max(len(ids) for c in captions for ids in c)
    tokens = torch.full((len(items), most, longest), PAD)
    for n, image_captions in enumerate(captions):
        for k, ids in enumerate(image_captions):
            tokens[n, k, : len(ids)] = torch.tensor(ids)
    return CaptionBatch(torch.stack(features), tokens, list(image_ids))


class CaptionData(pl.LightningDataModule):
    """Train and val parts of a captioned set, with the features of a frozen encoder, or pictures for another.

    Args:
        parts: `train` and `val`.
        vocabulary: gives words their numbers.
        encoder: where it is frozen, its features are cached.
        cache: folder of the feature cache.
        batch_size: images a step over all processes.
        workers: loading processes.
        max_length: words a caption.
        seed: of the order of training.
        device: where features are computed.
    """

    def __init__(
        self,
        parts: dict[str, list[CaptionedImage]],
        vocabulary: Vocabulary,
        encoder: Any,
        cache: Path,
        *,
        batch_size: int,
        workers: int,
        max_length: int,
        seed: int,
        device: str,
    ) -> None:
        super().__init__()
        self.parts, self.vocabulary, self.encoder, self.cache = parts, vocabulary, encoder, cache
        self.batch_size, self.workers, self.max_length = batch_size, workers, max_length
        self.seed, self.device = seed, device
        self.datasets: dict[str, CaptionDataset] = {}

    def prepare_data(self) -> None:
        """Fill the feature cache, in one process only."""
        for name in self.parts:
            if self.encoder.frozen:
                for error in self._features(name)[2]:
                    print(f"  {name}: left out {error}", flush=True)

    def _features(self, name: str) -> tuple[FeatureStore, dict[int, range], list[str]]:
        paths = [image.path for image in self.parts[name]]
        return cached_features(
            paths, self.encoder, self.cache / name, workers=self.workers, device=self.device
        )

    def setup(self, stage: str) -> None:
        """Open the cache and number the captions."""
        for name, images in self.parts.items():
            if self.encoder.frozen:
                found, rows, _ = self._features(name)
                store: FeatureStore | Pictures = found
                readable = [i for i in range(len(images)) if i in rows]
                kept = {new: rows[old][0] for new, old in enumerate(readable)}
            else:
                store = Pictures([image.path for image in images], self.encoder.preprocess)
                errors = store.check(self.workers)
                print("".join(f"  {name}: left out {e}\n" for e in errors if e), end="", flush=True)
                readable = [i for i, error in enumerate(errors) if error is None]
                kept = dict(enumerate(readable))
            chosen = [images[i] for i in readable]
            self.datasets[name] = CaptionDataset(chosen, store, kept, self.vocabulary, self.max_length)

    def _loader(self, name: str, *, shuffle: bool) -> DataLoader[Any]:
        world = self.trainer.world_size if self.trainer else 1
        if self.batch_size % world:
            raise UsageError(f"--batch-size {self.batch_size}: must be a multiple of the {world} processes")
        dataset = self.datasets[name]
        sampler = EpochSampler(len(dataset), self.seed, shuffle=shuffle, trainer=self.trainer)
        return DataLoader(
            dataset,
            self.batch_size // world,
            sampler=sampler,
            num_workers=self.workers,
            collate_fn=collate,
            persistent_workers=self.workers > 0,
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled."""
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Each image once."""
        return self._loader("val", shuffle=False)
