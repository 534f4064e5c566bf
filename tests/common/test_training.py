"""What `fit` makes of the flags that every training has."""

import csv
import json
import os
import pickle
import signal
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from common.errors import DataError, UsageError
from common.files import locked
from common.loading import PartsData
from common.training import TrainConfig, TrainingSystem, fit, one_cycle, prepare_run


class Model(nn.Module):
    """Stands for a model: it says what it saved."""

    def __init__(self, value=1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.full((4,), value))
        self.info = {}
        self.has_graphs = False

    def save_pretrained(self, folder):
        folder.mkdir()
        (folder / "info.json").write_text(json.dumps(self.info))


class System(TrainingSystem):
    """Squares, `scale` times as steep; the score of each epoch of val is the next of `scores`.

    Attributes:
        seen: the samples of each epoch, in order.
        norms: length of the gradient at each step.
    """

    def __init__(self, config, scale=1.0, scores=(), batches=None):
        super().__init__()
        self.model, self.config, self.scale, self.scores = Model(), config, scale, list(scores)
        self.seen, self.norms, self.rates = [], [], []

    def on_train_epoch_start(self):
        super().on_train_epoch_start()
        self.seen.append([])

    def training_step(self, batch, index):
        self.seen[-1] += batch[0].tolist()
        return self.mean_over_batch(
            self.scale * self.model.weight.square().sum() * len(batch[0]), len(batch[0])
        )

    def validation_step(self, batch, index):
        pass

    def on_validation_epoch_end(self):
        self.log("score", self.scores.pop(0) if self.scores else 1.0)

    def configure_optimizers(self):
        found = one_cycle(self.model.parameters(), self.config, self.trainer)
        optimizer = found["optimizer"]

        def note(*_):
            self.norms.append(self.model.weight.grad.norm().item())
            self.rates.append(optimizer.param_groups[0]["lr"])

        optimizer.register_step_post_hook(note)
        return found


@pytest.fixture
def train(tmp_path):
    """Train on ten samples, four a step -> the system."""

    def run(name="run", scale=1.0, scores=(), mode="max", inside=lambda: None, **flags):
        values = {"epochs": 3, "batch_size": 4, "workers": 0, "device": "cpu", "precision": "fp32", **flags}
        config = TrainConfig(out=tmp_path / name, **values)
        system = System(config, scale, scores)
        parts = {"train": TensorDataset(torch.arange(10)), "val": TensorDataset(torch.arange(2))}
        data = PartsData(lambda: inside() or parts, None, config)
        fit(system, data, config, model=system.model, monitor="score", mode=mode)
        return system

    return run


def history(folder):
    with (folder / "metrics.csv").open() as file:
        return [(float(row["train_loss"]), float(row["score"])) for row in csv.DictReader(file)]


def test_every_epoch_draws_every_sample_in_a_new_order_that_the_seed_gives(train):
    first, again, other = train("a"), train("b"), train("c", seed=1)
    assert all(sorted(epoch) == list(range(10)) for epoch in first.seen)
    assert len({tuple(epoch) for epoch in first.seen}) == 3
    assert again.seen == first.seen
    assert other.seen != first.seen


def test_the_gradient_is_clipped_as_told(train):
    assert train("free", gradient_clip=0.0, learning_rate=1e-6).norms == pytest.approx([4.0] * 9, rel=1e-3)
    assert train("cut", gradient_clip=0.5, learning_rate=1e-6).norms == pytest.approx([0.5] * 9, rel=1e-3)


def test_weights_decay_as_told(train):
    still = train("still", scale=0.0)
    assert torch.equal(still.model.weight, torch.ones(4))
    decayed = train("decayed", scale=0.0, weight_decay=0.5, learning_rate=0.1)
    assert len(decayed.rates) == 9
    left = torch.tensor([1 - 0.5 * rate for rate in decayed.rates]).prod()
    assert left < 0.9
    torch.testing.assert_close(decayed.model.weight.detach(), left.expand(4))


def test_the_learning_rate_has_its_peak_once(train):
    rates = train(learning_rate=0.2, epochs=4).rates
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(0.2, rel=0.05)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


@pytest.mark.parametrize(("patience", "epochs"), [(1, 3), (2, 4), (0, 8)])
def test_training_stops_when_nothing_gets_better(train, tmp_path, patience, epochs):
    train(scores=[1, 2, 2, 1, 1, 1, 1, 1], epochs=8, patience=patience)
    assert len(history(tmp_path / "run")) == epochs


@pytest.mark.parametrize("patience", [1, 2])
def test_a_run_that_stopped_early_does_not_train_on_when_resumed(train, tmp_path, patience, capsys):
    flags = {"scores": [2, 2, 1, 1, 1, 1, 1, 3], "epochs": 8, "patience": patience}
    train(**flags)
    before = {
        f: f.read_bytes() for f in (tmp_path / "run").rglob("*") if f.is_file() and "events" not in f.name
    }
    for _ in range(2):
        assert train(resume=True, **flags).seen == []
        assert f"stopped early, after epoch {1 + patience}" in capsys.readouterr().out
    assert before == {file: file.read_bytes() for file in before}
    assert len(train(resume=True, **{**flags, "epochs": 10}).seen) > 0


def test_a_run_that_found_no_number_stays_stopped(train, tmp_path):
    flags = {"scores": [1, 2, float("nan"), 3, 3], "epochs": 5, "patience": 4}
    train(**flags)
    assert len(history(tmp_path / "run")) == 3
    assert train(resume=True, **flags).seen == []


def test_two_runs_exclude_each_other(train, tmp_path):
    with pytest.raises(UsageError, match="another training is at work there"):
        train(inside=lambda: train(resume=True))
    with pytest.raises(UsageError, match="another run has begun there meanwhile"):
        train(epochs=4)
    train(resume=True, epochs=4)
    assert len(history(tmp_path / "run")) == 4


def test_a_lock_dies_with_its_process_though_its_workers_live_on(tmp_path):
    code = (
        "import os, sys, time; from pathlib import Path; from common.files import locked\n"
        "with locked(Path(sys.argv[1])) as free:\n"
        "    child = os.fork()\n"
        "    os.write(1, f'{free} {child}\\n'.encode())\n"  # the worker's line comes when it is at work
        "    time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True)
    free, child = zip(*(holder.stdout.readline().split() for _ in range(2)), strict=True)
    assert free == ("True", "True")
    with locked(tmp_path) as free:
        assert not free
    holder.kill()
    holder.wait()
    with locked(tmp_path) as free:
        assert free
    os.kill(max(map(int, child)), signal.SIGKILL)


def test_what_a_kill_left_half_written_is_cleared(train, tmp_path):
    train()
    run = tmp_path / "run"
    wanted = (run / "best" / "info.json").read_bytes()
    (run / "best").rename(run / "best.old")  # between the two renames
    (run / "best.new").mkdir()
    for name in ("last.ckpt.tmp", "metrics.csv.tmp", "curves.png.tmp", "train_config.json.tmp"):
        (run / name).write_text("half")
    train(resume=True)
    assert (run / "best" / "info.json").read_bytes() == wanted
    assert {file.name for file in run.iterdir()} == {
        "best", "curves.png", "last.ckpt", "metrics.csv", "tensorboard", "train_config.json",
    }  # fmt: skip


def cut(data):
    return data[: len(data) // 2]


def flipped(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("damage", [cut, flipped, lambda _: b"", lambda _: pickle.dumps({"epoch": 1})])
def test_a_damaged_checkpoint_is_one_line(train, tmp_path, damage):
    train(epochs=2)
    file = tmp_path / "run" / "last.ckpt"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match=r"last.ckpt: damaged .*start a new run in another --out") as error:
        train(epochs=3, resume=True)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "no JSON"),
        (lambda _: b"", "no JSON"),
        (lambda _: b"[]", "what it holds is []"),
        (
            lambda data: data.replace(b'"epochs": 3', b'"epochs": "3"'),
            "epochs is '3', expected a whole number",
        ),
        (lambda data: data.replace(b'"keep": "best"', b'"keep": 5'), "keep is 5, expected one of best, last"),
        (lambda _: b"\xff\xfe", "train_config.json"),
    ],
)
def test_damaged_flags_are_one_line(train, tmp_path, damage, message):
    train()
    file = tmp_path / "run" / "train_config.json"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError) as error:
        prepare_run(TrainConfig(out=tmp_path / "run", resume=True, epochs=3, batch_size=4, workers=0))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"epochs": 0}, "--epochs 0: must be at least 1"),
        ({"batch_size": -1}, "--batch-size -1: must be at least 1"),
        ({"learning_rate": float("nan")}, "--learning-rate is nan, expected a finite number"),
        ({"workers": -1}, "--workers -1: must be at least 0"),
    ],
)
def test_flags_out_of_range_are_refused(tmp_path, flags, message):
    with pytest.raises(UsageError, match=message):
        prepare_run(TrainConfig(out=tmp_path / "run", **flags))


@pytest.mark.parametrize(
    ("mode", "keep", "epoch"),
    [("max", "best", 3), ("min", "best", 4), ("max", "last", 5), ("min", "last", 5)],
)
def test_the_epoch_that_is_kept(train, tmp_path, mode, keep, epoch):
    train(scores=[2, 3, 3, 1, 2], mode=mode, keep=keep, epochs=5, patience=0)
    assert json.loads((tmp_path / "run" / "best" / "info.json").read_text())["epoch"] == epoch


def test_a_training_gives_freed_memory_back(train, monkeypatch):
    times = []
    monkeypatch.setattr("common.run_folder.release_freed_memory", lambda: times.append(1))
    train("seldom")
    assert times == []
    monkeypatch.setattr("common.run_folder._RELEASE_SECONDS", 0.0)
    train("often")
    assert len(times) == 9


def test_curves_are_drawn_after_the_first_epoch_and_at_the_end(train, monkeypatch):
    drawn = []
    monkeypatch.setattr("common.run_folder.plot_curves", lambda history, _: drawn.append(len(history)))
    train("seldom", epochs=4)
    assert drawn == [1, 4]
    monkeypatch.setattr("common.run_folder._DRAW_SECONDS", 0.0)
    train("often", epochs=4)
    assert drawn[2:] == [1, 2, 3, 4, 4]


def test_the_loss_of_an_epoch_is_the_mean_of_its_steps(train, tmp_path):
    train(learning_rate=1e-9, epochs=1, scale=2.0)
    assert history(tmp_path / "run")[0] == pytest.approx((8.0, 1.0))
