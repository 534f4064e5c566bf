"""A forecaster on torch, in the form of `forecasting.on_graphs`.

Notation: N windows, W steps of a window, F columns, H horizon, Q quantiles.
"""

import numpy as np
import torch

from forecasting.model import ForecastModel


class OnTorch:
    """A model on the CPU, in fp32.

    Args:
        model: from training or `from_pretrained`.
    """

    def __init__(self, model: ForecastModel) -> None:
        self.model = model

    @torch.inference_mode()
    def forecast(self, windows: np.ndarray) -> np.ndarray:
        """Scaled windows, float32 (N, W, F) -> scaled forecasts (N, H, Q)."""
        return self.model(torch.from_numpy(windows)).numpy()
