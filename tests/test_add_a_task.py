"""The worked example of docs/add_a_task.md is a task that works, and costs what it says."""

import importlib
import json
import re
import runpy
import sys
from pathlib import Path

import pytest

from tests.conftest import COLOURS, TINY_ENCODER, shape_picture

GUIDE = Path(__file__).parent.parent / "docs" / "add_a_task.md"


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The files of the guide, importable."""
    files = re.findall(
        r"^`([\w/]+\.py)`.*?^```python\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE
    )
    for name, code in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "sorting"]:
        del sys.modules[name]


def test_the_worked_example_trains_evaluates_and_sorts(example, encoder_weights, monkeypatch, capsys):
    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(example / "scripts" / name), run_name="__main__")
        return stopped.value.code, capsys.readouterr().out

    lines = sum(len(file.read_text().splitlines()) for file in example.rglob("*.py"))
    assert f"in {lines} lines of Python" in GUIDE.read_text()
    for split, count in (("train", 6), ("val", 2)):
        for colour in COLOURS:
            (example / "data" / split / colour).mkdir(parents=True)
            for i in range(count):
                picture = shape_picture(colour, "circle", seed=i + 10 * (split == "val"))
                picture.save(example / "data" / split / colour / f"{i}.png")
    flags = ("--data", example / "data", "--device", "cpu", "--precision", "fp32")
    code, _ = run(
        "train_sorting.py", *flags, "--out", example / "run", "--epochs", 12, "--encoder", TINY_ENCODER,
        "--encoder-weights", encoder_weights, "--image-size", 64, "--workers", 0, "--batch-size", 8,
        "--learning-rate", 0.02, "--patience", 0, "--cache", example / "cache",
    )  # fmt: skip
    assert code == 0
    (example / "data" / "val" / "red" / "2.png").write_text("x")
    report = example / "report.json"
    code, out = run("evaluate_sorting.py", *flags, "--model", example / "run", "--report", report)
    assert (code, "left out" in out) == (1, True)
    scores = json.loads(report.read_text())
    assert (scores["num_pictures"], scores["num_unreadable"]) == (8, 1)
    assert scores["accuracy"] >= 50
    code, out = run("sort.py", example / "data" / "val" / "blue", "--model", example / "run")
    assert (code, len(out.splitlines())) == (0, 2)
    assert out.splitlines()[0].split("\t")[1] in COLOURS
