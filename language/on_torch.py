"""A language model on torch, in the form of `language.on_graphs`; one step at a time in NumPy.

Notation: R streams, T units, V codes, D hidden size.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from common.device import autocast
from common.recurrent import CellState
from language.model import LanguageModel
from language.on_graphs import State

_Times = Callable[[np.ndarray], np.ndarray]
"""(..., I) -> (..., O)"""


class OnTorch:
    """A model on a device at a precision.

    Args:
        model: from training or `from_pretrained`.
        device: where texts are read. One unit after the other is read on the CPU.
        precision: bf16 or fp32.
    """

    def __init__(self, model: LanguageModel, device: torch.device, precision: Any) -> None:
        self.model, self.device, self.precision = model, device, precision
        self._steps: Steps | None = None

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
        self._steps = self._steps or Steps(self.model, self.precision)
        after = list(state)
        return self._steps(codes, after), after


class Steps:
    """A model one step at a time in NumPy: for vectors, torch's calls cost more than their arithmetic.

    What the first layer makes of its input is looked up, as there are only V inputs. A state is a list of
    [hidden, memory] for each layer, (D,) of one stream or (R, D) of R; memory is empty but for an LSTM.

    Args:
        model: its weights are copied.
        precision: fp32, or bf16 for weights of 8 bits with a scale a row and inputs in bf16.
    """

    def __init__(self, model: LanguageModel, precision: str = "fp32") -> None:
        layers: Any = model.layers
        self._advance = {"lstm": _lstm, "gru": _gru, "rnn": _rnn}[model.sizes.cell]
        weights = [
            [weight.detach().float().cpu().numpy() for weight in layer.layer.all_weights[0]]
            for layer in layers
        ]
        embeddings = model.embedding.weight.detach().float().cpu().numpy()
        self._first = embeddings @ weights[0][0].T + weights[0][2]  # V, gates * D
        times: Callable[[np.ndarray], _Times] = _in_8_bits if precision == "bf16" else _in_full
        self._layers = [(times(w_ih), times(w_hh), b_ih, b_hh) for w_ih, w_hh, b_ih, b_hh in weights]
        self._output = model.output_weight.detach().float().cpu().numpy()
        self._bias = model.output.bias.detach().float().cpu().numpy()

    def __call__(self, codes: Any, state: list[list[np.ndarray]]) -> np.ndarray:
        """Reads a code, or codes (R,) -> logits (V,) or (R, V) of the next; `state` is then that after it."""
        of_inputs, hidden = self._first[codes], np.empty(0)
        for layer, (times_input, times_hidden, input_bias, bias) in enumerate(self._layers):
            if layer:
                of_inputs = times_input(hidden) + input_bias
            hidden, memory = self._advance(of_inputs, times_hidden(state[layer][0]) + bias, *state[layer])
            state[layer] = [hidden, memory]
        return np.asarray(hidden @ self._output.T + self._bias)


def _in_full(weight: np.ndarray) -> _Times:
    return lambda values: np.asarray(values @ weight.T)


def _in_8_bits(weight: np.ndarray) -> _Times:
    """A product whose weights (O, I) take a quarter of the memory; in full where torch has none such."""
    if not hasattr(torch, "_weight_int8pack_mm") or weight.shape[0] % 32 or weight.shape[1] % 32:
        return _in_full(weight)
    full = torch.from_numpy(weight)
    scale = full.abs().amax(dim=1).clamp(min=1e-12) / 127
    whole, scale = (full / scale[:, None]).round().to(torch.int8), scale.bfloat16()

    def times(values: np.ndarray) -> np.ndarray:
        rows = torch.from_numpy(values.reshape(-1, values.shape[-1])).bfloat16()
        product = torch._weight_int8pack_mm(rows, whole, scale).float().numpy()
        return np.asarray(product.reshape(*values.shape[:-1], -1))

    return times


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * np.tanh(0.5 * values) + 0.5)


def _lstm(
    of_inputs: np.ndarray, of_hidden: np.ndarray, hidden: np.ndarray, memory: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gates (..., 4 D) from inputs and hidden state, state -> the next state. See `torch.nn.LSTM`."""
    size = hidden.shape[-1]
    gates = of_inputs + of_hidden
    keep = _sigmoid(gates[..., : 2 * size])
    memory = keep[..., size:] * memory + keep[..., :size] * np.tanh(gates[..., 2 * size : 3 * size])
    return _sigmoid(gates[..., 3 * size :]) * np.tanh(memory), memory


def _gru(
    of_inputs: np.ndarray, of_hidden: np.ndarray, hidden: np.ndarray, memory: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """As `_lstm`, with gates (..., 3 D). See `torch.nn.GRU`."""
    size = hidden.shape[-1]
    gates = _sigmoid(of_inputs[..., : 2 * size] + of_hidden[..., : 2 * size])
    new = np.tanh(of_inputs[..., 2 * size :] + gates[..., :size] * of_hidden[..., 2 * size :])
    return new + gates[..., size:] * (hidden - new), memory


def _rnn(
    of_inputs: np.ndarray, of_hidden: np.ndarray, hidden: np.ndarray, memory: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """As `_lstm`, of (..., D) without gates. See `torch.nn.RNN`."""
    return np.tanh(of_inputs + of_hidden), memory
