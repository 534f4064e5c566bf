"""A recognizer and a finder of lines on the engine."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from common.ctc_predictor import CtcOnGraphs
from common.engine import GraphModel
from ocr.config import Architecture
from ocr.images import WIDTH_MULTIPLE, LinePreprocess


class OnGraphs(CtcOnGraphs):
    """The graph of a recognizer, and what its config says of it."""

    task = "ocr"
    sizes = Architecture
    axis = 3
    stride = WIDTH_MULTIPLE

    def describe(self, facts: Mapping[str, Any], weights: bytes) -> None:
        """See `GraphModel.describe`."""
        super().describe(facts, weights)
        self.preprocess = LinePreprocess(self.config.height)


class FinderOnGraphs(GraphModel):
    """The graph of a finder of lines."""

    task = "line-finding"
    names = ("find",)

    def maps(self, page: np.ndarray) -> np.ndarray:
        """A grey page, uint8 (H, W), both multiples of 32 -> probabilities of kernels, sizes: (2, h, w)."""
        found: np.ndarray = self.graphs["find"](page[None])[0][0]
        self.graphs["find"].give_back()  # 150 MB, which would lie idle while the lines are read
        return found
