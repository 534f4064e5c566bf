"""What every training promises: it resumes to the same weights, and two processes train as one."""

import signal

import pytest
import torch

from tests import runs

EPOCHS = ("--epochs", 3)
RANDOM = {
    "captioning": ("--dropout", 0.3, "--scheduled-sampling", 0.3),
    "ocr": ("--dropout", 0.1, "--synthetic", 10),
    "video": ("--dropout", 0.3, "--views", 2),
    "segmentation": ("--dropout", 0.1),
    "vqa": ("--dropout", 0.3),
    "forecasting": ("--dropout", 0.1),
    "language": ("--input-dropout", 0.1, "--dropout", 0.3, "--weight-dropout", 0.3),
    "translation": ("--dropout", 0.3),
}
"""Flags that make use of random numbers, which a resumed run must draw again."""


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return lambda task, *flags: [*runs.command(task, folder / task), *map(str, (*EPOCHS, *flags))]


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
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_and_resumed_ends_at_the_same_weights(command, whole, tmp_path, task, stop):
    arguments, log, cut = command(task, *RANDOM.get(task, ())), tmp_path / "log", tmp_path / "cut"
    code = runs.run([*arguments, "--out", cut], log, stop=stop)
    assert code == [130 if stop == signal.SIGINT else -stop], log.read_text()
    assert [row["epoch"] for row in runs.history(cut)] == [1]
    assert ("interrupted" in log.read_text()) == (stop == signal.SIGINT)
    assert "Traceback" not in log.read_text()
    assert runs.run([*arguments, "--out", cut, "--resume"], log) == [0], log.read_text()
    assert "epoch 1/3" not in log.read_text()
    assert "epoch 2/3" in log.read_text()
    wanted, resumed = runs.weights(whole(task)), runs.weights(cut)
    assert wanted.keys() == resumed.keys()
    for name, tensor in wanted.items():
        assert torch.equal(tensor, resumed[name]), name
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
