"""Sizes of a translation model; nothing of torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from common.cells import CellKind
from common.schema import Range

_Count = Annotated[int, Range(1, 2**27)]
AttentionKind = Literal["dot", "additive", "none"]


@dataclass(frozen=True)
class TranslationConfig:
    """Sizes of a translation model."""

    attention: AttentionKind = "dot"
    """dot (Luong), additive (Bahdanau), or none: the decoder then has one vector for the whole sentence."""
    input_feeding: bool = False
    """Feed what was attended to into the next step (Luong et al. 2015); several times slower to train."""
    cell: CellKind = "lstm"
    """lstm, gru or rnn."""
    bidirectional: bool = True
    """The encoder also reads from the end."""
    hidden_size: Annotated[int, Range(1, 65_536)] = 384
    """Units of the decoder's RNNs, and of each direction of the encoder's."""
    embedding_size: Annotated[int, Range(1, 65_536)] = 256
    """Units of a subword."""
    attention_size: Annotated[int, Range(1, 65_536)] = 256
    """Units in which attention compares."""
    dropout: Annotated[float, Range(0, 1)] = 0.3
    """On subwords, on what was read and attended to, and on the output."""


@dataclass(frozen=True)
class Architecture:
    """What a model's config says of its network."""

    network: TranslationConfig
    languages: tuple[str, str]
    subwords: tuple[_Count, _Count]
    subword_bytes: tuple[_Count, _Count]
    max_length: Annotated[int, Range(1, 100_000)]
    words: tuple[str, ...]


def longest(source: int) -> int:
    """Most subwords, the end included, that a translation of `source` subwords may have."""
    return 2 * source + 10
