"""The language model: an RNN over characters or words that says what comes next.

Notation: R rows (streams), T steps, V codes, E embedding size, D hidden size, L layers.
"""

from dataclasses import asdict
from typing import Any, TypeVar

import torch
from torch import nn

from common.pretrained import PretrainedModel
from common.recurrent import CellState, Layer
from common.schema import checked
from language.config import Architecture, LanguageSizes
from language.data import Alphabet

M = TypeVar("M", bound="LanguageModel")
State = list[CellState]
"""One for each layer."""


class VariationalDropout(nn.Module):
    """Dropout with one mask for all steps of a sequence (Gal & Ghahramani 2016, section 4).

    Args:
        share: of the values that are set to 0.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """(R, T, D) -> (R, T, D)."""
        if not self.training or not self.share:
            return values
        mask = torch.empty_like(values[:, :1]).bernoulli_(1 - self.share)
        return values * (mask / (1 - self.share))


class LanguageModel(PretrainedModel):
    """Embedding, stacked RNN layers, output layer.

    Args:
        sizes: of the network.
        alphabet: the characters or words that it knows.
    """

    task = "language"
    pipeline_tag = "text-generation"
    has_graphs = True

    def __init__(self, sizes: LanguageSizes, alphabet: Alphabet) -> None:
        super().__init__()
        self.sizes, self.alphabet = sizes, alphabet
        self.embedding = nn.Embedding(len(alphabet), sizes.embedding_size)
        nn.init.normal_(self.embedding.weight, std=0.1)
        widths = sizes.widths
        self.layers = nn.ModuleList(
            Layer(sizes.cell, before, width, weight_dropout=sizes.weight_dropout)
            for before, width in zip([sizes.embedding_size, *widths], widths, strict=False)
        )
        self.input_dropout = VariationalDropout(sizes.input_dropout)
        self.dropout = VariationalDropout(sizes.dropout)
        self.output = nn.Linear(widths[-1], len(alphabet))
        if sizes.tied:
            del self.output.weight  # else the same tensor would be stored twice

    def start(self, rows: int) -> State:
        """The state before anything was read."""
        device = self.embedding.weight.device
        layers: Any = self.layers
        return [
            CellState(
                torch.zeros(rows, layer.hidden_size, device=device),
                torch.zeros(rows, layer.memory_size, device=device),
            )
            for layer in layers
        ]

    @property
    def output_weight(self) -> torch.Tensor:
        """(V, D)"""
        return self.embedding.weight if self.sizes.tied else self.output.weight

    def forward(self, codes: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        """codes (R, T), state before them (None: nothing was read) -> logits (R, T, V) of the next, state."""
        state = self.start(len(codes)) if state is None else state
        values = self.input_dropout(self.embedding(codes))  # R, T, E
        after = []
        for layer, before in zip(self.layers, state, strict=True):
            values, last = layer(values, before)  # R, T, D
            values = self.dropout(values)
            after.append(last)
        return nn.functional.linear(values, self.output_weight, self.output.bias), after

    def architecture(self) -> dict[str, Any]:
        """See `PretrainedModel.architecture`."""
        return {"sizes": asdict(self.sizes), "units": list(self.alphabet.units)}

    @classmethod
    def from_architecture(cls: type[M], values: dict[str, Any]) -> M:
        """See `PretrainedModel.from_architecture`."""
        built: Architecture = checked(Architecture, values, "architecture")
        return cls(built.sizes, Alphabet(built.sizes.unit, built.units))

    def graphs(self) -> dict[str, Any]:
        """See `PretrainedModel.graphs`."""
        from language.export import graphs

        return graphs(self)
