"""What of a forecaster becomes a graph. Notation: N windows, W steps of a window, F columns."""

import torch

from common.export import Traced
from forecasting.model import ForecastModel


def graphs(model: ForecastModel) -> dict[str, Traced]:
    """The graph of a model, with windows of noise to trace and to compare."""
    generator, sizes = torch.Generator().manual_seed(0), model.config
    windows = [torch.randn(n, sizes.window, sizes.columns, generator=generator) for n in (2, 1, 5)]
    return {"forecast": Traced(model, [(each,) for each in windows])}
