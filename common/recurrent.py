"""RNN, LSTM and GRU behind one name, one step at a time or whole sequences with true lengths.

Notation: R rows (sequences), T steps, I input size, D hidden size, B directions (1 or 2).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

import torch
from torch import nn

from common.cells import CellKind


class CellState(NamedTuple):
    """What a cell remembers. Batch first, so that a search can reorder it."""

    hidden: torch.Tensor
    """(R, D)"""
    memory: torch.Tensor
    """(R, D) for an LSTM, (R, 0) for the others"""


_LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
_FUNCTIONS: dict[str, Any] = {"lstm": torch.lstm, "gru": torch.gru, "rnn": torch.rnn_tanh}


def _chosen(kind: str, kinds: dict[str, Any]) -> Any:
    """The class of a kind of cell. Raises ValueError for an unknown kind."""
    if kind not in kinds:
        raise ValueError(f"cell {kind!r}: expected one of {', '.join(get_args(CellKind))}")
    return kinds[kind]


def open_forget_gate(bias: Any, hidden_size: int) -> None:
    """Set an LSTM's bias so that it forgets nothing at the start (Jozefowicz et al. 2015, section 2).

    Args:
        bias: of all gates, the forget gate second (4 D or more).
        hidden_size: D.
    """
    with torch.no_grad():
        bias[hidden_size : 2 * hidden_size].fill_(1.0)


class RecurrentCell(nn.Module):
    """One step of an LSTM (Hochreiter & Schmidhuber 1997), GRU (Cho et al. 2014) or tanh RNN (Elman 1990).

    Args:
        kind: `lstm`, `gru` or `rnn`.
        input_size: I.
        hidden_size: D.

    Raises:
        ValueError: an unknown kind.
    """

    def __init__(self, kind: CellKind, input_size: int, hidden_size: int) -> None:
        super().__init__()
        cell = _chosen(kind, {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell})
        self.kind = kind
        self.hidden_size = hidden_size
        self.memory_size = hidden_size if kind == "lstm" else 0
        self.cell = cell(input_size, hidden_size)
        if kind == "lstm":
            open_forget_gate(self.cell.bias_ih, hidden_size)

    def forward(self, inputs: torch.Tensor, state: CellState) -> CellState:
        """inputs (R, I), state -> the next state."""
        if self.kind == "lstm":
            return CellState(*self.cell(inputs, (state.hidden, state.memory)))
        return CellState(self.cell(inputs, state.hidden), state.memory)


class Layer(nn.Module):
    """One RNN layer over whole sequences, from a state that is given: `RecurrentCell` for all steps at once.

    Args:
        kind: `lstm`, `gru` or `rnn`.
        input_size: I.
        hidden_size: D.
        weight_dropout: share of the recurrent weights that each call in training leaves out, the same ones at
            all steps (Wan et al. 2013; Merity et al. 2018, section 2).

    Raises:
        ValueError: an unknown kind.
    """

    def __init__(
        self, kind: CellKind, input_size: int, hidden_size: int, *, weight_dropout: float = 0.0
    ) -> None:
        super().__init__()
        layer = _chosen(kind, _LAYERS)
        self.kind, self.weight_dropout = kind, weight_dropout
        self.hidden_size = hidden_size
        self.memory_size = hidden_size if kind == "lstm" else 0
        self.layer: Any = layer(input_size, hidden_size, batch_first=True)
        if kind == "lstm":
            open_forget_gate(self.layer.bias_ih_l0, hidden_size)

    def forward(self, inputs: torch.Tensor, state: CellState) -> tuple[torch.Tensor, CellState]:
        """inputs (R, T, I), state before them -> outputs (R, T, D), state after them."""
        # cuDNN takes no pieces of larger tensors
        hidden, memory = (field[None].to(inputs.dtype).contiguous() for field in state)
        if self.memory_size:
            outputs, (hidden, memory) = self._read(inputs, (hidden, memory))
            return outputs, CellState(hidden[0], memory[0])
        outputs, hidden = self._read(inputs, hidden)
        return outputs, CellState(hidden[0], state.memory)

    def _read(self, inputs: torch.Tensor, start: Any) -> Any:
        """The layer, or in training its function with some of the recurrent weights left out."""
        if not self.training or not self.weight_dropout:
            return self.layer(inputs, start)
        of_inputs, of_hidden, *biases = self.layer.all_weights[0]
        weights = [of_inputs, drop_weights(of_hidden, self.weight_dropout), *biases]
        outputs, *last = _FUNCTIONS[self.kind](inputs, start, weights, True, 1, 0.0, True, False, True)
        return outputs, tuple(last) if self.memory_size else last[0]


def drop_weights(weights: torch.Tensor, share: float) -> torch.Tensor:
    """Set a share of the weights, to 1/256, to 0 and scale up the others, as `functional.dropout` does.

    A random byte decides each weight, which takes less than half the time: a matrix has a million of them.
    """
    count, dropped = weights.numel(), min(255, round(256 * share))
    words = torch.empty(-(-count // 8), dtype=torch.int64, device=weights.device)
    kept = words.random_(-(2**63), None).view(torch.uint8)[:count].view_as(weights) >= dropped
    return weights * (kept * (256 / (256 - dropped)))


class RecurrentEncoder(nn.Module):
    """Whole sequences through stacked RNN layers; what stands behind a row's length changes nothing.

    Each direction is a layer of its own, and the backward one reads rows that were turned around within their
    length. Padding then always comes last, so that no packing is needed, which keeps the fast kernels.

    Args:
        kind: `lstm`, `gru` or `rnn`.
        input_size: I.
        hidden_size: D of each direction.
        layers: how many are stacked.
        bidirectional: also read from the end (Schuster & Paliwal 1997); B is then 2.
        dropout: between layers.

    Raises:
        ValueError: an unknown kind.
    """

    def __init__(
        self,
        kind: CellKind,
        input_size: int,
        hidden_size: int,
        *,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        rnn = _chosen(kind, _LAYERS)
        self.bidirectional = bidirectional
        self.output_size = hidden_size * (2 if bidirectional else 1)
        self.layers = nn.ModuleList()
        for layer in range(layers):
            size = self.output_size if layer else input_size
            directions = [rnn(size, hidden_size, batch_first=True) for _ in range(1 + bidirectional)]
            self.layers.append(nn.ModuleList(directions))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, inputs: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """inputs (R, T, I), lengths (R,) or None for all T -> outputs (R, T, B*D), last states (R, B*D).

        Outputs behind a row's length are 0. The last state of the backward direction is the one at the start.
        """
        lengths = None if lengths is None else lengths.to(inputs.device)
        outputs = self._read(inputs, lengths)
        last = self._last(outputs, lengths)
        if lengths is not None:
            step = torch.arange(inputs.shape[1], device=inputs.device)
            outputs = outputs * (step < lengths[:, None])[..., None]
        return outputs, last

    def last(self, inputs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """inputs (R, T, I), lengths (R,) -> the last states alone (R, B*D)."""
        lengths = lengths.to(inputs.device)
        return self._last(self._read(inputs, lengths), lengths)

    def advance(self, inputs: torch.Tensor, states: Sequence[Any]) -> tuple[torch.Tensor, list[Any]]:
        """The next steps of sequences that go on: `forward` in parts, of one direction alone.

        inputs (R, T, I), the states of each layer after the steps before, nothing at the start -> outputs
        (R, T, D), states.
        """
        after = []
        layer: Any
        for depth, layer in enumerate(self.layers):
            inputs, state = layer[0](inputs, states[depth] if states else None)
            after.append(state)
        return inputs, after

    def _read(self, inputs: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        """Outputs (R, T, B*D), with anything behind a row's length."""
        turned = None
        if lengths is not None and self.bidirectional:  # R, T: within its length, each row from its end
            step = torch.arange(inputs.shape[1], device=inputs.device)
            turned = (lengths[:, None] - 1 - step) % step.shape[0]
        layer: Any
        for depth, layer in enumerate(self.layers):
            if depth:
                inputs = self.dropout(inputs)
            read = layer[0](inputs)[0]  # R, T, D
            if self.bidirectional:
                read = torch.cat([read, _turn(layer[1](_turn(inputs, turned))[0], turned)], dim=-1)
            inputs = read
        return inputs

    def _last(self, outputs: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        last = outputs[:, -1] if lengths is None else outputs[torch.arange(outputs.shape[0]), lengths - 1]
        if not self.bidirectional:
            return last
        size = outputs.shape[-1] // 2
        return torch.cat([last[:, :size], outputs[:, 0, size:]], dim=-1)


def _turn(sequences: torch.Tensor, turned: torch.Tensor | None) -> torch.Tensor:
    """sequences (R, T, D) in the order of steps `turned` (R, T), or from their end."""
    return sequences.flip(1) if turned is None else _take(sequences, turned)


def _take(sequences: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """sequences (R, T, D), steps (R, S) -> (R, S, D)."""
    return sequences.gather(1, steps[..., None].expand(-1, -1, sequences.shape[-1]))
