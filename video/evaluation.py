"""Score an action classifier on a part of a data set: what `scripts/evaluate_video.py` calls."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from common.cli import loaded, progress
from common.drawing import draw_confusion
from common.errors import ImageError
from common.evaluation import EvaluationFlags, facts, left_out, show, write_report
from common.files import check_folder
from video.classifier import ActionClassifier
from video.data import Clip, read_clips, shuffle_frames
from video.metrics import confusion, percent, top_k


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(EvaluationFlags):
    """Score an action classifier, in order and with the frames of each clip shuffled.

    visionrnn evaluate video --data DIR --split val --model NAME --report FILE.json
    """

    data: Path
    """Folder with SPLIT.csv (columns file, label, group) and the clips."""
    model: str = "utd-mhad"
    """A bundled model, a model or run folder, or hub:user/name."""
    confusion: Path | None = None
    """PNG of the confusion matrix; by default beside --report."""
    workers: int = 2
    """Threads that read clips."""


def evaluate(config: EvaluationConfig) -> int:
    """Classify, score, print and write the report; 1 if a clip could not be read."""
    confusion_file = config.confusion or (config.report.with_suffix(".png") if config.report else None)
    check_folder("--report", config.report)
    check_folder("--confusion", confusion_file)
    classifier = loaded(ActionClassifier.from_pretrained, config)
    clips = read_clips(config.data, config.split)
    clips = clips[: config.limit] if config.limit else clips
    readable: list[Clip] = []
    logits: list[torch.Tensor] = []
    errors: list[ImageError] = []
    kept: list[tuple[torch.Tensor, torch.Tensor]] = []
    frames, started = 0, time.monotonic()
    each = zip(
        clips, classifier.read_each([clip.path for clip in clips], workers=config.workers), strict=True
    )
    for clip, images in progress(each, len(clips), "clips", silent=True):
        if isinstance(images, ImageError):
            errors.append(images)
            continue
        features, lengths = classifier.encode(images)
        logits.append(torch.from_numpy(classifier.logits(features, lengths)[0]))
        frames += int(lengths[0])
        readable.append(clip)
        kept.append((torch.from_numpy(features), torch.from_numpy(lengths)))
    seconds = time.monotonic() - started
    left_out(errors)
    if not readable:
        raise ImageError("none of the clips could be read")
    shuffled = [
        torch.from_numpy(
            classifier.logits(shuffle_frames(features, lengths, seed).numpy(), lengths.numpy())[0]
        )
        for seed, (features, lengths) in enumerate(kept)
    ]
    labels = classifier.model.labels
    ids = {label: i for i, label in enumerate(labels)}
    truth = torch.tensor([ids.get(clip.label, -1) for clip in readable])
    scores = torch.stack(logits)
    best = scores.argmax(dim=-1)
    report: dict[str, Any] = {
        "top_1": top_k(scores, truth, 1),
        "top_5": top_k(scores, truth, 5),
        "shuffled_top_1": top_k(torch.stack(shuffled), truth, 1),
        "num_clips": len(readable),
        "num_unknown_label": int((truth < 0).sum()),
        "num_unreadable": len(errors),
        "frames_per_second": round(frames / seconds, 1),
        **facts(config, classifier),
        "head": classifier.model.config.head,
        "streams": ", ".join(classifier.model.config.streams),
        "threads": torch.get_num_threads(),
    }
    show(report)
    report["per_class"] = {
        label: percent(best[truth == i] == i) for label, i in ids.items() if (truth == i).any()
    }
    report["clips"] = [
        {
            "file": str(clip.path.relative_to(config.data)),
            "label": clip.label,
            "predicted": labels[predicted],
        }
        for clip, predicted in zip(readable, best.tolist(), strict=True)
    ]
    if confusion_file is not None:
        counts = confusion(best, truth, len(labels)).numpy()
        draw_confusion(
            counts, labels, f"{report['data']} {config.split}, top-1 {report['top_1']} %", confusion_file
        )
    write_report(report, config.report)
    return 1 if errors else 0
