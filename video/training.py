"""Train an action classifier from flags: what `scripts/train_video.py` calls."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytorch_lightning as pl
from torch.utils.data import ConcatDataset

from common.cli import command_line, sizes_of
from common.errors import UsageError
from common.features import FeatureFlags, FeatureStore, cached_features
from common.folds import FoldFlags, train_folds
from common.loading import PartsData
from common.schema import Range
from common.training import TrainConfig, fit, prepare_run
from video.config import ClipConfig
from video.data import (
    Clip,
    ClipDataset,
    ClipReader,
    check_groups,
    collate,
    read_clips,
)
from video.decode import VideoError, frame_times
from video.model import VideoModel
from video.system import VideoSystem


@dataclass(frozen=True, kw_only=True)
class VideoConfig(FoldFlags, ClipConfig, FeatureFlags, TrainConfig):
    """Train an action classifier over frame features.

        visionrnn train video --data DIR --out RUN
        visionrnn train video --data DIR --out RUN --folds group

    DIR holds `train.csv` and `val.csv` (columns file, label, group) and the clips. No group may occur
    in both.
    """

    data: Path
    """Folder with train.csv and val.csv (columns file, label, group) and the clips."""
    image_size: int = 128
    views: int = 1
    """Copies of each training clip, the first as it is, the others augmented: shifted, rotated
    and scaled at random."""
    flip: bool = False
    """Mirror every other view; only where left and right do not matter, or with --mirror-pairs."""
    mirror_pairs: tuple[str, ...] = ()
    """Labels that a mirror exchanges, two by two: swipe_left swipe_right turn_left turn_right."""
    time_warp: Annotated[float, Range(0, 0.9)] = 0.0
    """Largest change of speed within a training clip: 0.3 lets it run 30 % faster at one end, slower at the
    other."""
    drop_frames: Annotated[float, Range(0, 0.9)] = 0.0
    """Share of the frames that a training clip loses, drawn at each step."""
    label_smoothing: float = 0.1
    """Probability spread over all classes."""
    batch_size: int = 32
    """Clips per step, over all processes together."""
    description: str = ""
    """What the data set is and its terms, for the model card."""


def train(config: VideoConfig) -> None:
    """Train as the flags say. Raises UsageError, DataError, EncoderWeightsError, OSError."""
    config = prepare_run(config)
    parts = {name: read_clips(config.data, name) for name in ("train", "val")}
    clips = [clip for part in parts.values() for clip in part]
    _check_pairs(config, clips)
    if not config.folds:
        check_groups(parts)
    everything = clips if config.folds else ()
    train_folds(
        config,
        parts,
        lambda clip: clip.group,
        lambda of_fold, its_parts: _train(of_fold, its_parts, everything),
        scores=("top_1", "shuffled_top_1"),
        count="num_clips",
        facts=("head", "streams", "places", "crop", "strides", "views", "epochs"),
    )


def _check_pairs(config: VideoConfig, clips: Sequence[Clip]) -> None:
    """Raises UsageError where --mirror-pairs names no pairs of labels, or nothing is mirrored."""
    pairs = config.mirror_pairs
    if not pairs:
        return
    given = f"--mirror-pairs {' '.join(pairs)}"
    if len(pairs) % 2 or len(set(pairs)) < len(pairs):
        raise UsageError(f"{given}: expected two labels a pair, each label once")
    labels = {clip.label for clip in clips}
    unknown = [label for label in pairs if label not in labels]
    if unknown:
        raise UsageError(
            f"{given}: no clip has the label {unknown[0]!r}; there are {', '.join(sorted(labels))}"
        )
    if not config.flip or config.views < 2:
        raise UsageError(f"{given}: nothing is mirrored without --flip and --views 2 or more")


def _train(config: VideoConfig, parts: dict[str, list[Clip]], to_augment: Sequence[Clip] = ()) -> None:
    pl.seed_everything(config.seed, verbose=False)
    if config.limit:
        parts = {name: clips[: config.limit] for name, clips in parts.items()}
    labels = sorted({clip.label for clip in parts["train"]})
    if len(labels) < 2:
        raise UsageError(f"--data {config.data}: train has the label {labels[0]!r} alone; two are needed")
    unknown = [clip.label for clip in parts["val"] if clip.label not in labels]
    if unknown:
        print(
            f"val: {len(unknown)} clips have a label that train lacks ({', '.join(sorted(set(unknown)))}); "
            "they count as wrong",
            flush=True,
        )
    model = VideoModel(
        config.frozen_encoder(), sizes_of(ClipConfig, config), labels, _median_seconds(parts["train"])
    )
    model.info = {
        "data": config.description or config.data.resolve().name,
        "clips": len(parts["train"]),
        "command": command_line(),
        "seed": config.seed,
    }
    data = PartsData(partial(_open, config, model, parts, to_augment or parts["train"]), collate, config)
    system = VideoSystem(model, config, config.label_smoothing, config.time_warp, config.drop_frames)
    fit(system, data, config, model=model, monitor="top_1", report=("shuffled_top_1", "num_clips"))


def _open(
    config: VideoConfig, model: VideoModel, parts: dict[str, list[Clip]], to_augment: Sequence[Clip]
) -> dict[str, ConcatDataset[Any]]:
    """Each part with the features of its clips; train also with the views, made of the clips `to_augment`."""
    views: list[list[tuple[FeatureStore, dict[Path, range]]]] = [[] for _ in range(config.views)]
    mirrored = [config.flip and view % 2 == 1 for view in range(config.views)]
    left_out: dict[str, None] = {}
    for view, stream in product(range(config.views), config.streams):
        paths = [clip.path for clip in (to_augment if view else [c for part in parts.values() for c in part])]
        reader = ClipReader(stream, config.frames, view, mirrored[view], config.crop)
        # older features were resized by torch, and mirrored flow had its direction as it was
        variant = f"{reader} by area {config.strides or ''}".rstrip()
        store, rows, errors = cached_features(
            paths,
            model.encoder,
            config.features_folder(config.data) / hashlib.sha256(variant.encode()).hexdigest()[:8],
            read=reader,
            variant=variant,
            workers=config.workers,
            device=config.device,
            encode=lambda images: model.encode(images).unsqueeze(1),  # a frame as one place
        )
        views[view].append((store, {paths[i]: of_clip for i, of_clip in rows.items()}))
        left_out |= dict.fromkeys(errors)
    for error in left_out:
        print(f"  left out {error}", flush=True)
    ids = {label: i for i, label in enumerate(model.labels)}
    first, second = config.mirror_pairs[::2], config.mirror_pairs[1::2]
    exchanged = dict(zip(first + second, second + first, strict=True))
    opened: dict[str, ConcatDataset[Any]] = {}
    for name, clips in parts.items():
        readable = [clip for clip in clips if clip.path in views[0][0][1]]
        seen = [clip.label for clip in readable]
        in_mirror = [exchanged.get(label, label) for label in seen]
        opened[name] = ConcatDataset(
            ClipDataset(
                [(store, [rows[clip.path] for clip in readable]) for store, rows in stores],
                [ids.get(label, -1) for label in (in_mirror if turned else seen)],
            )
            for stores, turned in list(zip(views, mirrored, strict=True))[: None if name == "train" else 1]
        )
    return opened


def _median_seconds(clips: Sequence[Clip]) -> float:
    """Of the first hundred clips that can be read."""
    lengths = []
    for clip in clips[:100]:
        try:
            times = frame_times(clip.path)
        except VideoError:
            continue
        lengths.append(float(times[-1] - times[0]))
    return round(float(np.median(lengths)), 2) if lengths else 2.0
