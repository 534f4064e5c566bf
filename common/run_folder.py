"""What a run leaves on disk, written at the end of each epoch.

A run folder holds `train_config.json`, `last.ckpt` (to resume), `best/` (the model, for every other script),
`metrics.csv` and `curves.png` (one row and one point per epoch; drawn every ten seconds and at the end), and
TensorBoard events.
"""

import csv
import shutil
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from common.cli import print_note
from common.distributed import step_seed
from common.errors import DataError, ModelError
from common.export import export
from common.files import write_aside
from common.memory import release_freed_memory
from common.pretrained import PretrainedModel

if TYPE_CHECKING:
    from common.training import TrainConfig

_DRAW_SECONDS = 10.0  # between two drawings of the curves, which take half a second
_RELEASE_SECONDS = 30.0  # between two times that freed memory goes back to the system
CONFIG_FILE, LAST, BEST = "train_config.json", "last.ckpt", "best"


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint under another name, then renames it: the old one survives a full disk or a kill."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save to `path`. Raises OSError on a full disk; the file at `path` is then unchanged."""
        path = Path(path)
        try:
            with write_aside(path) as aside, aside.open("wb") as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:  # torch's writer turns a failed write into a RuntimeError
            raise OSError(
                f"{path} could not be written ({error}); the checkpoint before it is whole"
            ) from error

    def load_checkpoint(self, path: Any, *args: Any, **options: Any) -> dict[str, Any]:
        """Load `path`. Raises DataError where a byte of it is not as it was written."""
        try:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()  # torch does not compare the checksums
            if damaged is None:
                checkpoint: dict[str, Any] = super().load_checkpoint(path, *args, **options)
                _ = [checkpoint[name] for name in ("state_dict", "callbacks", "lr_schedulers", "epoch")]
                return checkpoint
        except Exception as error:  # damage shows in many ways
            damaged = " ".join(str(error).split())
        raise DataError(
            f"{path}: damaged ({damaged}), so that the run cannot be resumed; its best model is whole: "
            "start a new run in another --out"
        )


def clear_leftovers(out: Path) -> None:
    """Remove what a kill left half-written in a run folder; `best` returns where it was being exchanged."""
    new, best, old = (out / name for name in (f"{BEST}.new", BEST, f"{BEST}.old"))
    if old.is_dir() and not best.exists():
        old.rename(best)
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    for file in out.glob("*.tmp"):
        file.unlink(missing_ok=True)


class RunFolder(Checkpoint):
    """Seeds each step; writes metrics, curves, best model and last checkpoint at the end of each epoch."""

    def __init__(
        self, config: "TrainConfig", model: PretrainedModel, monitor: str, mode: str, report: tuple[str, ...]
    ) -> None:
        self.config, self.model, self.monitor, self.mode, self.report = config, model, monitor, mode, report
        self.history: list[dict[str, float]] = []
        self._started = self._released = time.monotonic()
        self._drawn = float("-inf")
        self._steps: list[int] = []

    def state_dict(self) -> dict[str, Any]:
        """The history; goes into the checkpoint."""
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The history, from the checkpoint."""
        self.history = state_dict["history"]

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Leave the schedule's length to the flags, which may name more epochs."""
        states = checkpoint["lr_schedulers"]
        self._steps = [state.pop("total_steps") for state in states]
        for state in states:
            del state["_schedule_phases"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Where the run became longer, go on with the learning rate of the longer schedule, and say so.

        One that had stopped early, and did not become longer, stays as it is.
        """
        schedules: list[Any] = [config.scheduler for config in trainer.lr_scheduler_configs]
        if not self._steps or self._steps == [schedule.total_steps for schedule in schedules]:
            for stopping in trainer.early_stopping_callbacks:
                if stopping.stopped_epoch or stopping.wait_count >= stopping.patience:
                    trainer.should_stop = True  # as it was told to before
                    if trainer.is_global_zero:
                        print(f"the run had stopped early, after epoch {len(self.history)}", flush=True)
            return
        for schedule in schedules:
            schedule.last_epoch -= 1
            schedule.step()
        for stopping in trainer.early_stopping_callbacks:
            stopping.wait_count = stopping.stopped_epoch = (
                0  # the epochs without a better metric were another schedule's
            )
        if trainer.is_global_zero:
            print(
                f"resumed with more epochs: from epoch {trainer.current_epoch + 1} on the learning rate "
                f"follows the one-cycle schedule of a run of {self.config.epochs}",
                flush=True,
            )

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Make the step's randomness independent of what ran before it; bound the memory of the process."""
        if time.monotonic() > self._released + _RELEASE_SECONDS:
            release_freed_memory()
            self._released = time.monotonic()
        torch.manual_seed(step_seed(self.config.seed, trainer.global_step, trainer.global_rank))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write everything that the run keeps."""
        row: dict[str, float] = {"epoch": trainer.current_epoch + 1}
        row |= {name: float(trainer.callback_metrics[name]) for name in self.report}
        row["seconds"] = round(time.monotonic() - self._started, 2)
        sign = 1 if self.mode == "max" else -1
        better = all(sign * row[self.monitor] >= sign * past[self.monitor] for past in self.history)
        self.history.append(row)
        if trainer.is_global_zero:
            if better or self.config.keep == "last":
                self._save_best(row)
            self._write_history()
            if time.monotonic() > self._drawn + _DRAW_SECONDS:
                self.draw_curves()
            values = "  ".join(f"{name} {row[name]:.4g}" for name in self.report)
            print(f"epoch {row['epoch']}/{self.config.epochs}  {values}  {row['seconds']:.1f} s", flush=True)
        trainer.save_checkpoint(self.config.out / LAST)

    def draw_curves(self) -> None:
        """Draw the history so far."""
        if self.history:
            plot_curves(self.history, self.config.out / "curves.png")
        self._drawn = time.monotonic()

    def _save_best(self, row: dict[str, float]) -> None:
        """Save in a folder next to `best`, then exchange the two."""
        self.model.info["metrics"] = {name: round(row[name], 4) for name in self.report}
        self.model.info["epoch"] = row["epoch"]
        self.model.info["minutes"] = round(sum(past["seconds"] for past in self.history) / 60, 1)
        new, best, old = (self.config.out / name for name in (f"{BEST}.new", BEST, f"{BEST}.old"))
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            self.model.save_pretrained(new)
        except OSError as error:
            shutil.rmtree(new, ignore_errors=True)
            raise OSError(
                f"{best} could not be written ({error}); the checkpoint before it is whole, as is the model"
            ) from error
        if best.exists():
            best.rename(old)
        new.rename(best)
        shutil.rmtree(old, ignore_errors=True)

    def _write_history(self) -> None:
        with (
            write_aside(self.config.out / "metrics.csv") as aside,
            aside.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, list(self.history[0]))
            writer.writeheader()
            writer.writerows(self.history)


def export_best(kind: type[PretrainedModel], best: Path) -> None:
    """Give the best model of a run its graphs; where that fails it runs on torch, and a line says why."""
    try:
        export(kind, best)
    except ModelError as error:
        print_note(error)


def plot_curves(history: list[dict[str, float]], file: Path) -> None:
    """Draw each metric over the epochs, one panel per metric, as PNG; counts (`num_...`) are left out."""
    from matplotlib.figure import Figure

    names = [name for name in history[0] if name not in ("epoch", "seconds") and not name.startswith("num_")]
    figure = Figure(figsize=(3.6 * len(names), 3), layout="constrained")
    axes = figure.subplots(1, len(names), squeeze=False)[0]
    epochs = [row["epoch"] for row in history]
    for axis, name in zip(axes, names, strict=True):
        axis.plot(epochs, [row[name] for row in history], marker="o", markersize=3)
        axis.set(title=name, xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    with write_aside(file) as aside:
        figure.savefig(aside, dpi=110, format="png")
