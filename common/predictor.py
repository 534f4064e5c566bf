"""What the classes that users call have in common: a trained model, on the engine or on torch."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np
from typing_extensions import Self

from common.engine import Engine, GraphModel, Precision, has_graphs
from common.errors import ModelError, UsageError, VisionError, VisionWarning
from common.images import MAX_PIXELS
from common.model_folder import find_folder, read_config

if TYPE_CHECKING:
    from common.pretrained import PretrainedModel

M = TypeVar("M")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class UseFlags:
    """Flags of every script that uses a model."""

    device: str = "auto"
    """auto, cpu or cuda."""
    precision: Precision = "auto"
    """auto (bf16 where the hardware has it), bf16 or fp32."""
    max_pixels: int = MAX_PIXELS
    """Larger images, pages and video frames are refused before they are decoded."""


class Predictor(Generic[M]):
    """A trained model, on the engine or on a device of torch. Subclasses add what users call.

    They set `model_class`; where a task runs on the engine, `graph_class`, and then `torch_class` imports the
    model of torch, and `on_torch` gives it the methods of `graph_class`.

    Args:
        model: from training or `from_pretrained` of its class.
        device: auto, cpu or cuda.
        precision: auto (bf16 where the hardware has it), bf16 or fp32.

    Attributes:
        network: the model in the form that engine and torch share.
    """

    model_class: ClassVar[type[Any]]
    graph_class: ClassVar[type[GraphModel] | None] = None

    def __init__(self, model: Any, device: str = "auto", precision: Precision = "auto") -> None:
        self.model: Any = model
        if isinstance(model, GraphModel):
            self.precision = model.precision
            self.network: Any = model
            return
        import torch

        from common.device import pick_device, pick_precision

        self.device = pick_device(device)
        self.precision = pick_precision(precision, self.device)
        self.dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        module: Any = model.eval().to(self.device)
        if module.encoder is not None:
            module.encoder.to(memory_format=torch.channels_last)
        self.network = self.on_torch(model)

    def on_torch(self, model: Any) -> Any:
        """A model of torch in the form of `graph_class`: what takes and gives arrays."""
        return model

    def in_one_form(self, model: Any) -> Any:
        """A model in the form that engine and torch share."""
        return model if isinstance(model, GraphModel) else self.on_torch(model)

    @classmethod
    def torch_class(cls) -> "type[PretrainedModel]":
        """The model of torch."""
        return cls.model_class

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        device: str = "auto",
        precision: Precision = "auto",
        *,
        engine: Engine = "auto",
        revision: str | None = None,
    ) -> Self:
        """Load a bundled model, a model or run folder, or `hub:user/name` at a revision.

        Args:
            name: of the model.
            device: auto, cpu, or cuda, which needs torch.
            precision: auto (bf16 where the hardware has it), bf16 or fp32.
            engine: auto takes the model's graphs where it has them and no GPU is asked for; graph or torch.
            revision: on the hub.

        Raises:
            ModelError: the model cannot be loaded, or not on this engine.
        """
        return cls(cls.load(name, device, precision, engine, revision), device, precision)

    @classmethod
    def load(
        cls, name: str | Path, device: str, precision: Precision, engine: Engine, revision: str | None
    ) -> Any:
        """The model by itself, as `from_pretrained`: its graphs, or the model of torch."""
        if engine not in ("auto", "graph", "torch"):
            raise UsageError(f"engine {engine!r}: expected auto, graph or torch")
        graphs = cls.graph_class
        on_graphs = graphs is not None and engine != "torch" and device in ("auto", "cpu")
        if engine == "graph" and not on_graphs:
            raise UsageError(
                f"engine 'graph', device {device!r}: graphs run on the CPU, and not of every task"
            )
        if graphs is not None and on_graphs:
            folder = find_folder(name, graphs.bundled(), revision=revision)
            config = read_config(folder, graphs.task)
            if has_graphs(config):
                return graphs(folder, config, precision)
            lacks = f"{folder} has no graphs; visionrnn export {folder} makes them"
            if engine == "graph":
                raise ModelError(lacks)
            kind = cls._import_torch(lacks)
            warnings.warn(f"{lacks}, and it runs faster, without torch", VisionWarning, stacklevel=3)
        else:
            kind = cls._import_torch(f"{name}: on device {device!r} it runs on torch")
        return kind.from_pretrained(name, revision=revision)

    @classmethod
    def load_all(
        cls,
        names: str | Path | Sequence[str | Path],
        device: str,
        precision: Precision,
        engine: Engine,
        revision: str | None,
    ) -> list[Any]:
        """One or several models, as `load`, all on one engine."""
        each = [names] if isinstance(names, str | Path) else list(names)
        models = [cls.load(name, device, precision, engine, revision) for name in each]
        if len({isinstance(model, GraphModel) for model in models}) > 1:  # some have graphs, some have none
            models = [cls.load(name, device, precision, "torch", revision) for name in each]
        return models

    @classmethod
    def _import_torch(cls, why: str) -> "type[PretrainedModel]":
        try:
            return cls.torch_class()
        except ModuleNotFoundError as error:
            raise ModelError(f"{why}; {error.name} is not installed: pip install '.[train]'") from None

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return count_parameters(self.model)


def count_parameters(model: Any) -> int:
    """Number of weights of a model on the engine or of torch."""
    if isinstance(model, GraphModel):
        return model.parameters
    return sum(parameter.numel() for parameter in model.parameters())


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis, float32."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    found: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return found


def ranked(logits: np.ndarray, labels: Sequence[str], top: int) -> tuple[tuple[str, float], ...]:
    """logits (K,) -> the `top` most probable of K labels with their probabilities, best first."""
    probabilities = softmax(logits)
    best = np.argsort(-probabilities, kind="stable")[:top]
    return tuple((labels[i], float(probabilities[i])) for i in best)


def results(found: Iterable[R | VisionError]) -> list[R]:
    """What an iterator of results or errors gives, if it gives no error. Raises the first error."""
    each = []
    for item in found:
        if isinstance(item, VisionError):
            raise item
        each.append(item)
    return each
