"""What the evaluations of all tasks share: flags, facts about model and run, the report."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.cli import command_line
from common.errors import VisionError
from common.files import write_aside
from common.predictor import Predictor, UseFlags


@dataclass(frozen=True, kw_only=True)
class ReportFlags(UseFlags):
    """Flags of an evaluation."""

    report: Path | None = None
    """JSON file to write: the scores, how they were made, and details."""
    limit: int = 0
    """Number of samples to use, from the first on; 0 is all."""


@dataclass(frozen=True, kw_only=True)
class EvaluationFlags(ReportFlags):
    """Flags of an evaluation on one part of a data set."""

    data: Path
    """Folder of the data set."""
    split: str = "val"
    """Which part of it."""
    model: Any
    """A bundled model, a model or run folder, or hub:user/name."""


def facts(config: EvaluationFlags, predictor: Predictor[Any]) -> dict[str, Any]:
    """What a report says about its model and its run."""
    info = predictor.model.info
    return {
        "model": config.model,
        "seed": info.get("seed", ""),
        "minutes": info.get("minutes", ""),
        "parameters": predictor.parameters,
        "data": config.data.resolve().name,
        "split": config.split,
        "precision": predictor.precision,
        "command": command_line(),
    }


def left_out(errors: Iterable[VisionError]) -> None:
    """Print what could not be read."""
    for error in errors:
        print(f"left out {error}", flush=True)


def show(report: dict[str, Any], width: int = 18) -> None:
    """Print a report, one line per key; values begin after `width` characters."""
    print("\n".join(f"{name:{width}} {value}" for name, value in report.items()))


def write_report(report: dict[str, Any], file: Path | None) -> None:
    """Write a report as JSON where a file is named. Raises OSError."""
    if file is not None:
        with write_aside(file) as aside:
            aside.write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
