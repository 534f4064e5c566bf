"""Sizes of a recognizer; nothing of torch."""

from dataclasses import dataclass
from typing import Annotated

from common.cells import CellKind
from common.charset import PRINTABLE
from common.schema import Range

COMPACT = "compact"


@dataclass(frozen=True)
class RecognizerConfig:
    """Sizes of a CRNN."""

    encoder: str = COMPACT
    """compact (a thin ResNet-10), vgg (Shi et al. 2015), or a backbone of timm; trained from scratch."""
    cell: CellKind = "lstm"
    """lstm, gru or rnn."""
    hidden_size: Annotated[int, Range(1, 65_536)] = 128
    """Units of the RNN in each direction."""
    layers: Annotated[int, Range(1, 16)] = 2
    """Stacked RNN layers."""
    dropout: Annotated[float, Range(0, 1)] = 0.1
    """Before, between and after the RNN layers."""
    height: Annotated[int, Range(16, 256)] = 32
    """Pixels to which each line is scaled."""


@dataclass(frozen=True)
class Architecture(RecognizerConfig):
    """What a model's config says of its network."""

    charset: Annotated[str, Range(1)] = PRINTABLE
    ngrams: Annotated[int, Range(0, 10**8)] = 0
