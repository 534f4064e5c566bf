"""Several processes that train one model: which samples each takes, sums over all, BatchNorm over the batch.

Without a process group everything here is what one process does alone.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from timm.layers import BatchNormAct2d
from torch import distributed, nn
from torch.distributed.nn import functional as differentiable
from torch.utils.data import Sampler


def rank_and_world() -> tuple[int, int]:
    """Number of this process, and how many there are."""
    return (distributed.get_rank(), distributed.get_world_size()) if _is_started() else (0, 1)


def _is_started() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def global_sum(value: torch.Tensor) -> torch.Tensor:
    """Sum over all processes, without gradient. `value` must be on the device that the process trains on."""
    value = value.detach().clone()
    if _is_started():
        distributed.all_reduce(value)
    return value


def global_max(value: torch.Tensor) -> torch.Tensor:
    """Maximum over all processes, without gradient. See `global_sum`."""
    value = value.detach().clone()
    if _is_started():
        distributed.all_reduce(value, distributed.ReduceOp.MAX)
    return value


def gather(value: list[Any]) -> list[Any]:
    """The lists of all processes, one after the other."""
    if not _is_started():
        return value
    parts: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(parts, value)
    return [item for part in parts for item in part]


class EpochSampler(Sampler[int]):
    """Indices for this process; over all processes together each index once.

    Lightning gives torch's DistributedSampler the epoch only after workers have drawn its first batches, so
    that a resumed run would repeat the order of epoch 0. This one reads it from the trainer.

    Args:
        size: samples in the data set.
        seed: of the order.
        shuffle: a new order each epoch, the same for any number of processes. Without it the shares differ by
            one at most, and none is repeated.
        trainer: has the number of the epoch; None is epoch 0.
        batch_size: samples a step over all processes, a multiple of their number. Where the last step of an
            epoch has fewer samples than there are processes, its samples are repeated, as every process takes
            part in every step. 0 is one sample a process.
        drop_last: leave out the last step of an epoch where it is not full.
    """

    def __init__(
        self,
        size: int,
        seed: int,
        *,
        shuffle: bool,
        trainer: Any,
        batch_size: int = 0,
        drop_last: bool = False,
    ) -> None:
        self.rank, self.world = rank_and_world()
        self.size, self.seed, self.shuffle, self.trainer = size, seed, shuffle, trainer
        last = size % (batch_size or self.world) if shuffle else 0
        self.dropped = last if drop_last else 0
        self.repeated = self.world - last if 0 < last < self.world and not drop_last else 0

    def __iter__(self) -> Iterator[int]:
        if not self.shuffle:
            return iter(range(self.rank, self.size, self.world))
        generator = torch.Generator().manual_seed(hash((self.seed, epochs_trained(self.trainer))) % 2**63)
        order = torch.randperm(self.size, generator=generator).tolist()
        order = order[: self.size - self.dropped]
        order += (order[self.repeated - self.world :] * self.world)[: self.repeated]
        return iter(order[self.rank :: self.world])

    def __len__(self) -> int:
        return -(-(self.size - self.dropped + self.repeated - self.rank) // self.world)


class DrawSampler(EpochSampler):
    """Draws of an epoch: position and a seed that no other draw has."""

    def __iter__(self) -> Iterator[Any]:
        epoch = epochs_trained(self.trainer)
        for index in super().__iter__():
            yield index, hash((self.seed, epoch, index)) % 2**63


def epochs_trained(trainer: Any) -> int:
    """Epochs that a `pl.Trainer` trained; on resuming, its `current_epoch` counts one less. None has 0."""
    progress: Any = trainer.fit_loop.epoch_progress.current if trainer else None
    return progress.processed if progress else 0


def step_seed(seed: int, step: int, rank: int) -> int:
    """Seed of a process for one step, so that the step's randomness does not depend on what ran before."""
    return hash((seed, step, rank)) % 2**63


def synchronize_batch_norm(module: nn.Module) -> None:
    """Let every BatchNorm that is trained normalize by the statistics of the batch of all processes.

    `torch.nn.SyncBatchNorm` does so on GPUs alone, and drops the activation of timm's layers.
    """
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.forward = partial(_normalize, layer)  # type: ignore[method-assign]


def _normalize(layer: Any, inputs: torch.Tensor) -> torch.Tensor:
    """BatchNorm over all processes (Ioffe & Szegedy 2015, algorithm 1): (N, C, ...) -> (N, C, ...).

    Sums are in fp64, as torch's own are on CPUs.
    """
    if not layer.training:
        return type(layer).forward(layer, inputs)
    axes = [0, *range(2, inputs.ndim)]
    shape = (1, -1, *[1] * (inputs.ndim - 2))
    values = inputs.float()
    sums = values.sum(axes, dtype=torch.float64)
    own_count = sums.new_tensor([values.numel() // len(sums)])
    total, count = differentiable.all_reduce(torch.cat([sums, own_count])).split([len(sums), 1])
    mean = (total / count).float()
    centred = values - mean.view(shape)
    squares = differentiable.all_reduce(centred.square().sum(axes, dtype=torch.float64))
    variance, unbiased = (squares / count).float(), (squares / (count - 1).clamp(min=1)).float()
    with torch.no_grad():
        layer.running_mean.lerp_(mean, layer.momentum)
        layer.running_var.lerp_(unbiased, layer.momentum)
        layer.num_batches_tracked += 1
    outputs = centred * (variance + layer.eps).rsqrt().view(shape)
    if layer.affine:
        outputs = outputs * layer.weight.view(shape) + layer.bias.view(shape)
    outputs = outputs.to(inputs.dtype)
    return layer.act(layer.drop(outputs)) if isinstance(layer, BatchNormAct2d) else outputs
