"""Writing and scoring text with a trained model: the class that users call.

Notation: N units, V codes, D hidden size.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from common.device import Precision, autocast
from common.errors import UsageError
from common.predictor import Predictor
from common.search import truncate
from language.data import BEGIN, UNKNOWN, warn_of_unknown
from language.model import LanguageModel, State

_STEPS = 2048  # units that are read at once
_Times = Callable[[np.ndarray], np.ndarray]
"""(..., I) -> (..., O)"""


class Writer(Predictor[LanguageModel]):
    """Goes on writing a text, or says how surprising one is.

    Args:
        model: from training or `from_pretrained`.
        device: auto, cpu or cuda; where texts are read. One unit after the other is written on the CPU.
        precision: auto (bf16 where the hardware has it), bf16 or fp32. With bf16, the writing has weights of
            8 bits, as its speed is that of fetching them from memory.
    """

    model_class = LanguageModel

    def __init__(self, model: LanguageModel, device: str = "auto", precision: Precision = "auto") -> None:
        super().__init__(model, device, precision)
        self._steps: Steps | None = None

    def write(self, prompt: str = "", length: int = 500, **how: Any) -> str:
        """What comes after the prompt, in one piece; see `write_each`."""
        return "".join(self.write_each(prompt, length, **how))

    def write_each(
        self,
        prompt: str = "",
        length: int = 500,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> Iterator[str]:
        """What comes after the prompt, a character or word at a time. Warns of what the model does not know.

        Args:
            prompt: is read first; without one the model begins where texts begin.
            length: characters or words to write.
            temperature: divides the logits; below 1 sharper, above 1 flatter; 0 takes the likeliest.
            top_k: draw among the k likeliest only; 0 is all.
            top_p: draw among the likeliest that together reach this probability (Holtzman et al. 2020).
            seed: makes the draws repeatable.

        Raises:
            UsageError: a value out of range.
        """
        if not 0 <= temperature < float("inf") or top_k < 0 or not 0 < top_p <= 1 or length < 0:
            raise UsageError(
                f"temperature {temperature}, top-k {top_k} and length {length} must be at least 0, "
                f"top-p {top_p} in (0, 1]"
            )
        prompt = prompt.replace("\r\n", "\n").replace("\r", "\n")
        warn_of_unknown(self.model.alphabet, prompt, "prompt")
        return self._write(prompt, length, _drawer(temperature, top_k, top_p, seed))

    def steps(self) -> "Steps":
        """The model one step at a time."""
        self._steps = self._steps or Steps(self.model, self.precision)
        return self._steps

    def _write(self, prompt: str, length: int, draw: Callable[[np.ndarray], int]) -> Iterator[str]:
        codes = np.concatenate([[BEGIN], self.model.alphabet.encode(prompt)])
        read = self._read(codes[:-1])
        state = [[part[0].float().cpu().numpy() for part in layer] for layer in read]
        steps, code = self.steps(), int(codes[-1])
        for _ in range(length):
            logits = steps(code, state)
            logits[[BEGIN, UNKNOWN]] = -np.inf
            code = draw(logits)
            yield self.model.alphabet.decode(code)

    def _read(self, codes: np.ndarray) -> State:
        """The state after codes (N,)."""
        state = self.model.start(1)
        for first in range(0, len(codes), _STEPS):
            _, state = self._advance(codes[first : first + _STEPS], state)
        return state

    def _advance(self, codes: np.ndarray, state: State) -> tuple[torch.Tensor, State]:
        """codes (n,) after a state -> logits (n, V) after each, and the state after them."""
        given = torch.from_numpy(codes.astype(np.int64)).to(self.device)
        with torch.inference_mode(), autocast(self.device, self.precision):
            logits, state = self.model(given[None], state)
        return logits[0].float(), state

    def nats_each(self, codes: np.ndarray) -> Iterator[np.ndarray]:
        """Negative log-likelihood of each unit after all those before it, the first after nothing, in pieces.

        Args:
            codes: of a text (N,), as `model.alphabet` encodes it; may be mapped from a file.
        """
        state, before = self.model.start(1), np.array([BEGIN])
        for first in range(0, len(codes), _STEPS):
            piece = np.asarray(codes[first : first + _STEPS], np.int64)
            logits, state = self._advance(np.concatenate([before, piece[:-1]]), state)
            targets, before = torch.from_numpy(piece).to(self.device), piece[-1:]
            yield functional.cross_entropy(logits, targets, reduction="none").cpu().numpy()


def _drawer(temperature: float, top_k: int, top_p: float, seed: int | None) -> Callable[[np.ndarray], int]:
    """logits (V,) -> a code."""
    if temperature == 0:
        return lambda logits: int(logits.argmax())
    random = np.random.default_rng(seed)

    def draw(logits: np.ndarray) -> int:
        scaled = (logits - logits.max()) / temperature
        if top_k or top_p < 1:
            scaled = truncate(scaled[None], top_k, top_p)[0]
        reached = np.exp(scaled, dtype=np.float64).cumsum()
        return int(np.searchsorted(reached, random.random() * reached[-1], side="right"))

    return draw


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
