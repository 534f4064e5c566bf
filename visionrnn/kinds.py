"""The kinds of trained models, found by what a model folder says of itself; needs torch."""

import importlib
from pathlib import Path
from typing import Any

from common.errors import ModelError
from common.model_folder import find_folder, read_config
from common.pretrained import PretrainedModel
from visionrnn.tasks import TASKS


def find_model(name: str) -> tuple[type[PretrainedModel], Path]:
    """A model or run folder, or a bundled model -> its class and its folder. Raises ModelError."""
    modules = [importlib.import_module(f"{task.package}.model") for task in TASKS]
    modules.append(importlib.import_module("ocr.finder"))
    kinds = {kind.task: kind for module in modules for kind in vars(module).values() if _is_model(kind)}
    folder = find_folder(name, {n: place for kind in kinds.values() for n, place in kind.bundled().items()})
    task = read_config(folder)["task"]
    if task not in kinds:
        raise ModelError(f"{folder}: a model for {task}; expected one for {', '.join(sorted(kinds))}")
    return kinds[task], folder


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, PretrainedModel) and hasattr(kind, "task")
