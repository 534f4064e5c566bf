"""One TrainConfig and one Trainer for all tasks.

A killed run continues at the epoch after its last checkpoint and ends at the same weights: every random
choice depends on the seed, the step and the process alone.
"""

import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.loggers import TensorBoardLogger
from torch.optim.swa_utils import AveragedModel

from common.device import Precision, pick_device, pick_precision
from common.distributed import global_sum, rank_and_world, step_seed, synchronize_batch_norm
from common.errors import DataError, UsageError
from common.files import load_json, locked, write_aside
from common.pretrained import PretrainedModel
from common.run_folder import (
    BEST,
    CONFIG_FILE,
    LAST,
    RunFolder,
    WholeCheckpointIO,
    clear_leftovers,
    export_best,
)
from common.schema import Range, checked, types_of


@dataclass(frozen=True)
class TrainConfig:
    """What every training has in common; a task's config adds its own flags."""

    out: Path
    """Run folder to write; must be new, or be given with --resume."""
    epochs: Annotated[int, Range(1)] = 20
    """Passes over the training part."""
    batch_size: Annotated[int, Range(1)] = 32
    """Samples per step, over all processes together."""
    learning_rate: float = 1e-3
    """Peak of the one-cycle schedule (Smith & Topin 2018)."""
    weight_decay: float = 0.0
    """AdamW's decay."""
    gradient_clip: float = 5.0
    """Largest norm of the gradient; 0 does not clip."""
    patience: Annotated[int, Range(0)] = 5
    """Epochs without a better validation metric after which training stops; 0 never stops early."""
    keep: Literal["best", "last"] = "best"
    """Which epoch's model is kept: the best on val (ties go to the later epoch), or the last, where val
    is too small to choose by."""
    seed: int = 0
    """Of everything random."""
    device: str = "auto"
    """auto, cpu or cuda."""
    devices: Annotated[int, Range(1)] = 1
    """Processes on this machine, one per GPU (or CPU part); torchrun sets this by itself."""
    precision: Precision = "auto"
    """auto (bf16 where the hardware has it), bf16 or fp32."""
    workers: Annotated[int, Range(0)] = 2
    """Data-loading processes for each training process."""
    limit: Annotated[int, Range(0)] = 0
    """Number of samples of each part to use; 0 is all."""
    resume: bool = False
    """Continue the run in --out from its last checkpoint, with the flags it was started with; --epochs may be
    more."""


C = TypeVar("C", bound=TrainConfig)

_FREE_ON_RESUME = {"out", "resume", "device", "devices", "workers"}


def prepare_run(config: C) -> C:
    """Check the flags; on --resume, give back the flags the run was started with, perhaps with more epochs.

    The folder itself is made by `fit`, so that a mistake found before it leaves no files.

    Raises:
        UsageError: a flag out of range, a folder already in use, nothing to resume, or a flag that
            contradicts the run to be resumed.
        DataError: the run's flags are damaged.
    """
    types = types_of(type(config))
    for name, value in _plain(config).items():
        try:
            checked(types[name], value, f"--{name.replace('_', '-')}")
        except ValueError as error:
            raise UsageError(str(error)) from None
    pick_device(config.device)
    file = config.out / CONFIG_FILE
    flags = {f.name: f for f in fields(config)}
    if not config.resume:
        half = f"{CONFIG_FILE}.tmp"  # all that is left of a run that was killed as it began
        used = config.out.exists() and (
            not config.out.is_dir() or any(file.name != half for file in config.out.iterdir())
        )
        if used and _is_first_process():
            raise UsageError(
                f"--out {config.out}: exists already; add --resume to continue it, or name another"
            )
        return config
    if not file.is_file():
        raise UsageError(
            f"--resume: {config.out} holds no run ({CONFIG_FILE} is missing); start without --resume"
        )
    with _sole_user(config.out):
        stored = _stored_flags(file, types)
    given = {argument.partition("=")[0].replace("_", "-") for argument in sys.argv[1:]}
    kept = {n: v for n, v in stored.items() if n in flags and n not in _FREE_ON_RESUME}
    for name, value in _plain(config).items():
        flag = f"--{name.replace('_', '-')}"
        default = json.loads(json.dumps(flags[name].default, default=str))
        if name in _FREE_ON_RESUME or value == stored.get(name) or (value == default and flag not in given):
            continue
        if name == "epochs" and value > stored["epochs"]:
            kept["epochs"] = value
            continue
        more = "give more, or leave the flag out" if name == "epochs" else "leave the flag out"
        raise UsageError(f"{flag} {value}: the run has {stored.get(name)}; {more}")
    return replace(config, **{name: checked(types[name], value, name) for name, value in kept.items()})


def _stored_flags(file: Path, types: dict[str, Any]) -> dict[str, Any]:
    """The flags that a run was started with, as JSON values. Raises DataError where they are damaged."""
    stored = load_json(file)
    try:
        checked(dict, stored, "what it holds")
        for name in types.keys() & stored.keys():
            checked(types[name], stored[name], name)
    except ValueError as error:
        raise DataError(f"{file}: damaged ({error}); start a new run in another --out") from None
    flags: dict[str, Any] = stored
    return flags


@contextmanager
def _sole_user(out: Path) -> Iterator[None]:
    """Keep other runs out of a run folder. Raises UsageError where one is at work in it."""
    if not _is_first_process():
        yield
        return
    with locked(out) as free:
        if not free:
            raise UsageError(f"--out {out}: another training is at work there; wait for it, or name another")
        yield


class TrainingSystem(pl.LightningModule):
    """A task's loss and metrics; the loss is divided once, over all processes.

    Logs `train_loss_step`, and as `train_loss` the mean over the steps of an epoch.
    """

    config: TrainConfig

    def mean_over_batch(self, total: torch.Tensor, count: torch.Tensor | float) -> torch.Tensor:
        """The loss of a step: `total` over the samples of this process -> the mean over those of all.

        Args:
            total: sum of the losses here.
            count: what `total` adds up: samples, words, weights.
        """
        total_count = global_sum(torch.as_tensor(count, dtype=torch.float32, device=total.device))
        # gradients are averaged over processes: undo that, so that each sample counts the same
        loss = total * rank_and_world()[1] / total_count.clamp(min=1e-6)
        self.log("train_loss_step", loss, batch_size=1)
        self._losses.append(loss.detach())
        return loss

    def draws(self, rows: int, device: torch.device) -> tuple[int, slice, torch.Generator | None]:
        """For random numbers that belong to a sample, whichever process holds it.

        Args:
            rows: samples of this process.
            device: where numbers are drawn.

        Returns:
            the samples of all processes, to draw numbers for each; which of them are this process's; and the
            generator to draw with. Only at the beginning of a step, as that of the first process is its own.
        """
        rank, world = rank_and_world()
        if world == 1:
            return rows, slice(None), None
        total_count = int(global_sum(torch.tensor(rows, device=self.device)))
        if rank == 0:
            return total_count, slice(0, None, world), None
        seed = step_seed(self.config.seed, self.trainer.global_step, 0)
        return total_count, slice(rank, None, world), torch.Generator(device).manual_seed(seed)

    def on_train_epoch_start(self) -> None:
        """Start the epoch's mean loss."""
        self._losses: list[torch.Tensor] = []

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clip by the norm. Lightning's own way refuses fused optimizers, for the sake of fp16's scaling."""
        if gradient_clip_val:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, gradient_clip_val)

    def on_train_epoch_end(self) -> None:
        """The epoch's mean loss over all processes."""
        self.log("train_loss", global_sum(torch.stack(self._losses).mean()) / rank_and_world()[1])


_SHARE, _FIRST_SHARES = 1e-3, 9.0  # of the mean of weights that the last step has; more in the first steps


def _follow(mean: Any, current: Any, steps: Any) -> None:
    if mean[0].is_floating_point():
        torch._foreach_lerp_(mean, current, max(_SHARE, _FIRST_SHARES / (10 + int(steps))))
    else:
        torch._foreach_copy_(mean, current)


class AveragedSystem(TrainingSystem):
    """A training in which the mean of the weights over all steps is validated and kept.

    The last thousand steps count most (Polyak & Juditsky 1992).

    Args:
        model: all of it is trained.

    Attributes:
        average: `average.module` is a copy of the model with the mean of its weights.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model: Any = model
        self.average = AveragedModel(model, multi_avg_fn=_follow, use_buffers=True).requires_grad_(False)

    def on_train_batch_end(self, *_: Any) -> None:
        """The mean of weights follows."""
        self.average.update_parameters(self.model)


def rated_groups(
    modules: Sequence[tuple[torch.nn.Module, float]], config: TrainConfig
) -> list[dict[str, Any]]:
    """Groups of parameters for `one_cycle`: what is trained of modules, each with its own rate.

    Norms and biases have no decay.

    Args:
        modules: each with its learning rate relative to that of the flags.
        config: learning rate and decay.
    """
    groups = []
    for module, rate in modules:
        for decays in (True, False):
            chosen = [p for p in module.parameters() if p.requires_grad and (p.ndim > 1) == decays]
            decay = config.weight_decay if decays else 0.0
            groups.append({"params": chosen, "lr": rate * config.learning_rate, "weight_decay": decay})
    return groups


def one_cycle(parameters: Any, config: TrainConfig, trainer: pl.Trainer) -> dict[str, Any]:
    """AdamW under a one-cycle schedule over the whole run, as `configure_optimizers` returns it.

    A group of parameters with its own `lr` has its peak there.
    """
    optimizer = torch.optim.AdamW(
        parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    # trainer.estimated_stepping_batches would draw the first batches before a checkpoint has set the epoch
    loader: Any = trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
    steps = max(2, config.epochs * len(loader))
    peaks = [group["lr"] for group in optimizer.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peaks, total_steps=steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def fit(
    system: pl.LightningModule,
    data: pl.LightningDataModule,
    config: TrainConfig,
    *,
    model: PretrainedModel,
    monitor: str,
    mode: str = "max",
    report: tuple[str, ...] = (),
) -> None:
    """Train `system` on `data` and leave a complete run folder at `config.out`.

    Args:
        system: computes loss and metrics; logs `train_loss` and `monitor` an epoch.
        data: the loaders. Their sampler is `EpochSampler`.
        config: as `prepare_run` gave it.
        model: what `best/` saves when `monitor` is no worse than before, or every epoch (`--keep last`).
        monitor: the task's metric on val.
        mode: `max` or `min`.
        report: further metrics to keep in the history and the curves.
    """
    config.out.mkdir(parents=True, exist_ok=True)
    with _sole_user(config.out):
        keep_flags(config)
        if _is_first_process():
            clear_leftovers(config.out)
        _fit(system, data, config, model, monitor, mode, report)


def _fit(
    system: pl.LightningModule,
    data: pl.LightningDataModule,
    config: TrainConfig,
    model: PretrainedModel,
    monitor: str,
    mode: str,
    report: tuple[str, ...],
) -> None:
    _quieten()
    device = pick_device(config.device)
    elastic = "TORCHELASTIC_RUN_ID" in os.environ
    devices = int(os.environ["LOCAL_WORLD_SIZE"]) if elastic else config.devices
    nodes = int(os.environ["WORLD_SIZE"]) // devices if elastic else 1
    if devices * nodes > 1:
        synchronize_batch_norm(system)
    folder = RunFolder(config, model, monitor, mode, ("train_loss", monitor, *report))
    callbacks: list[pl.Callback] = [folder]
    if config.patience:
        callbacks.append(EarlyStopping(monitor, patience=config.patience, mode=mode))
    trainer = pl.Trainer(
        max_epochs=config.epochs,
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=devices,
        num_nodes=nodes,
        strategy="ddp" if devices * nodes > 1 else "auto",
        precision="bf16-mixed" if pick_precision(config.precision, device) == "bf16" else "32-true",
        gradient_clip_val=config.gradient_clip or None,
        logger=TensorBoardLogger(config.out, name="", version="tensorboard"),
        callbacks=callbacks,
        plugins=[WholeCheckpointIO()],
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
    )
    last = config.out / LAST
    try:
        trainer.fit(
            system, data, ckpt_path=last if config.resume and last.is_file() else None, weights_only=True
        )
    except SystemExit:  # what Lightning makes of Ctrl-C
        if trainer.is_global_zero:
            folder.draw_curves()
        raise KeyboardInterrupt from None
    if trainer.is_global_zero:
        folder.draw_curves()
        if model.has_graphs:
            export_best(type(model), config.out / BEST)


def _plain(config: TrainConfig) -> dict[str, Any]:
    """The flags as JSON values."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config), default=str))
    return plain


def keep_flags(config: TrainConfig) -> None:
    """Keep the flags in the run folder; of a resumed run only the number of epochs may be new.

    Raises UsageError where another run has begun in the folder since `prepare_run` looked.
    """
    if not _is_first_process():
        return
    file, flags = config.out / CONFIG_FILE, _plain(config)
    if config.resume:
        flags = {**load_json(file), "epochs": config.epochs}
    elif file.exists():
        raise UsageError(f"--out {config.out}: another run has begun there meanwhile; name another")
    with write_aside(file) as aside:
        aside.write_text(json.dumps(flags, indent=1), encoding="utf-8")


def _is_first_process() -> bool:
    return all(int(os.environ.get(name, 0)) == 0 for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))


def _quieten() -> None:
    """Keep Lightning's hardware banners and hints about worker counts off the user's screen."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*module.s. in eval mode.*")  # what is frozen
    warnings.filterwarnings("ignore", ".*lr_scheduler.step.*before.*optimizer.step.*")
    warnings.filterwarnings("ignore", ".*number of training batches.*")
    warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.*")
