"""Score a segmentation model on a part of a data set: what `scripts/evaluate_segmentation.py` calls."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from common.cli import command_line
from common.device import Precision
from common.drawing import draw_confusion
from common.errors import DataError, ImageError, UsageError
from common.pretrained import parameter_count
from segmentation.data import SceneDataset, read_classes, read_scenes
from segmentation.metrics import confusion, score_confusion
from segmentation.segmenter import Segmenter


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Flags of the evaluation."""

    data: Path
    """Folder with classes.txt and SPLIT/{images,labels}."""
    split: str = "val"
    """Which part of it."""
    model: str = "camvid"
    """A bundled model, a model or run folder, or user/name on the hub."""
    ignore_label: int | None = None
    """Class id in the labels that counts for nothing; by default the one the model was trained with."""
    report: Path | None = None
    """JSON file to write: the scores and how they were made."""
    confusion: Path | None = None
    """PNG of the confusion matrix; by default beside --report."""
    limit: int = 0
    """Only the first so many pictures; 0 is all."""
    device: str = "auto"
    """auto, cpu or cuda."""
    precision: Precision = "auto"
    """auto (bf16 where the hardware has it), bf16 or fp32."""


def evaluate(config: EvaluationConfig) -> int:
    """Segment, score over the whole part, print and write the report; 1 if a picture could not be read."""
    picture = config.confusion or (config.report.with_suffix(".png") if config.report else None)
    for flag, file in (("--report", config.report), ("--confusion", picture)):
        if file is not None and not file.resolve().parent.is_dir():
            raise UsageError(f"{flag} {file}: its folder does not exist")
    segmenter = Segmenter.from_pretrained(config.model, config.device, config.precision)
    model = segmenter.model
    names = read_classes(config.data)
    if names != model.classes:
        raise DataError(
            f"{config.data}: has the classes {', '.join(names)}; the model {config.model!r} knows "
            f"{', '.join(model.classes)}"
        )
    ignored = model.ignore_label if config.ignore_label is None else config.ignore_label
    scenes = read_scenes(config.data, config.split, len(names), ignored)
    scenes = scenes[: config.limit] if config.limit else scenes
    dataset = SceneDataset(scenes, model.encoder.preprocess, ignored)
    counts = torch.zeros(len(names), len(names), dtype=torch.long)
    errors: list[ImageError] = []
    started = time.monotonic()
    for index in range(len(dataset)):
        try:
            image, labels, _ = dataset[index, 0]
        except ImageError as error:
            errors.append(error)
            print(f"left out {error}", flush=True)
            continue
        found = segmenter.predict(image[None], *labels.shape)[0].cpu()
        counts += confusion(found, labels, len(names), ignored)
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
        "model": config.model,
        "context": model.config.context,
        "stride": model.config.stride,
        "cell": model.config.cell,
        "seed": model.info.get("seed", ""),
        "minutes": model.info.get("minutes", ""),
        "parameters": parameter_count(model),
        "data": config.data.resolve().name,
        "split": config.split,
        "precision": segmenter.precision,
        "threads": torch.get_num_threads(),
        "command": command_line(),
    }
    print("\n".join(f"{name:18} {value}" for name, value in report.items()))
    if picture is not None:
        title = f"{report['data']} {config.split}, mean IoU {report['mean_iou']} %"
        draw_confusion(counts.numpy(), names, title, picture)
    if config.report is not None:
        report["confusion"] = counts.tolist()
        aside = config.report.with_name(f"{config.report.name}.tmp")
        aside.write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
        aside.replace(config.report)
    return 1 if errors else 0
