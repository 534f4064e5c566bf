"""Sizes of a forecaster, and the scale of its series; nothing of torch.

Notation: T times, N windows, W steps of a window, F columns, H horizon, D hidden size, Q quantiles.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from common.cells import CellKind
from common.schema import Range

Base = Literal["none", "seasonal_naive", "ar"]
Transform = Literal["none", "sqrt", "log"]
_Quantile = Annotated[float, Range(0.0001, 0.9999)]


@dataclass(frozen=True, kw_only=True)
class ForecastSizes:
    """Sizes of the model and of its linear base; flags of its training."""

    window: Annotated[int, Range(1, 1_000_000)]
    """Rows of the input window."""
    horizon: Annotated[int, Range(1, 1_000_000)]
    """Rows that it forecasts, all at once."""
    cell: CellKind = "gru"
    """lstm, gru or rnn."""
    hidden_size: Annotated[int, Range(1, 65_536)] = 32
    """Units of the RNN in each direction."""
    layers: Annotated[int, Range(1, 16)] = 1
    """Stacked layers."""
    bidirectional: bool = False
    """Run over the window in both directions."""
    dropout: Annotated[float, Range(0, 1)] = 0.0
    """Between layers and before the output."""
    quantiles: Annotated[tuple[_Quantile, ...], Range(0, 99)] = ()
    """Quantiles to forecast, e.g. 0.1 0.5 0.9; without them the mean."""
    transform: Transform = "none"
    """Applied to the value first: log for growth by percent, sqrt for counts."""
    base: Base = "ar"
    """What the RNN corrects: a linear autoregression, the last season, or nothing."""
    season: Annotated[int, Range(1, 1_000_000)] = 12
    """Rows of a season."""
    lags: Annotated[int, Range(0, 1_000_000)] = 0
    """Lags of the autoregressive base; 0 is the whole window."""


@dataclass(frozen=True, kw_only=True)
class ForecastConfig(ForecastSizes):
    """Sizes of the model, with what its series adds."""

    columns: Annotated[int, Range(1, 100_000)] = 1
    """F, the value and its covariates."""


@dataclass(frozen=True)
class Scaler:
    """Transform, then zero mean and unit variance; fitted only on the training part."""

    transform: Transform
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Range(1e-30)], ...]

    @classmethod
    def fit(cls, values: np.ndarray, transform: Transform) -> "Scaler":
        """From the training values (T, F). Raises ValueError where the transform does not exist."""
        lowest = float(values[:, 0].min())
        if (transform == "log" and lowest <= 0) or (transform == "sqrt" and lowest < 0):
            raise ValueError(f"--transform {transform}: the series goes down to {lowest:g}")
        transformed = _transform_value(values, transform)
        std = transformed.std(axis=0)
        return cls(
            transform, tuple(transformed.mean(axis=0).tolist()), tuple(np.where(std > 0, std, 1.0).tolist())
        )

    def scale(self, values: np.ndarray) -> np.ndarray:
        """(..., F) -> (..., F)."""
        return (_transform_value(values, self.transform) - np.array(self.mean)) / np.array(self.std)

    def restore(self, scaled: np.ndarray) -> np.ndarray:
        """Scaled forecasts of the value -> the data's own units."""
        transformed = scaled * self.std[0] + self.mean[0]
        if self.transform == "log":
            return np.asarray(np.exp(transformed))
        return np.asarray(np.square(np.maximum(transformed, 0)) if self.transform == "sqrt" else transformed)


@dataclass(frozen=True)
class Architecture:
    """What a model's config says of its network."""

    model: ForecastConfig
    scaler: Scaler


def _transform_value(values: np.ndarray, transform: Transform) -> np.ndarray:
    """Apply the transform to the value column; a later value out of its range counts as the nearest in it."""
    transformed = np.array(values, dtype=np.float64)
    if transform == "log":
        transformed[..., 0] = np.log(np.maximum(transformed[..., 0], 1e-9))
    elif transform == "sqrt":
        transformed[..., 0] = np.sqrt(np.maximum(transformed[..., 0], 0))
    return transformed


def point_forecast(forecasts: Any, quantiles: tuple[float, ...]) -> Any:
    """Array or tensor (..., H, Q) -> (..., H): the only value, or the quantile nearest to the median."""
    middle = min(range(len(quantiles)), key=lambda i: abs(quantiles[i] - 0.5)) if quantiles else 0
    return forecasts[..., middle]
