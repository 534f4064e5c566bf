"""`visionrnn export`: what the command does with its flags."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from common.cli import needs_extra
from common.errors import ModelError
from common.model_folder import find_folder, read_config
from visionrnn.tasks import TASKS


@dataclass(frozen=True, kw_only=True)
class Config:
    """Give a model the graphs by which it runs without torch.

        visionrnn export runs/mine --out DIR
        visionrnn export DIR

    The graphs are compared with torch on three inputs, and written only where they give the same values.
    Training does this by itself when it ends.
    """

    model: Annotated[str, tyro.conf.Positional]
    """A model or run folder, or a bundled model."""
    out: Path | None = None
    """Folder to write; without it the graphs are written beside the weights of the model."""


def main(config: Config) -> None:
    """Write the graphs. Raises ModelError."""
    with needs_extra("train"):
        from common.export import export

        modules = [importlib.import_module(f"{task.package}.model") for task in TASKS]
        modules.append(importlib.import_module("ocr.finder"))
    kinds = {kind.task: kind for module in modules for kind in vars(module).values() if _is_model(kind)}
    bundled = {name: folder for kind in kinds.values() for name, folder in kind.bundled().items()}
    folder = find_folder(config.model, bundled)
    task = read_config(folder)["task"]
    if task not in kinds:
        raise ModelError(f"{folder}: a model for {task}; expected one for {', '.join(sorted(kinds))}")
    export(kinds[task], folder, config.out)
    print(config.out or folder)


def _is_model(kind: Any) -> bool:
    from common.pretrained import PretrainedModel

    return isinstance(kind, type) and issubclass(kind, PretrainedModel) and hasattr(kind, "task")
