"""Sizes of what is in `common.pyramid`; nothing of torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from common.cells import CellKind
from common.schema import Range

ContextKind = Literal["renet", "none", "conv", "attention"]


@dataclass(frozen=True)
class PyramidConfig:
    """Sizes of a network that predicts something at each place of an image."""

    stride: int = 32
    """Where the encoder is cut: 8, 16 or 32."""
    context: ContextKind = "renet"
    """renet (RNNs sweep the map), attention, conv, or none (the control)."""
    context_layers: Annotated[int, Range(1, 16)] = 1
    """How many of them."""
    cell: CellKind = "gru"
    """gru, lstm or rnn; of renet."""
    width: Annotated[int, Range(4, 65_536, multiple=4)] = 128
    """Channels of the decoder."""
    dropout: Annotated[float, Range(0, 1)] = 0.1
    """On the map that the values are predicted from."""
