"""Train a segmentation model from flags: what `scripts/train_segmentation.py` calls."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pytorch_lightning as pl

from common.cli import command_line, sizes_of
from common.encoder import Encoder, EncoderFlags
from common.errors import UsageError
from common.folds import FoldFlags, train_folds
from common.loading import DrawnPartsData
from common.pretrained import parameter_count
from common.schema import Range
from common.training import TrainConfig, fit, prepare_run
from segmentation.config import SegmenterConfig
from segmentation.data import (
    Scene,
    SceneDataset,
    class_weights,
    collate,
    read_classes,
    read_scenes,
)
from segmentation.model import SegmentationModel
from segmentation.system import SegmentationSystem

_Side = Annotated[int, Range(0, 2048)]


@dataclass(frozen=True, kw_only=True)
class SegmentationConfig(FoldFlags, SegmenterConfig, EncoderFlags, TrainConfig):
    """Train a segmentation model.

        visionrnn train segmentation --data DIR --out RUN [--context renet] [--stride 32]

    DIR holds `classes.txt` (a name a line), `{train,val}/images` and `{train,val}/labels` (PNG of class ids).
    With --folds, a group is the pictures whose names agree up to the first `_`, such as those of one drive.
    """

    data: Path
    """Folder with classes.txt and {train,val}/{images,labels}; labels are PNGs of class ids."""
    ignore_label: int = 255
    """Class id that counts for nothing."""
    encoder_rate: float = 0.3
    """Learning rate of the encoder, relative to the rest."""
    encoder_frozen: int = 0
    """Stride up to which the encoder is frozen: 2, 4, ...; 0 trains all of it."""
    image_size: tuple[_Side, _Side] = (0, 0)
    """Height and width; each image is scaled to this area and keeps its shape. 0 0 is 360 480, or what
    --init-from has."""
    crop: tuple[int, int] = (352, 352)
    """Height and width of a training crop."""
    scales: tuple[float, float] = (0.5, 2.0)
    """Smallest and largest size of a training image, relative to --image-size."""
    crops: Annotated[int, Range(1)] = 1
    """Crops of each picture in an epoch."""
    rare_crops: Annotated[float, Range(0, 1)] = 0.0
    """Share of the crops that lie around a pixel of a class drawn from those of the image, each as likely."""
    hold_out: tuple[str, ...] = ()
    """Pictures of train whose names begin with one of these are left out, as a further part to choose by:
    `visionrnn evaluate segmentation --split train --names ...` scores them."""
    balance: float = 0.5
    """Power of the class weights: 0 weighs all pixels alike, 1 is median frequency balancing."""
    lovasz: Annotated[float, Range(0, 10)] = 0.0
    """Weight of the Lovasz-softmax loss (Berman et al. 2018), beside a cross entropy of weight 1."""
    learning_rate: float = 2e-3
    """Peak of the one-cycle schedule (Smith & Topin 2018)."""
    weight_decay: float = 0.01
    """AdamW's decay, of all but norms and biases."""
    batch_size: int = 8
    """Images per step, over all processes together."""
    init_from: Path | None = None
    """Model or run folder to start from; its network and classes replace the flags."""
    description: str = ""
    """What the data set is and its terms, for the model card."""


def train(config: SegmentationConfig) -> None:
    """Train as the flags say. Raises UsageError, DataError, EncoderWeightsError, OSError."""
    if not 0 < config.scales[0] <= config.scales[1]:
        raise UsageError(f"--scales {config.scales}: expected the smallest and the largest, above 0")
    if min(*config.crop) < 32 or (any(config.image_size) and min(config.image_size) < 32):
        raise UsageError("--image-size and --crop: must be at least 32 pixels either way")
    config = prepare_run(config)
    classes = read_classes(config.data)
    parts = {
        name: read_scenes(config.data, name, len(classes), config.ignore_label) for name in ("train", "val")
    }
    if config.hold_out:
        if config.folds:
            raise UsageError("--hold-out and --folds: give one of them")
        parts["train"] = _without(parts["train"], config.hold_out)
    train_folds(
        config,
        parts,
        lambda scene: scene.image.name.partition("_")[0],
        lambda of_fold, its_parts: _train(of_fold, its_parts, classes),
        scores=("mean_iou", "pixel_accuracy", "class_accuracy"),
        count="num_images",
        facts=("context", "encoder"),
    )


def _without(scenes: list[Scene], held_out: tuple[str, ...]) -> list[Scene]:
    """The scenes whose names begin with none of these. Raises UsageError where that is all or none."""
    rest = [scene for scene in scenes if not scene.image.name.startswith(held_out)]
    held = len(scenes) - len(rest)
    if not held or not rest:
        raise UsageError(
            f"--hold-out {' '.join(held_out)}: {held} of {len(scenes)} pictures "
            "have such names; name the beginning of some of them"
        )
    print(f"held out {', '.join(held_out)}: {held:,} pictures; {len(rest):,} are trained on")
    return rest


def _train(config: SegmentationConfig, parts: dict[str, list[Scene]], classes: list[str]) -> None:
    pl.seed_everything(config.seed, verbose=False)
    if config.limit:
        parts = {name: scenes[: config.limit] for name, scenes in parts.items()}
    model = _model(config, classes)
    if config.encoder_frozen:
        model.encoder.freeze_up_to(config.encoder_frozen)
    print(f"parameters: {parameter_count(model):,}", flush=True)
    model.info = {
        "data": config.description or config.data.resolve().name,
        "pictures": len(parts["train"]),
        "command": command_line(),
        "seed": config.seed,
    }
    data = DrawnPartsData(partial(_open, config, model, parts), collate, config)
    weights = class_weights(parts["train"], config.balance)
    system = SegmentationSystem(model, config, weights, config.encoder_rate, config.lovasz)
    kept: Any = system.average.module
    report = ("pixel_accuracy", "class_accuracy", "num_images")
    fit(system, data, config, model=kept, monitor="mean_iou", report=report)


def _open(
    config: SegmentationConfig, model: SegmentationModel, parts: dict[str, list[Scene]]
) -> dict[str, SceneDataset]:
    preprocess, ignored = model.preprocess, config.ignore_label
    return {
        "train": SceneDataset(
            parts["train"] * config.crops, preprocess, ignored, config.crop, config.scales, config.rare_crops
        ),
        "val": SceneDataset(parts["val"], preprocess, ignored),
    }


def _model(config: SegmentationConfig, classes: list[str]) -> SegmentationModel:
    if config.init_from is not None:
        model = SegmentationModel.from_pretrained(config.init_from).train()
        if model.classes != classes or model.ignore_label != config.ignore_label:
            raise UsageError(f"--init-from {config.init_from}: a model of other classes or ignored label")
        if any(config.image_size):
            height, width = config.image_size
            model.encoder.preprocess = replace(model.encoder.preprocess, height=height, width=width)
        return model
    encoder = Encoder.pretrained(config.encoder, weights=config.encoder_weights)
    height, width = config.image_size if any(config.image_size) else (360, 480)
    encoder.preprocess = replace(encoder.preprocess, height=height, width=width)
    return SegmentationModel(encoder, sizes_of(SegmenterConfig, config), classes, config.ignore_label)
