"""Score a segmentation model on a part of a data set: what `scripts/evaluate_segmentation.py` calls."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from common.cli import loaded, progress
from common.drawing import draw_confusion
from common.errors import DataError, ImageError, UsageError
from common.evaluation import EvaluationFlags, facts, show, write_report
from common.files import check_folder
from segmentation.data import SceneDataset, read_classes, read_scenes
from segmentation.metrics import confusion, score_confusion
from segmentation.segmenter import Segmenter


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(EvaluationFlags):
    """Score a segmentation model over a whole part of a data set, at the labels' own size.

    visionrnn evaluate segmentation --data DIR --split val --model NAME --report FILE.json
    """

    data: Path
    """Folder with classes.txt and SPLIT/{images,labels}."""
    model: str = "camvid"
    """A bundled model, a model or run folder, or hub:user/name."""
    ignore_label: int | None = None
    """Class id in the labels that counts for nothing; by default the one the model was trained with."""
    names: tuple[str, ...] = ()
    """Only pictures whose names begin with one of these, such as those that training held out."""
    scales: tuple[float, ...] = (1.0,)
    """Sizes of each picture, relative to the model's own; the mean of their probabilities decides."""
    mirrored: bool = False
    """Let the mirrored picture decide too."""
    confusion: Path | None = None
    """PNG of the confusion matrix; by default beside --report."""


def evaluate(config: EvaluationConfig) -> int:
    """Segment, score over the whole part, print and write the report; 1 if an image could not be read."""
    confusion_file = config.confusion or (config.report.with_suffix(".png") if config.report else None)
    if not config.scales or not all(0.1 <= scale <= 10 for scale in config.scales):
        raise UsageError(f"--scales {' '.join(map(str, config.scales))}: expected numbers from 0.1 to 10")
    check_folder("--report", config.report)
    check_folder("--confusion", confusion_file)
    segmenter = loaded(Segmenter.from_pretrained, config)
    model = segmenter.model
    names = read_classes(config.data)
    if names != model.classes:
        raise DataError(
            f"{config.data}: has the classes {', '.join(names)}; the model {config.model!r} knows "
            f"{', '.join(model.classes)}"
        )
    ignored = model.ignore_label if config.ignore_label is None else config.ignore_label
    scenes = read_scenes(config.data, config.split, len(names), ignored)
    scenes = [s for s in scenes if s.image.name.startswith(config.names or "")]
    if not scenes:
        raise UsageError(f"--names {' '.join(config.names)}: no picture of {config.split} has such a name")
    scenes = scenes[: config.limit] if config.limit else scenes
    dataset = SceneDataset(scenes, model.preprocess, ignored)
    counts = torch.zeros(len(names), len(names), dtype=torch.long)
    errors: list[ImageError] = []
    started = time.monotonic()
    for index in progress(range(len(dataset)), len(dataset), "images", silent=True):
        try:
            image, labels, _ = dataset[index, 0]
        except ImageError as error:
            errors.append(error)
            print(f"left out {error}", flush=True)
            continue
        predicted = segmenter.predict(
            image[None].numpy(), *labels.shape, scales=config.scales, mirrored=config.mirrored
        )
        counts += confusion(torch.from_numpy(predicted[0]).long(), labels, len(names), ignored)
    seconds = time.monotonic() - started
    if len(errors) == len(scenes):
        raise ImageError("none of the pictures could be read")
    scores: dict[str, Any] = score_confusion(counts, names)
    report: dict[str, Any] = {
        **{name: round(scores[name], 2) for name in ("mean_iou", "pixel_accuracy", "class_accuracy")},
        "iou": {name: round(value, 2) for name, value in scores["iou"].items()},
        "num_images": len(scenes) - len(errors),
        "num_unreadable": len(errors),
        "images_per_second": round((len(scenes) - len(errors)) / seconds, 1),
        "ignore_label": ignored,
        "names": " ".join(config.names),
        "scales": " ".join(map(str, config.scales)),
        "mirrored": config.mirrored,
        **facts(config, segmenter),
        "context": model.config.context,
        "stride": model.config.stride,
        "cell": model.config.cell,
        "threads": torch.get_num_threads(),
    }
    show(report)
    if confusion_file is not None:
        title = f"{report['data']} {config.split}, mean IoU {report['mean_iou']} %"
        draw_confusion(counts.numpy(), names, title, confusion_file)
    write_report({**report, "confusion": counts.tolist()}, config.report)
    return 1 if errors else 0
