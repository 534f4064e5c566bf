"""A language model on the engine. Notation: R streams, T units, V codes, D hidden size."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from common.engine import GraphModel
from common.model_folder import stored_arrays
from common.schema import checked
from language.config import Architecture
from language.data import Alphabet
from language.steps import Steps

State = list[list[np.ndarray]]
"""[hidden, memory] of each layer, (R, D); the memory is empty but for an LSTM."""


class OnGraphs(GraphModel):
    """The graph of a language model, and what its config says of it."""

    task = "language"
    names = ("advance",)

    def describe(self, facts: Mapping[str, Any], weights: bytes) -> None:
        """See `GraphModel.describe`."""
        built: Architecture = checked(Architecture, self.architecture, "architecture")
        self.sizes, self.alphabet = built.sizes, Alphabet(built.sizes.unit, built.units)
        self.steps = Steps(self.sizes, stored_arrays(weights))

    def start(self, rows: int) -> State:
        """The state before anything was read."""
        widths = self.sizes.widths
        memories = widths if self.sizes.cell == "lstm" else [0] * len(widths)
        return [
            [np.zeros((rows, size), np.float32) for size in pair]
            for pair in zip(widths, memories, strict=True)
        ]

    def advance(self, codes: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """codes (R, T), int64, state before them -> logits (R, T, V) of the next, state after them."""
        logits, *fields = self.graphs["advance"](codes, *(field for layer in state for field in layer))
        return logits, [[hidden, memory] for hidden, memory in zip(fields[::2], fields[1::2], strict=True)]

    def step(self, codes: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """One unit: codes (R,), int64, state -> logits (R, V) of the next, state."""
        after = list(state)
        return self.steps(codes, after), after
