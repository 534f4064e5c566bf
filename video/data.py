"""Clips with labels: the CSV reader, frames as the encoder's images, and batches of cached features.

Notation: N clips, S streams, T frames, F numbers of a frame.
"""

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from common.errors import DataError, ImageError, UsageError
from common.features import FeatureStore
from common.files import Dropped, read_text
from common.images import ImageBatch, Preprocess, blamed_on
from common.threads import ahead
from video.decode import VideoError
from video.images import Crop, StreamKind, pad, prepared, read_clip, stream_image

COLUMNS = ("file", "label", "group")


@dataclass(frozen=True)
class Clip:
    """One file with its label."""

    path: Path
    label: str
    group: str
    """Who or what must not occur in two parts: the person, the source video."""


def read_clips(data: Path, split: str) -> list[Clip]:
    """Read `SPLIT.csv` (columns file, label, group), and print what was dropped and why.

    Raises:
        UsageError: no such folder or part.
        DataError: other columns, no CSV, or nothing is left of it.
    """
    if not data.is_dir():
        raise UsageError(f"--data {data}: no such folder")
    table = data / f"{split}.csv"
    if not table.is_file():
        raise UsageError(f"--data {data}: holds no {split!r} part; expected {table.name} in it")
    dropped = Dropped()
    clips: dict[Path, Clip] = {}
    try:
        with io.StringIO(read_text(table), newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"{table}: no column {', '.join(missing)}; the header has "
                    f"{', '.join(reader.fieldnames or ()) or 'nothing'}, expected {','.join(COLUMNS)}"
                )
            for row in reader:
                name, label, group = ((row[column] or "").strip() for column in COLUMNS)
                clip = Clip(data / name, label, group)
                if not name or not label or not group:
                    dropped.add("file, label or group is empty", f"line {reader.line_num}")
                elif not clip.path.is_file():
                    dropped.add("file is missing", name)
                elif clip.path not in clips:
                    clips[clip.path] = clip
                elif clips[clip.path] == clip:
                    dropped.add("duplicate row", name)
                else:
                    raise DataError(f"{table}: {name} stands in it twice, with different label or group")
    except csv.Error as error:
        raise DataError(f"{table}: not a CSV file in UTF-8 ({error})") from None
    found = list(clips.values())
    labels, groups = {clip.label for clip in found}, {clip.group for clip in found}
    summary = f"{split}: {len(found):,} clips, {len(labels)} labels, {len(groups)} groups\n{dropped}"
    if not found:
        raise DataError(f"{table}: nothing is left to use\n{summary}")
    print(summary, flush=True)
    return found


def check_groups(parts: dict[str, list[Clip]]) -> None:
    """Raises DataError where a group occurs in two parts: the score would be of people already seen."""
    names = list(parts)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            both = sorted({c.group for c in parts[first]} & {c.group for c in parts[second]})
            if both:
                raise DataError(
                    f"group {both[0]!r} ({len(both)} in all) stands in {first}.csv and in {second}.csv; "
                    "put all clips of a group into one of them"
                )


@dataclass(frozen=True)
class ClipReader:
    """Reads clips as images of one stream, for `common.features.cached_features`.

    Args:
        stream: what the images show.
        frames: T; `OVERSAMPLING` times as many are read.
        view: 0 is the clip as it is; any other number shifts, rotates and scales the whole clip at random,
            the same way for the same file and number.
        flip: mirror the view.
        crop: as in `ClipConfig`.
    """

    stream: StreamKind
    frames: int
    view: int = 0
    flip: bool = False
    crop: Crop = "none"

    def __call__(
        self, paths: Sequence[Path], preprocess: Preprocess, batch_size: int, workers: int
    ) -> Iterator[ImageBatch]:
        """One batch per clip, read ahead by threads."""
        clips = ahead(partial(self.read, preprocess=preprocess), paths, max(1, workers), 3)
        for i, pixels in enumerate(clips):
            if isinstance(pixels, ImageError):
                yield ImageBatch([], np.empty(0), {i: pixels})
            else:
                yield ImageBatch([i] * len(pixels), pixels, {})

    def read(self, path: Path, preprocess: Preprocess) -> np.ndarray:
        """The images of one clip (T', 3, H, W). Raises VideoError."""
        with blamed_on(path, VideoError):
            frames = read_clip(path, self.frames, self.crop)
            images = [
                stream_image(frame, frames[i - 1] if i else None, self.stream)
                for i, frame in enumerate(frames)
            ]
            if self.view:
                images = self._augment(path, images)
            return prepared(images, preprocess)

    def _augment(self, path: Path, images: list[np.ndarray]) -> list[np.ndarray]:
        digest = hashlib.sha256(f"{path.name} {self.view}".encode()).digest()
        random = np.random.default_rng(list(digest[:8]))
        height, width = images[0].shape[:2]
        angle, scale = np.radians(random.uniform(-7, 7)), random.uniform(0.85, 1.2)
        shift = random.uniform(-0.1, 0.1, 2) * (width, height)
        # output (x, y) -> input, around the middle (PIL's affine is the inverse map)
        a, b = np.cos(angle) / scale, np.sin(angle) / scale
        x, y = width / 2 - shift[0], height / 2 - shift[1]
        matrix = (a, b, width / 2 - a * x - b * y, -b, a, height / 2 + b * x - a * y)
        fill = {"appearance": (0, 0, 0), "difference": (128, 128, 128), "flow": (127, 127, 0)}[self.stream]
        augmented = [
            Image.fromarray(p).transform(
                (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=fill
            )
            for p in images
        ]
        if not self.flip:
            return [np.asarray(p) for p in augmented]
        turned = [np.array(p.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) for p in augmented]
        if self.stream == "flow":  # what moved to the right now moves to the left; no motion is 127
            for pixels in turned:
                pixels[..., 0] = 254 - np.minimum(pixels[..., 0], 254)
        return turned


class ClipBatch(NamedTuple):
    """Cached features of clips, with more frames than the network sees."""

    features: torch.Tensor
    """(N, S, T', F), 0 beyond a clip's length"""
    lengths: torch.Tensor
    """(N,) frames of each clip"""
    labels: torch.Tensor
    """(N,) class, or -1 for a label that train does not have"""
    rows: list[int]
    """Position of each clip in the data set."""


class ClipDataset(Dataset[tuple[torch.Tensor, int, int]]):
    """Features and label of each clip.

    Args:
        stores: of each stream, features and rows by clip.
        labels: class of each clip.
    """

    def __init__(self, stores: Sequence[tuple[FeatureStore, Sequence[range]]], labels: Sequence[int]) -> None:
        self.stores, self.labels = stores, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int, int]:
        streams = [torch.stack([store[row].flatten() for row in rows[i]]) for store, rows in self.stores]
        return torch.stack(streams), self.labels[i], i


def collate(items: Sequence[tuple[torch.Tensor, int, int]]) -> ClipBatch:
    """Pad clips to the longest."""
    clips, labels, rows = zip(*items, strict=True)
    features, lengths = map(torch.from_numpy, pad([clip.numpy() for clip in clips]))
    return ClipBatch(features, lengths, torch.tensor(labels), list(rows))


def sample(
    features: torch.Tensor, lengths: torch.Tensor, count: int, *, jitter: bool | torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Take `count` frames of each clip, one from each of as many equal parts; all of a clip that has fewer.

    Args:
        features: (N, S, T', F).
        lengths: (N,).
        count: T.
        jitter: a random frame of each part (Wang et al. 2016, section 3.1), in place of the
            middle one; or where in each part it is, (N, T) from 0 to below 1.

    Returns:
        features (N, S, T, F), lengths (N,).
    """
    steps = torch.arange(count, device=lengths.device)
    if not isinstance(jitter, torch.Tensor):
        jitter = torch.rand(len(lengths), count) if jitter else torch.full((len(lengths), count), 0.5)
    moment = jitter.to(lengths.device)
    spread = ((steps + moment) / count * lengths[:, None]).long()
    positions = torch.where(lengths[:, None] > count, spread, steps).clamp(max=features.shape[2] - 1)
    rows = torch.arange(len(lengths))[:, None, None]
    streams = torch.arange(features.shape[1])[:, None]
    return features[rows, streams, positions[:, None]], lengths.clamp(max=count)


def warped(moments: torch.Tensor, bends: torch.Tensor) -> torch.Tensor:
    """Where in its part each frame is taken, once the clip runs faster at one end and slower at the other.

    Time u of 0 to 1 becomes u + bend / pi * sin(pi u), which begins and ends where it did: the speed is
    1 + bend at first and 1 - bend at last.

    Args:
        moments: (N, T) as `sample`'s `jitter`; so is what is returned, but for values beyond a part.
        bends: (N,) from -1 to 1.
    """
    count = moments.shape[1]
    steps = torch.arange(count, device=moments.device)
    times = (steps + moments) / count
    return moments + count * bends[:, None] / torch.pi * torch.sin(torch.pi * times)


def drop_frames(
    features: torch.Tensor, lengths: torch.Tensor, kept: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Leave out frames, as a camera or a network that is too slow does; those after them move up.

    Args:
        features: (N, S, T, F).
        lengths: (N,).
        kept: (N, T) whether a frame stays; a clip that would lose all keeps its first.

    Returns:
        features (N, S, T, F), of which only the first of each clip count; lengths (N,).
    """
    inside = torch.arange(kept.shape[1], device=kept.device) < lengths[:, None]
    kept = kept & inside
    kept[:, 0] |= ~kept.any(dim=1)
    order = (~kept).to(torch.uint8).argsort(dim=1, stable=True)  # those that stay, in order, then the others
    index = order[:, None, :, None].expand(-1, features.shape[1], -1, features.shape[3])
    return features.gather(2, index), kept.sum(dim=1)


def shuffle_frames(features: torch.Tensor, lengths: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """features (N, S, T, F), lengths (N,) -> the same frames of each clip in random order.

    All streams of a clip in the same order; the difference or flow image of a frame moves with it.
    """
    generator = torch.Generator().manual_seed(seed)
    shuffled = features.clone()
    for i, length in enumerate(lengths.tolist()):
        shuffled[i, :, :length] = features[i][:, torch.randperm(length, generator=generator)]
    return shuffled
