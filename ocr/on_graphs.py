"""A recognizer on the engine."""

from collections.abc import Mapping
from typing import Any

from common.ctc_predictor import CtcOnGraphs
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
