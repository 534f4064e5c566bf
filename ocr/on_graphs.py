"""A recognizer on the engine. Notation: N lines, H x W pixels, T steps, K classes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from common.charset import Charset
from common.engine import GraphModel
from common.model_folder import tensor_positions
from common.ngrams import NGRAMS, CharacterNgrams
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
        self.language_model = None
        if self.config.ngrams:
            positions = tensor_positions(weights)
            arrays = []
            for name, kind in zip(NGRAMS, (np.int64, np.int32), strict=True):
                _, _, start, size = positions[f"language_model.{name}"]
                arrays.append(np.frombuffer(weights[start : start + size], kind))
            self.language_model = CharacterNgrams(self.charset)
            self.language_model.load(*arrays)

    def log_probs(self, lines: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """lines (N, 1, H, W), widths (N,) in pixels -> log-probabilities (N, T, K), steps (N,)."""
        return self.graphs["read"](lines, widths)[0], widths // WIDTH_MULTIPLE
