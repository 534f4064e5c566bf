"""A language model one step at a time in NumPy. Notation: R streams, V codes, D hidden size."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from language.config import LanguageSizes

Times = Callable[[np.ndarray], np.ndarray]
"""(..., I) -> (..., O)"""


def in_full(weight: np.ndarray) -> Times:
    """A product with a weight (O, I)."""
    return lambda values: np.asarray(values @ weight.T)


class Steps:
    """A model one step at a time in NumPy: calls of torch and of the engine cost more than the arithmetic.

    What the first layer makes of its input is looked up, as there are only V inputs. A state is a list of
    [hidden, memory] for each layer, (D,) of one stream or (R, D) of R; memory is empty but for an LSTM.

    Args:
        sizes: of the network.
        weights: its tensors by name, float32.
        times: how a product with a weight (O, I) is computed.
    """

    def __init__(
        self,
        sizes: LanguageSizes,
        weights: Mapping[str, np.ndarray],
        times: Callable[[np.ndarray], Times] = in_full,
    ) -> None:
        self._advance = {"lstm": _lstm, "gru": _gru, "rnn": _rnn}[sizes.cell]
        parts = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        layers = [[weights[f"layers.{i}.layer.{part}"] for part in parts] for i in range(sizes.layers)]
        embeddings = weights["embedding.weight"]
        self._first = embeddings @ layers[0][0].T + layers[0][2]  # V, gates * D
        self._layers = [(times(w_ih), times(w_hh), b_ih, b_hh) for w_ih, w_hh, b_ih, b_hh in layers]
        self._output = embeddings if sizes.tied else weights["output.weight"]
        self._bias = weights["output.bias"]

    def __call__(self, codes: Any, state: list[list[np.ndarray]]) -> np.ndarray:
        """Reads a code, or codes (R,) -> logits (V,) or (R, V) of the next; `state` is then that after it."""
        of_inputs, hidden = self._first[codes], np.empty(0)
        for layer, (times_input, times_hidden, input_bias, bias) in enumerate(self._layers):
            if layer:
                of_inputs = times_input(hidden) + input_bias
            hidden, memory = self._advance(of_inputs, times_hidden(state[layer][0]) + bias, *state[layer])
            state[layer] = [hidden, memory]
        return np.asarray(hidden @ self._output.T + self._bias)


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
