"""`visionrnn models`: the models that come along, from the headers of their cards."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from common.cli import print_json, print_row
from visionrnn.tasks import TASKS


@dataclass(frozen=True, kw_only=True)
class Config:
    """List the models that come along: task, name, size, scores, terms.

        visionrnn models
        visionrnn models --json

    The card of a model, README.md in its folder, says more.
    """

    json: bool = False
    """Print one JSON object per model."""


def cards() -> dict[Path, tuple[str, dict[str, Any]]]:
    """The folder of each bundled model -> its task's title and the header of its card."""
    found = {}
    for task in TASKS:
        spec = importlib.util.find_spec(task.package)
        for place in (spec and spec.submodule_search_locations) or ():
            for card in sorted(Path(place).glob("pretrained/*/README.md")):
                found[card.parent] = task.title, header(card)
    return found


def header(card: Path) -> dict[str, Any]:
    """What stands between the first two lines of `---`, as the Hugging Face hub reads it."""
    values: dict[str, Any] = yaml.safe_load(card.read_text(encoding="utf-8").split("---\n")[1])
    return values


def main(config: Config) -> None:
    """Print a line for each model."""
    for folder, (task, values) in cards().items():
        size = round(sum(file.stat().st_size for file in folder.iterdir()) / 1e6, 1)
        scores = [
            {"dataset": result["dataset"]["name"], "name": metric["name"], "value": metric["value"]}
            for result in values["model-index"][0]["results"]
            for metric in result["metrics"]
        ]
        terms = values.get("license_name", values["license"])
        if config.json:
            print_json(
                {"path": str(folder), "task": task, "model": folder.name, "megabytes": size, "scores": scores,
                 "terms": terms}
            )  # fmt: skip
        else:
            shown = "; ".join(f"{s['name']} {s['value']} on {s['dataset']}" for s in scores)
            print_row(task, folder.name, f"{size} MB", shown, terms)
