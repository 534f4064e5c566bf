"""Whoever uses a model does not wait for what trains one."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from common.export import export
from tests.common.test_engine import tiny_forecaster
from tests.conftest import shape_picture, tiny_model
from tests.forecasting.conftest import write_series
from tests.language.conftest import tiny_language_model
from tests.ocr.conftest import tiny_recognizer
from tests.segmentation.conftest import CLASSES, tiny_segmenter
from tests.speech.conftest import write_wav
from tests.translation.conftest import tiny_translator
from tests.video.conftest import MOVES, moving_square, tiny_classifier, write_video
from tests.vqa.conftest import tiny_answerer

TASKS = (
    "captioning",
    "forecasting",
    "language",
    "ocr",
    "segmentation",
    "speech",
    "translation",
    "video",
    "vqa",
)
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


BLOCKED = ("torch", "torchvision", "timm", "safetensors", *TRAINING)


GONE = f"""
import sys
class Gone:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in {BLOCKED}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Gone())
from visionrnn.cli import main
main()
"""


def without_torch(*words):
    """The command in a process that can import nothing of torch."""
    return subprocess.run([sys.executable, "-c", GONE, *map(str, words)], capture_output=True, text=True)


USES = {
    "caption": (tiny_model, ("a.png",)),
    "read": (tiny_recognizer, ("a.png",)),
    "segment": (tiny_segmenter, ("a.png", "--out", "out")),
    "ask": (tiny_answerer, ("a.png", "what color is the shape?", "--out", "out")),
    "classify": (tiny_classifier, ("a.mp4", "--out", "out")),
    "forecast": (tiny_forecaster, ("a.csv", "--out", "out")),
    "write": (tiny_language_model, ("--prompt", "The", "--length", "9")),
    "translate": (tiny_translator, ("a.txt", "--attention", "a.pdf.png")),
}


@pytest.mark.parametrize("command", USES)
def test_commands_work_where_torch_is_not_installed(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, words = USES[command]
    model = make()
    if command == "forecast":
        columns = {"date_column": "date", "value_column": "value", "covariates": []}
        model.info = {"columns": columns, "frequency": "months"}
    model.save_pretrained("model")
    export(type(model), Path("model"))
    shape_picture("red", "circle").save("a.png")
    write_video(Path("a.mp4"), moving_square("left", 8))
    write_series(Path("a.csv"))
    Path("a.txt").write_text("A red dog.\n")
    done = without_torch(command, *words, "--model", "model")
    assert (done.returncode, done.stderr) == (0, "")


def test_speech_is_written_down_where_torch_is_not_installed(tmp_path):
    file = write_wav(tmp_path / "a.wav", np.zeros(8000, np.float32))
    done = without_torch("transcribe", file, "--model", "digits")
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


def test_a_training_says_what_to_install():
    done = without_torch("train", "segmentation", "--data", "a", "--out", "b")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: pytorch_lightning is not installed; run: pip install '.[train]'\n"


@pytest.mark.parametrize("task", TASKS)
def test_using_a_task_loads_nothing_of_training(loaded, task):
    assert loaded[task] == []


@pytest.mark.parametrize(
    ("make", "shape", "expected"),
    [
        (tiny_model, (2, 3, 64, 64), lambda model: (2, 1, model.max_length + 1, len(model.vocabulary))),
        (tiny_segmenter, (2, 3, 64, 80), lambda model: (2, len(CLASSES), 16, 20)),
        (tiny_classifier, (2, 2, 5, 3, 64, 64), lambda model: (2, len(MOVES))),
        (tiny_answerer, (2, 3, 64, 64), lambda model: (2, len(model.answers))),
        (tiny_recognizer, (2, 1, 32, 64), lambda model: (2, 16, len(model.charset))),
    ],
)
def test_every_model_is_called_with_images(make, shape, expected):
    model = make()
    with torch.inference_mode():
        found = model(torch.rand(shape))
    found = found[0] if isinstance(found, tuple) else found
    assert found.shape == expected(model)
    assert torch.isfinite(found).all()
