"""What every training promises: it resumes to the same weights, and two processes train as one."""

import importlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from common.model_folder import read_config
from tests import runs

BEST = Path("best", "model.safetensors")
EPOCHS = ("--epochs", 3)
RANDOM = {
    "captioning": ("--init-from", "{root}/concepts", "--text", "{root}/text.txt", "--paired", 0.3,
                   "--exchanged", 0.5, "--scheduled-sampling", 0.3),
    "ocr": ("--dropout", 0.1, "--synthetic", 10),
    "line_finder": ("--dropout", 0.1, "--drawn", 4, "--val-drawn", 1),
    "video": ("--dropout", 0.3, "--views", 2),
    "segmentation": ("--dropout", 0.1),
    "vqa": ("--dropout", 0.3),
    "forecasting": ("--dropout", 0.1),
    "language": ("--input-dropout", 0.1, "--dropout", 0.3, "--weight-dropout", 0.3),
    "translation": ("--dropout", 0.3),
    "speech": ("--dropout", 0.2, "--join", 2),
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
def test_the_best_model_has_its_graphs_when_training_ends(whole, task):
    best = whole(task) / "best"
    config = read_config(best)
    package, name = ("ocr", "FinderOnGraphs") if task == "line_finder" else (config["task"], "OnGraphs")
    graphs = getattr(importlib.import_module(f"{package}.on_graphs"), name)(best, config, "fp32")
    assert graphs.parameters > 0
    assert set(graphs.names) == {file.stem for file in best.glob("*.xml")}


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
    assert runs.run([*resumed, "--workers", "1"], log) == [0], log.read_text()
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
    "line_finder": 9,
    "video": 21,
    "segmentation": 11,
    "vqa": 41,
    "translation": 41,
    "speech": 21,
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


@pytest.mark.slow
def test_two_machines_train_as_one_and_each_reads_its_share(tmp_path):
    """`torchrun --nnodes 2`, with data and run folder at paths of their own on each machine."""
    script, *flags = runs.command("segmentation", tmp_path / "a")
    flags += ["--epochs", "1"]
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert runs.run([script, *flags, "--out", tmp_path / "alone"], tmp_path / "log") == [0]
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    machines = []
    for rank, name in enumerate("ab"):
        folder = tmp_path / name
        command = [
            sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1",
            "--node-rank", str(rank), "--master-addr", "localhost", "--master-port", port,
            "-m", "tests.runs", str(folder / "opened"), script,
            *(flag.replace(str(tmp_path / "a"), str(folder)) for flag in flags), "--out", str(folder / "run"),
        ]  # fmt: skip
        machines.append(
            subprocess.Popen(
                command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.STDOUT,
                stdout=(folder / "log").open("w"),
            )
        )  # fmt: skip
    try:
        for machine, name in zip(machines, "ab", strict=True):
            assert machine.wait(240) == 0, (tmp_path / name / "log").read_text()
    finally:
        for machine in machines:
            machine.terminate()  # and what it started
    one, two = runs.history(tmp_path / "alone")[0], runs.history(tmp_path / "a" / "run")[0]
    assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-4, abs=1e-3)
    assert not [file for file in (tmp_path / "b" / "run").rglob("*") if file.is_file()]
    opened = {}
    for name in "ab":
        files = (tmp_path / name / "opened").read_text().splitlines()
        assert all(Path(file).is_relative_to(tmp_path / name) for file in files)
        opened[name] = Counter(str(Path(file).relative_to(tmp_path / name)) for file in files)
    every = [str(file.relative_to(tmp_path / "a")) for file in (tmp_path / "a" / "data").rglob("*.png")]
    # each machine looks at the sizes and the labels of all before it begins; the epoch's samples are shared
    assert opened["a"] + opened["b"] == dict.fromkeys(every, 3)
    assert opened["a"].total() == opened["b"].total()
