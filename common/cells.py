"""The kinds of recurrent cells, by name; `common.recurrent` has them."""

from typing import Literal

CellKind = Literal["lstm", "gru", "rnn"]
