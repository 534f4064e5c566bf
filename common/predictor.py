"""What the classes that users call have in common: a trained model on a device at a precision."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import nn
from typing_extensions import Self

from common.device import Precision, pick_device, pick_precision
from common.errors import VisionError
from common.images import MAX_PIXELS
from common.pretrained import PretrainedModel

M = TypeVar("M", bound=PretrainedModel)
N = TypeVar("N", bound=nn.Module)
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
    """A trained model on a device at a precision. Subclasses set `model_class` and add what users call.

    Args:
        model: from training or `from_pretrained` of its class.
        device: auto, cpu or cuda.
        precision: auto (bf16 where the hardware has it), bf16 or fp32.
    """

    model_class: ClassVar[type[Any]]

    def __init__(self, model: M, device: str = "auto", precision: Precision = "auto") -> None:
        self.device = pick_device(device)
        self.precision = pick_precision(precision, self.device)
        self.dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        self.model = model.eval().to(self.device)
        if model.encoder is not None:
            model.encoder.to(memory_format=torch.channels_last)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        device: str = "auto",
        precision: Precision = "auto",
        *,
        revision: str | None = None,
    ) -> Self:
        """Load a bundled model, a model or run folder, or `hub:user/name` at a revision.

        Raises:
            ModelError: the model cannot be loaded.
        """
        return cls(cls.model_class.from_pretrained(name, revision=revision), device, precision)

    def in_precision(self, module: N) -> N:
        """A copy that computes in the target precision throughout, which saves autocast's conversions."""
        return copy.deepcopy(module).to(self.device, self.dtype)


def results(found: Iterable[R | VisionError]) -> list[R]:
    """What an iterator of results or errors gives, if it gives no error. Raises the first error."""
    each = []
    for item in found:
        if isinstance(item, VisionError):
            raise item
        each.append(item)
    return each
