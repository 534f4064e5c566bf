"""Train an action classifier from flags: what `scripts/train_video.py` calls."""

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl

from common.cli import command_line
from common.encoder import DEFAULT_ENCODER, Encoder
from common.errors import UsageError
from common.features import cache_directory
from common.training import TrainConfig, fit, prepare_run
from video.data import Clip, VideoData, check_groups, fold_groups, read_clips
from video.decode import VideoError, frame_times
from video.images import StreamKind
from video.model import ClipConfig, Fusion, HeadKind, Places, Pool, VideoModel
from video.system import VideoSystem


@dataclass(frozen=True, kw_only=True)
class VideoConfig(TrainConfig):
    """Flags of action classification."""

    data: Path
    """Folder with train.csv and val.csv (columns file, label, group) and the clips."""
    folds: str = ""
    """group: leave one group out; a number: so many folds by group. Uses train and val together, trains one
    model a fold in OUT/fold-N and scores each on its own fold."""
    encoder: str = DEFAULT_ENCODER
    """Any convolutional backbone of timm; it stays frozen."""
    encoder_weights: str | None = None
    """File with the encoder's weights (safetensors, or a checkpoint that torch reads with weights_only)."""
    image_size: int = 128
    """Side of the encoder's input in pixels; 0 is the backbone's own."""
    streams: tuple[StreamKind, ...] = ("appearance", "difference")
    """What the encoder is shown: appearance (frames), difference (to the frame before), flow (optical)."""
    fusion: Fusion = "late"
    """late (a head a stream, logits added) or early (features side by side)."""
    frames: int = 24
    """Frames of a clip that the network sees."""
    views: int = 1
    """Copies of each training clip, the first as it is, the others moved, turned and scaled by chance."""
    flip: bool = False
    """Mirror every other view; only where left and right do not matter."""
    head: HeadKind = "gru"
    """mean (no order: the control), rnn, lstm, gru, convlstm."""
    bidirectional: bool = True
    """Also read from the end."""
    pool: Pool = "attention"
    """How an RNN's outputs become one: last, mean, attention."""
    places: Places = "grid"
    """grid (where in the frame something is counts) or mean (few weights, for few clips)."""
    place_size: int = 64
    """Units of a place of the feature map."""
    hidden_size: int = 256
    """Units of the RNN in each direction."""
    dropout: float = 0.5
    """On places, frames and output."""
    label_smoothing: float = 0.1
    """Probability spread over all classes."""
    batch_size: int = 32
    """Clips a step, over all processes together."""
    cache: Path | None = None
    """Folder for the encoder's features; by default under ~/.cache/visionrnn."""
    description: str = ""
    """What the data set is and its terms, for the model card."""


def train(config: VideoConfig) -> None:
    """Train as the flags say. Raises UsageError, DataError, EncoderWeightsError, OSError."""
    config = prepare_run(config)
    parts = {name: read_clips(config.data, name) for name in ("train", "val")}
    if not config.folds:
        check_groups(parts)
        _train(config, parts)
        print(f"best model: {config.out / 'best'}")
        return
    if config.folds != "group" and not config.folds.isdigit():
        raise UsageError(f"--folds {config.folds}: expected 'group' or a number")
    if config.resume:
        raise UsageError("--folds: a run of several folds cannot be resumed; name another --out")
    clips = [clip for part in parts.values() for clip in part]
    groups = fold_groups(clips, 0 if config.folds == "group" else int(config.folds))
    rows = [_train_fold(config, i, clips, part) for i, part in enumerate(groups, 1)]
    total = sum(row["num_clips"] for row in rows)
    summary = {
        name: round(sum(row[name] * row["num_clips"] for row in rows) / total, 2)
        for name in ("top_1", "shuffled_top_1")
    }
    report = {**summary, "num_clips": total, "command": command_line(), "seed": config.seed, "folds": rows}
    aside = config.out / "folds.json.tmp"
    aside.write_text(json.dumps(report, indent=1), encoding="utf-8")
    aside.replace(config.out / "folds.json")
    print(f"{len(rows)} folds: top_1 {summary['top_1']}  shuffled_top_1 {summary['shuffled_top_1']}")


def _train_fold(
    config: VideoConfig, number: int, clips: Sequence[Clip], groups: Sequence[str]
) -> dict[str, Any]:
    """Train without `groups`; its score on them after the last epoch, so that they choose nothing."""
    parts = {
        "train": [clip for clip in clips if clip.group not in groups],
        "val": [clip for clip in clips if clip.group in groups],
    }
    print(f"fold {number}: {len(parts['val'])} clips of {len(groups)} groups are held out", flush=True)
    out = config.out / f"fold-{number}"
    _train(replace(config, out=out, patience=0, keep="last"), parts, clips)
    with (out / "metrics.csv").open(newline="", encoding="utf-8") as file:
        last = list(csv.DictReader(file))[-1]
    scores = {name: round(float(last[name]), 2) for name in ("top_1", "shuffled_top_1")}
    return {"groups": list(groups), "num_clips": int(float(last["num_clips"])), **scores}


def _train(config: VideoConfig, parts: dict[str, list[Clip]], moved: Sequence[Clip] = ()) -> None:
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
    encoder = Encoder.pretrained(config.encoder, config.image_size, config.encoder_weights).freeze()
    sizes = ClipConfig(
        config.streams,
        config.frames,
        config.head,
        config.bidirectional,
        config.pool,
        config.fusion,
        config.places,
        config.place_size,
        config.hidden_size,
        config.dropout,
    )
    model = VideoModel(encoder, sizes, labels, _median_seconds(parts["train"]))
    model.info = {
        "data": config.description or config.data.resolve().name,
        "clips": len(parts["train"]),
        "command": command_line(),
        "seed": config.seed,
    }
    name = hashlib.sha256(str(config.data.resolve()).encode()).hexdigest()[:16]
    data = VideoData(
        parts,
        labels,
        encoder,
        config.cache or cache_directory() / "features" / name,
        streams=config.streams,
        frames=config.frames,
        views=config.views,
        flip=config.flip,
        moved=moved,
        batch_size=config.batch_size,
        workers=config.workers,
        seed=config.seed,
        device=config.device,
    )
    system = VideoSystem(model, config, config.label_smoothing)
    fit(system, data, config, model=model, monitor="top_1", report=("shuffled_top_1", "num_clips"))


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
