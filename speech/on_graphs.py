"""A speech recognizer on the engine. Notation: N clips, F frames, B bands, T steps, K classes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from common.charset import Charset
from common.engine import GraphModel
from common.ngrams import stored_ngrams
from common.schema import checked
from speech.config import STRIDE, Architecture


class OnGraphs(GraphModel):
    """The graph of a recognizer, and what its config says of it."""

    task = "speech"
    names = ("read",)

    def describe(self, facts: Mapping[str, Any], weights: bytes) -> None:
        """See `GraphModel.describe`."""
        self.config: Architecture = checked(Architecture, self.architecture, "architecture")
        self.charset = Charset(self.config.charset)
        self.language_model = stored_ngrams(self.charset, self.config.ngrams, weights)

    def log_probs(self, frames: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """frames (N, F, B), lengths (N,) -> log-probabilities (N, T, K), steps (N,)."""
        return self.graphs["read"](frames, lengths)[0], -(-lengths // STRIDE)
