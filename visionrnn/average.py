"""`visionrnn average`: what the command does with its flags."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from common.cli import command_line, needs_extra
from common.errors import ModelError, UsageError

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Config:
    """Average the weights of models that were trained on from the same one.

        visionrnn average runs/a runs/b runs/c --out runs/mean
        visionrnn average runs/a runs/b --weights 1 2 --out runs/mean

    The mean is one model, as fast as each of them, and often better than all (Wortsman et al. 2022, "Model
    soups"): it pays to train on with several seeds, or with and without rewards. Means of models that did not
    start from the same one are of no use. Score it on data that nothing was chosen on.
    """

    models: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Two or more model or run folders, or bundled models, of one architecture and the same words."""
    out: Path
    """Folder to write; must be new."""
    weights: tuple[float, ...] = ()
    """Of each model, in proportion; without them all count the same."""


def _numbers(model: "nn.Module") -> "dict[str, torch.Tensor]":
    """What a mean is taken of: all but counts and places."""
    return {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}


def main(config: Config) -> None:
    """Write the mean.

    Raises:
        UsageError: fewer than two models, weights that do not fit them, a folder that is there.
        ModelError: a model cannot be read, or differs from the first.
    """
    shares = config.weights or (1.0,) * len(config.models)
    if len(config.models) < 2:
        raise UsageError("a mean takes two models or more")
    if len(shares) != len(config.models) or min(shares) <= 0 or not sum(shares) < float("inf"):
        raise UsageError(f"--weights: give a number above 0 for each of the {len(config.models)} models")
    if config.out.exists():
        raise UsageError(f"--out {config.out}: is there already; name a new folder")
    with needs_extra("train"):
        from common.run_folder import export_best
        from visionrnn.kinds import find_model

    kind, folder = find_model(config.models[0])
    mean = kind.from_pretrained(folder)
    tensors = {name: tensor.float() * shares[0] for name, tensor in _numbers(mean).items()}
    architecture, minutes = mean.architecture(), mean.info.get("minutes", 0)
    for name, share in zip(config.models[1:], shares[1:], strict=True):
        other_kind, folder = find_model(name)
        if other_kind is not kind:
            raise ModelError(
                f"{folder}: a model for {other_kind.task}, {config.models[0]} is for {kind.task}"
            )
        other = kind.from_pretrained(folder)
        theirs = other.architecture()
        differs = [key for key, value in architecture.items() if theirs[key] != value]
        if differs:
            raise ModelError(
                f"{folder}: has another {differs[0]} than {config.models[0]}; train on from one model"
            )
        for key, tensor in _numbers(other).items():
            tensors[key] += tensor.float() * share
        minutes += other.info.get("minutes", 0)
    mean.load_state_dict({key: tensor / sum(shares) for key, tensor in tensors.items()}, strict=False)
    kept: dict[str, Any] = {key: mean.info[key] for key in ("data", "images", "captions") if key in mean.info}
    mean.info = {**kept, "command": command_line(), "minutes": round(minutes, 1)}
    mean.save_pretrained(config.out)
    export_best(kind, config.out)
    print(config.out)
