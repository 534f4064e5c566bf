"""The forecaster: a linear base, corrected by an RNN over a window, for all steps of the horizon at once.

Notation: N windows, W steps of a window, F columns, H horizon, D hidden size, Q quantiles, p lags.
"""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import torch
from torch import nn

from common.pretrained import PretrainedModel
from common.recurrent import CellKind, RecurrentEncoder
from common.schema import Range, checked

Base = Literal["none", "seasonal_naive", "ar"]
Transform = Literal["none", "sqrt", "log"]
M = TypeVar("M", bound="ForecastModel")
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
class _Architecture:
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


def linear_base(config: ForecastConfig, scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The base as a linear map of the window's values: weight (H, W) and bias (H,).

    `seasonal_naive` repeats the last season. `ar` is an autoregression of `lags` lags, fitted by least
    squares on `scaled` (T,), the training part, through statsmodels, and unrolled over the horizon: each
    further forecast is also a linear map of the window.

    Raises:
        ValueError: the window is shorter than the season or the lags, or the part too short to fit.
    """
    weight, bias = np.zeros((config.horizon, config.window)), np.zeros(config.horizon)
    if config.base == "seasonal_naive":
        if config.season > config.window:
            raise ValueError(
                f"--season {config.season}: the window, {config.window}, must hold a whole season"
            )
        for h in range(config.horizon):
            weight[h, config.window - config.season + h % config.season] = 1.0
    elif config.base == "ar":
        from statsmodels.tsa.ar_model import AutoReg

        lags = config.lags or config.window
        if lags > config.window or 2 * lags + 2 > len(scaled):
            raise ValueError(
                f"--lags {lags}: at most the window, {config.window}, and half of {len(scaled)} training rows"
            )
        parameters = AutoReg(scaled, lags).fit().params
        rows = [np.eye(config.window)[i] for i in range(config.window)]
        offsets = [0.0] * config.window
        for _ in range(config.horizon):
            recent = zip(parameters[1:], reversed(rows[-lags:]), reversed(offsets[-lags:]), strict=True)
            parts = [(a * row, a * offset) for a, row, offset in recent]
            rows.append(np.sum([row for row, _ in parts], axis=0))
            offsets.append(float(parameters[0] + sum(offset for _, offset in parts)))
        weight, bias = np.array(rows[config.window :]), np.array(offsets[config.window :])
    return weight, bias


class ForecastModel(PretrainedModel):
    """Base plus RNN: forecasts (N, H, Q) in scaled units.

    The RNN's output layer starts at zero, so that the untrained model gives the base.

    Args:
        config: sizes.
        scaler: of the series it belongs to.
    """

    task = "forecasting"
    pipeline_tag = "time-series-forecasting"

    def __init__(self, config: ForecastConfig, scaler: Scaler) -> None:
        super().__init__()
        self.config, self.scaler = config, scaler
        self.rnn = RecurrentEncoder(
            config.cell,
            config.columns,
            config.hidden_size,
            layers=config.layers,
            bidirectional=config.bidirectional,
            dropout=config.dropout,
        )
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(self.rnn.output_size, config.horizon * max(1, len(config.quantiles)))
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        self.base_weight: torch.Tensor
        self.base_bias: torch.Tensor
        self.register_buffer("base_weight", torch.zeros(config.horizon, config.window))
        self.register_buffer("base_bias", torch.zeros(config.horizon))

    def set_base(self, weight: np.ndarray, bias: np.ndarray) -> None:
        """Set the weight and bias of `linear_base`."""
        self.base_weight.copy_(torch.from_numpy(weight))
        self.base_bias.copy_(torch.from_numpy(bias))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """inputs (N, W, F), scaled -> (N, H, Q), scaled; Q is 1 without quantiles."""
        _, last = self.rnn(inputs)
        correction = self.output(self.dropout(last)).view(len(inputs), self.config.horizon, -1)
        base = inputs[..., 0] @ self.base_weight.T + self.base_bias  # N, W -> N, H
        return correction + base.unsqueeze(-1)

    def architecture(self) -> dict[str, Any]:
        """See `PretrainedModel.architecture`."""
        return {"model": asdict(self.config), "scaler": asdict(self.scaler)}

    @classmethod
    def from_architecture(cls: type[M], values: dict[str, Any]) -> M:
        """See `PretrainedModel.from_architecture`."""
        built: _Architecture = checked(_Architecture, values, "architecture")
        columns, scaler = built.model.columns, built.scaler
        if not len(scaler.mean) == len(scaler.std) == columns:
            raise ValueError(f"architecture.scaler has other columns than the model's {columns}")
        return cls(built.model, scaler)


def point_forecast(forecasts: torch.Tensor, quantiles: tuple[float, ...]) -> torch.Tensor:
    """(N, H, Q) -> (N, H): the only value, or the quantile nearest to the median."""
    middle = min(range(len(quantiles)), key=lambda i: abs(quantiles[i] - 0.5)) if quantiles else 0
    return forecasts[..., middle]
