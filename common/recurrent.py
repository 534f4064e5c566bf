"""RNN, LSTM and GRU behind one name: one step at a time, or whole sequences with their true lengths.

Notation: R rows (sequences), T steps, I input size, D hidden size, B directions (1 or 2).
"""

from typing import Literal, NamedTuple, get_args

import torch
from torch import nn

CellKind = Literal["lstm", "gru", "rnn"]


class CellState(NamedTuple):
    """What a cell remembers. Batch first, so that a search can reorder it."""

    hidden: torch.Tensor
    """(R, D)"""
    memory: torch.Tensor
    """(R, D) for an LSTM, (R, 0) for the others"""


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
        cells = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}
        if kind not in cells:
            raise ValueError(f"cell {kind!r}: expected one of {', '.join(get_args(CellKind))}")
        self.kind = kind
        self.hidden_size = hidden_size
        self.memory_size = hidden_size if kind == "lstm" else 0
        self.cell = cells[kind](input_size, hidden_size)
        if kind == "lstm":  # an open forget gate at the start (Jozefowicz et al. 2015, section 2)
            with torch.no_grad():
                self.cell.bias_ih[hidden_size : 2 * hidden_size].fill_(1.0)

    def zero_state(self, rows: int) -> CellState:
        """The state before the first input, on the cell's device."""
        weight = self.cell.weight_hh
        return CellState(weight.new_zeros(rows, self.hidden_size), weight.new_zeros(rows, self.memory_size))

    def forward(self, inputs: torch.Tensor, state: CellState) -> CellState:
        """inputs (R, I), state -> the next state."""
        if self.kind == "lstm":
            return CellState(*self.cell(inputs, (state.hidden, state.memory)))
        return CellState(self.cell(inputs, state.hidden), state.memory)


class RecurrentEncoder(nn.Module):
    """Whole sequences through stacked RNN layers; what stands behind a row's length changes nothing.

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
        kinds = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
        if kind not in kinds:
            raise ValueError(f"cell {kind!r}: expected one of {', '.join(get_args(CellKind))}")
        self.layer = kinds[kind](
            input_size,
            hidden_size,
            layers,
            batch_first=True,
            bidirectional=bidirectional,
            dropout=dropout if layers > 1 else 0.0,
        )
        self.output_size = hidden_size * (2 if bidirectional else 1)

    def forward(
        self, inputs: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """inputs (R, T, I), lengths (R,) or None for all T -> outputs (R, T, B*D), last states (R, B*D).

        Outputs behind a row's length are 0. The last state of the backward direction is the one at the start.
        """
        if lengths is None:
            outputs, state = self.layer(inputs)
        else:
            packed = nn.utils.rnn.pack_padded_sequence(
                inputs, lengths.cpu(), batch_first=True, enforce_sorted=False
            )
            packed_outputs, state = self.layer(packed)
            outputs, _ = nn.utils.rnn.pad_packed_sequence(
                packed_outputs, batch_first=True, total_length=inputs.shape[1]
            )
        hidden = state[0] if isinstance(state, tuple) else state
        directions = 2 if self.layer.bidirectional else 1
        return outputs, hidden[-directions:].transpose(0, 1).flatten(1)  # B, R, D -> R, B*D
