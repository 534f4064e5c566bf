"""A language model on torch, in the form of `language.on_graphs`.

Notation: R streams, T units, V codes, D hidden size.
"""

from typing import Any

import numpy as np
import torch

from common.device import autocast
from common.recurrent import CellState
from language.model import LanguageModel
from language.on_graphs import State
from language.steps import Steps, Times, in_full


class OnTorch:
    """A model on a device at a precision.

    Args:
        model: from training or `from_pretrained`.
        device: where texts are read. One unit after the other is read on the CPU.
        precision: bf16 or fp32.
    """

    def __init__(self, model: LanguageModel, device: torch.device, precision: Any) -> None:
        self.model, self.device, self.precision = model, device, precision
        weights = {name: tensor.float().cpu().numpy() for name, tensor in model.state_dict().items()}
        self.steps = Steps(model.sizes, weights, _in_8_bits if precision == "bf16" else in_full)

    def start(self, rows: int) -> State:
        """The state before anything was read."""
        return [[part.cpu().numpy() for part in layer] for layer in self.model.start(rows)]

    @torch.inference_mode()
    def advance(self, codes: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """codes (R, T), int64, state before them -> logits (R, T, V) of the next, state after them."""
        before = [CellState(*(torch.from_numpy(part).to(self.device) for part in layer)) for layer in state]
        with autocast(self.device, self.precision):
            logits, after = self.model(torch.from_numpy(codes).to(self.device), before)
        return logits.float().cpu().numpy(), [[part.float().cpu().numpy() for part in s] for s in after]

    def step(self, codes: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """One unit: codes (R,), int64, state -> logits (R, V) of the next, state."""
        after = list(state)
        return self.steps(codes, after), after


def _in_8_bits(weight: np.ndarray) -> Times:
    """A product whose weights (O, I) take a quarter of the memory; in full where torch has none such."""
    if not hasattr(torch, "_weight_int8pack_mm") or weight.shape[0] % 32 or weight.shape[1] % 32:
        return in_full(weight)
    full = torch.from_numpy(weight)
    scale = full.abs().amax(dim=1).clamp(min=1e-12) / 127
    whole, scale = (full / scale[:, None]).round().to(torch.int8), scale.bfloat16()

    def times(values: np.ndarray) -> np.ndarray:
        rows = torch.from_numpy(values.reshape(-1, values.shape[-1])).bfloat16()
        product = torch._weight_int8pack_mm(rows, whole, scale).float().numpy()
        return np.asarray(product.reshape(*values.shape[:-1], -1))

    return times
