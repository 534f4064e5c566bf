"""Sizes of a captioner; nothing of torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from common.cells import CellKind
from common.images import Preprocess
from common.schema import Range

DecoderKind = Literal["show_attend_tell", "show_tell", "att2in", "updown", "between"]
ScoreKind = Literal["additive", "dot"]


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of a decoder."""

    decoder: DecoderKind = "show_attend_tell"
    """show_attend_tell, att2in, updown and between look at places of the image for each word; show_tell sees
    it once, at the start. between is the fastest to train."""
    cell: CellKind = "lstm"
    """lstm, gru or rnn."""
    hidden_size: Annotated[int, Range(1, 65_536)] = 512
    """Units of the RNN."""
    embedding_size: Annotated[int, Range(1, 65_536)] = 256
    """Units of a word."""
    grid_size: Annotated[int, Range(1, 65_536)] = 512
    """Units of a place of the grid."""
    attention_size: Annotated[int, Range(1, 65_536)] = 256
    """Units of the attention."""
    dropout: Annotated[float, Range(0, 1)] = 0.5
    """On words, grid and output."""
    score: ScoreKind = "additive"
    """How attention compares: additive (Bahdanau), or dot (Luong), which is faster."""
    concepts: Annotated[int, Range(0, 1000)] = 16
    """Words that the encoder's classifier gives each image, to attend to and to copy; 0 is without. Only
    encoders from a weights package have a classifier."""
    tags: Annotated[int, Range(0, 1_000_000)] = 600
    """With concepts: so many of the words that captions say most often are recognised besides its classes."""


@dataclass(frozen=True)
class Architecture:
    """What a model's config says of its network."""

    encoder: str
    preprocess: Preprocess
    decoder: DecoderConfig
    max_length: Annotated[int, Range(1, 1000)]
    vocabulary: list[str]
