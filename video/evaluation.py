"""Score an action classifier on a part of a data set: what `scripts/evaluate_video.py` calls."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.cli import command_line
from common.device import Precision
from common.drawing import draw_confusion
from common.errors import ImageError, UsageError
from common.pretrained import parameter_count
from video.classifier import ActionClassifier
from video.data import Clip, read_clips
from video.decode import VideoError
from video.images import shuffle_frames


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Flags of the evaluation."""

    data: Path
    """Folder with SPLIT.csv (columns file, label, group) and the clips."""
    split: str = "val"
    """Which part of it."""
    model: str = "utd-mhad"
    """A bundled model, a model or run folder, or user/name on the hub."""
    report: Path | None = None
    """JSON file to write: the scores, how they were made, and every clip."""
    confusion: Path | None = None
    """PNG of the confusion matrix; by default beside --report."""
    workers: int = 2
    """Threads that read clips."""
    limit: int = 0
    """Only the first so many clips; 0 is all."""
    device: str = "auto"
    """auto, cpu or cuda."""
    precision: Precision = "auto"
    """auto (bf16 where the hardware has it), bf16 or fp32."""


def evaluate(config: EvaluationConfig) -> int:
    """Classify, score, print and write the report; 1 if a clip could not be read."""
    confusion = config.confusion or (config.report.with_suffix(".png") if config.report else None)
    for flag, file in (("--report", config.report), ("--confusion", confusion)):
        if file is not None and not file.resolve().parent.is_dir():
            raise UsageError(f"{flag} {file}: its folder does not exist")
    classifier = ActionClassifier.from_pretrained(config.model, config.device, config.precision)
    clips = read_clips(config.data, config.split)
    clips = clips[: config.limit] if config.limit else clips
    read: list[Clip] = []
    logits: list[torch.Tensor] = []
    errors: list[VideoError] = []
    kept: list[tuple[torch.Tensor, torch.Tensor]] = []
    frames, started = 0, time.monotonic()
    for clip, pictures in zip(
        clips, classifier.read_each([clip.path for clip in clips], workers=config.workers), strict=True
    ):
        if isinstance(pictures, VideoError):
            errors.append(pictures)
            continue
        features, lengths = classifier.encode(pictures)
        logits.append(classifier.logits(features, lengths)[0])
        frames += int(lengths)
        read.append(clip)
        kept.append((features, lengths))
    seconds = time.monotonic() - started
    for error in errors:
        print(f"left out {error}")
    if not read:
        raise ImageError("none of the clips could be read")
    shuffled = [
        classifier.logits(shuffle_frames(features, lengths, seed), lengths)[0]
        for seed, (features, lengths) in enumerate(kept)
    ]
    labels = classifier.model.labels
    ids = {label: i for i, label in enumerate(labels)}
    truth = torch.tensor([ids.get(clip.label, -1) for clip in read])
    scores = torch.stack(logits)
    ranked = scores.argsort(dim=-1, descending=True)
    right = ranked[:, 0] == truth
    report: dict[str, Any] = {
        "top_1": _percent(right),
        "top_5": _percent((ranked[:, :5] == truth[:, None]).any(dim=1)),
        "shuffled_top_1": _percent(torch.stack(shuffled).argmax(dim=-1) == truth),
        "num_clips": len(read),
        "num_unknown_label": int((truth < 0).sum()),
        "num_unreadable": len(errors),
        "frames_per_second": round(frames / seconds, 1),
        "model": config.model,
        "head": classifier.model.config.head,
        "streams": ", ".join(classifier.model.config.streams),
        "seed": classifier.model.info.get("seed", ""),
        "minutes": classifier.model.info.get("minutes", ""),
        "parameters": parameter_count(classifier.model),
        "data": config.data.resolve().name,
        "split": config.split,
        "precision": classifier.precision,
        "threads": torch.get_num_threads(),
        "command": command_line(),
    }
    print("\n".join(f"{name:18} {value}" for name, value in report.items()))
    report["per_class"] = {
        label: _percent(right[truth == i]) for label, i in ids.items() if (truth == i).any()
    }
    report["clips"] = [
        {
            "file": str(clip.path.relative_to(config.data)),
            "label": clip.label,
            "predicted": labels[int(best[0])],
        }
        for clip, best in zip(read, ranked, strict=True)
    ]
    if confusion is not None:
        counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
        for row, column in zip(truth.tolist(), ranked[:, 0].tolist(), strict=True):
            if row >= 0:
                counts[row, column] += 1
        draw_confusion(
            counts, labels, f"{report['data']} {config.split}, top-1 {report['top_1']} %", confusion
        )
    if config.report is not None:
        aside = config.report.with_name(f"{config.report.name}.tmp")
        aside.write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
        aside.replace(config.report)
    return 1 if errors else 0


def _percent(right: torch.Tensor) -> float:
    return round(100 * float(right.float().mean()), 2)
