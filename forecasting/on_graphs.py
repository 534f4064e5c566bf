"""A forecaster on the engine. Notation: N windows, W steps of a window, F columns, H horizon, Q quantiles."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from common.engine import GraphModel
from common.schema import checked
from forecasting.config import Architecture


class OnGraphs(GraphModel):
    """The graph of a forecaster, and what its config says of it."""

    task = "forecasting"
    names = ("forecast",)

    def describe(self, facts: Mapping[str, Any], weights: bytes) -> None:
        """See `GraphModel.describe`."""
        built: Architecture = checked(Architecture, self.architecture, "architecture")
        self.config, self.scaler = built.model, built.scaler

    def forecast(self, windows: np.ndarray) -> np.ndarray:
        """Scaled windows, float32 (N, W, F) -> scaled forecasts (N, H, Q)."""
        return self.graphs["forecast"](windows)[0]
