"""A recognizer on the engine. Notation: N lines, H x W pixels, T steps, K classes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from common.charset import Charset
from common.engine import GraphModel
from common.ngrams import stored_ngrams
from common.schema import checked
from ocr.config import Architecture
from ocr.images import WIDTH_MULTIPLE, LinePreprocess


class OnGraphs(GraphModel):
    """The graph of a recognizer, and what its config says of it."""

    task = "ocr"
    names = ("read",)

    def describe(self, facts: Mapping[str, Any], weights: bytes) -> None:
        """See `GraphModel.describe`."""
        self.config: Architecture = checked(Architecture, self.architecture, "architecture")
        self.charset = Charset(self.config.charset)
        self.preprocess = LinePreprocess(self.config.height)
        self.language_model = stored_ngrams(self.charset, self.config.ngrams, weights)

    def log_probs(self, lines: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """lines (N, 1, H, W), widths (N,) in pixels -> log-probabilities (N, T, K), steps (N,)."""
        return self.graphs["read"](lines, widths)[0], widths // WIDTH_MULTIPLE
