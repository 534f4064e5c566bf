"""Sizes of an answerer; nothing of torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from common.cells import CellKind
from common.images import Preprocess
from common.schema import Range

AnswererKind = Literal["san", "mlb", "lstm_q_i", "question_only", "image_only"]


@dataclass(frozen=True)
class AnswererConfig:
    """Sizes of an answerer."""

    kind: AnswererKind = "san"
    """san (stacked attention), mlb (bilinear, with the question's own logits), lstm_q_i (pooled image), or a
    control: question_only, image_only."""
    cell: CellKind = "lstm"
    """lstm, gru or rnn; reads the question."""
    hidden_size: Annotated[int, Range(1, 65_536)] = 512
    """Units of the RNN."""
    embedding_size: Annotated[int, Range(1, 65_536)] = 256
    """Units of a word."""
    attention_size: Annotated[int, Range(1, 65_536)] = 256
    """Units of an attention layer; of mlb, the rank of its bilinear product."""
    hops: Annotated[int, Range(1, 16)] = 2
    """Attention layers of san."""
    dropout: Annotated[float, Range(0, 1)] = 0.5
    """On words, image and output."""
    members: Annotated[int, Range(1, 16)] = 1
    """Networks that begin differently and answer by the mean of their probabilities (Lakshminarayanan et al.
    2017)."""


@dataclass(frozen=True)
class Architecture:
    """What a model's config says of its network."""

    encoder: str
    preprocess: Preprocess
    network: AnswererConfig
    vocabulary: list[str]
    answers: Annotated[list[str], Range(1)]
