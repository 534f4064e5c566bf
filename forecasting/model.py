"""The forecaster: a linear base, corrected by an RNN over a window, for all steps of the horizon at once.

Notation: N windows, W steps of a window, F columns, H horizon, D hidden size, Q quantiles, p lags.
"""

from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from common.pretrained import PretrainedModel
from common.recurrent import RecurrentEncoder
from common.schema import checked
from forecasting.config import Architecture, ForecastConfig, Scaler

M = TypeVar("M", bound="ForecastModel")


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
    has_graphs = True

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
        correction = self.output(self.dropout(last)).view(inputs.shape[0], self.config.horizon, -1)
        base = inputs[..., 0] @ self.base_weight.T + self.base_bias  # N, W -> N, H
        return correction + base.unsqueeze(-1)

    def architecture(self) -> dict[str, Any]:
        """See `PretrainedModel.architecture`."""
        return {"model": asdict(self.config), "scaler": asdict(self.scaler)}

    @classmethod
    def from_architecture(cls: type[M], values: dict[str, Any]) -> M:
        """See `PretrainedModel.from_architecture`."""
        built: Architecture = checked(Architecture, values, "architecture")
        columns, scaler = built.model.columns, built.scaler
        if not len(scaler.mean) == len(scaler.std) == columns:
            raise ValueError(f"architecture.scaler has other columns than the model's {columns}")
        return cls(built.model, scaler)

    def graphs(self) -> dict[str, Any]:
        """See `PretrainedModel.graphs`."""
        from forecasting.export import graphs

        return graphs(self)
