"""What every training promises: it resumes to the same weights, and two processes train as one."""

import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests import runs

BEST = Path("best", "model.safetensors")
EPOCHS = ("--epochs", 3)
RANDOM = {
    "captioning": ("--init-from", "{root}/concepts", "--text", "{root}/text.txt", "--paired", 0.3,
                   "--exchanged", 0.5, "--scheduled-sampling", 0.3),
    "ocr": ("--dropout", 0.1, "--synthetic", 10),
    "video": ("--dropout", 0.3, "--views", 2),
    "segmentation": ("--dropout", 0.1),
    "vqa": ("--dropout", 0.3),
    "forecasting": ("--dropout", 0.1),
    "language": ("--input-dropout", 0.1, "--dropout", 0.3, "--weight-dropout", 0.3),
    "translation": ("--dropout", 0.3),
}  # fmt: skip
"""Flags that make use of random numbers, which a resumed run must draw again."""


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")

    def words(task, *flags):
        named = [str(flag).format(root=folder / task) for flag in (*EPOCHS, *flags)]
        return [*runs.command(task, folder / task), *named]

    return words


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory):
    """A run of each task that nothing interrupts."""
    folder, done = tmp_path_factory.mktemp("whole"), set()

    def run(task):
        if task not in done:
            log = folder / f"{task}.log"
            code = runs.run(command(task, *RANDOM.get(task, ()), "--out", folder / task), log)
            assert code == [0], log.read_text()
            done.add(task)
        return folder / task

    return run


@pytest.mark.slow
@pytest.mark.parametrize("task", runs.TASKS)
def test_interrupted_killed_and_resumed_ends_at_the_same_weights(command, whole, tmp_path, task):
    """Ctrl-C in the second epoch; a kill in the third; then to the end, with another number of workers."""
    arguments, log, cut = command(task, *RANDOM.get(task, ())), tmp_path / "log", tmp_path / "cut"
    assert runs.run([*arguments, "--out", cut], log, stop=signal.SIGINT) == [130], log.read_text()
    assert [row["epoch"] for row in runs.history(cut)] == [1]
    assert "interrupted" in log.read_text()
    assert "Traceback" not in log.read_text()
    resumed = [*arguments, "--out", cut, "--resume"]
    assert runs.run(resumed, log, stop=signal.SIGKILL) == [-signal.SIGKILL], log.read_text()
    assert [row["epoch"] for row in runs.history(cut)] == [1, 2]
    assert runs.run([*resumed, "--workers", 1], log) == [0], log.read_text()
    assert "epoch 2/3" not in log.read_text()
    assert "epoch 3/3" in log.read_text()
    for wanted, found in (
        (runs.weights(whole(task)), runs.weights(cut)),
        (load_file(whole(task) / BEST), load_file(cut / BEST)),
    ):
        assert wanted.keys() == found.keys()
        for name, tensor in wanted.items():
            assert torch.equal(tensor, found[name]), name
    assert runs.history(cut) == runs.history(whole(task))


UNEVEN = {
    "captioning": 25,
    "self_critical": 29,
    "ocr": 45,
    "video": 21,
    "segmentation": 11,
    "vqa": 41,
    "translation": 41,
}
"""Samples of an epoch whose last step does not share evenly, or not among all."""


@pytest.mark.slow
@pytest.mark.parametrize("task", runs.TASKS)
def test_two_processes_train_as_one(command, tmp_path, task):
    histories = []
    for processes in (1, 2):
        log, out = tmp_path / f"{processes}.log", tmp_path / f"{processes}"
        flags = ("--epochs", 2, "--limit", UNEVEN.get(task, 0), "--out", out)
        code = runs.run(command(task, *flags), log, processes=processes)
        assert code == [0] * processes, log.read_text()
        assert log.read_text().count("epoch 2/2") == 1
        histories.append(runs.history(out))
    for one, two in zip(*histories, strict=True):
        compared = [name for name in one if name in ("train_loss", "reward") or name.startswith("num_")]
        for name in compared:  # OCR's loss is 14, and its gradients have many a step in flat pictures
            assert two[name] == pytest.approx(one[name], rel=1e-4, abs=1e-3), name
