"""RNN, LSTM and GRU behind one name.

Notation: R rows (sequences), I input size, D hidden size.
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
