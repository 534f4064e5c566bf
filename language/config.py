"""Sizes of a language model; nothing of torch."""

from dataclasses import dataclass
from typing import Annotated

from common.cells import CellKind
from common.schema import Range
from language.data import Unit

_Share = Annotated[float, Range(0, 0.99)]


@dataclass(frozen=True, kw_only=True)
class LanguageSizes:
    """Sizes of the model; flags of its training."""

    unit: Unit = "characters"
    """What the model reads and writes one by one: characters or words."""
    cell: CellKind = "lstm"
    """lstm, gru or rnn."""
    embedding_size: Annotated[int, Range(1, 65_536)] = 128
    """Of a character or word."""
    hidden_size: Annotated[int, Range(1, 65_536)] = 512
    """Units of each layer."""
    layers: Annotated[int, Range(1, 16)] = 2
    """Stacked layers."""
    tied: bool = False
    """The output layer shares the embeddings (Press & Wolf 2017); the last layer then has their size."""
    input_dropout: _Share = 0.1
    """Variational dropout of the embeddings: one mask for all steps (Gal & Ghahramani 2016)."""
    dropout: _Share = 0.4
    """The same between layers and before the output."""
    weight_dropout: _Share = 0.2
    """Share of the recurrent weights that each step of training leaves out (Merity et al. 2018)."""

    @property
    def widths(self) -> list[int]:
        """Units of each layer."""
        last = self.embedding_size if self.tied else self.hidden_size
        return [*[self.hidden_size] * (self.layers - 1), last]


@dataclass(frozen=True)
class Architecture:
    """What a model's config says of its network."""

    sizes: LanguageSizes
    units: Annotated[list[str], Range(1, 4_000_000)]
