"""An answerer on the engine. Notation: N images, Q questions, T words, L grid places, A answers, H hops."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.engine import GraphEncoder, GraphModel
from common.schema import checked
from common.text import Vocabulary
from vqa.config import Architecture

Memory = tuple[np.ndarray, ...]
"""What is kept of N images: arrays of N rows."""


class OnGraphs(GraphModel):
    """The graphs of an answerer, and what its config says of it."""

    task = "vqa"
    names = ("remember", "answer")

    def describe(self, facts: Mapping[str, Any], weights: bytes) -> None:
        """See `GraphModel.describe`."""
        built: Architecture = checked(Architecture, self.architecture, "architecture")
        self.config, self.answers = built.network, built.answers
        self.vocabulary = Vocabulary(built.vocabulary)
        self.encoder = GraphEncoder(built.preprocess, tuple(facts["grid"]))

    def remember(self, images: np.ndarray) -> Memory:
        """Preprocessed images (N, 3, H, W) -> what is kept of them."""
        return tuple(self.graphs["remember"](images.transpose(0, 2, 3, 1)))

    def join(self, memories: Sequence[Memory]) -> Memory:
        """The images of all memories, one after the other."""
        return tuple(map(np.concatenate, zip(*memories, strict=True)))

    def answer(
        self, memory: Memory, tokens: np.ndarray, lengths: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """memory of Q images, tokens (Q, T), lengths (Q,) -> logits (Q, A), attention (Q, H, L)."""
        logits, maps = self.graphs["answer"](tokens, lengths, *memory)
        return logits, maps
