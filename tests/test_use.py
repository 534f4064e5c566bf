"""Whoever uses a model does not wait for what trains one."""

import json
import subprocess
import sys

import pytest

TASKS = ("captioning", "forecasting", "ocr", "segmentation", "video", "vqa")
TRAINING = ("pytorch_lightning", "torchmetrics", "tensorboard", "pycocotools")


@pytest.fixture(scope="module")
def loaded():
    """What each task loads of what training needs; one process, since torch takes seconds to import."""
    code = (
        "import importlib, json, sys\n"
        "found, before = {}, set()\n"
        f"for task in {TASKS}:\n"
        "    importlib.import_module(task)\n"
        f"    found[task] = sorted(set({TRAINING}) & (set(sys.modules) - before))\n"
        "    before = set(sys.modules)\n"
        "print(json.dumps(found))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("task", TASKS)
def test_using_a_task_loads_nothing_of_training(loaded, task):
    assert loaded[task] == []
