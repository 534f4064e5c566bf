"""Forecasts of a series: the class that users call."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from typing_extensions import Self

from common.engine import Engine, Precision
from common.errors import DataError, UsageError
from common.predictor import Predictor
from forecasting.config import point_forecast
from forecasting.data import Series
from forecasting.dates import Dates
from forecasting.on_graphs import OnGraphs

if TYPE_CHECKING:
    from forecasting.model import ForecastModel


@dataclass(frozen=True)
class Forecast:
    """What comes after a series, in its own units."""

    dates: Dates
    """H of them."""
    values: np.ndarray
    """(H,)"""
    quantiles: dict[float, np.ndarray]
    """Level -> (H,); empty for a model without quantiles."""

    def to_frame(self, name: str, date_name: str = "date") -> pd.DataFrame:
        """A table: dates as the series writes them, the forecast as `name`, and one column per quantile."""
        columns = {date_name: [self.dates.text(row) for row in range(len(self.dates))], name: self.values}
        return pd.DataFrame({**columns, **{f"quantile_{q:g}": v for q, v in self.quantiles.items()}})


class Forecaster(Predictor["ForecastModel | OnGraphs"]):
    """Forecasts with a trained model, on the CPU in fp32: it is small.

    Args:
        model: from training or `ForecastModel.from_pretrained`.
        device: cpu.
        precision: fp32.
    """

    graph_class = OnGraphs

    def __init__(
        self, model: "ForecastModel | OnGraphs", device: str = "cpu", precision: Precision = "fp32"
    ) -> None:
        super().__init__(model, device, precision)

    @classmethod
    def torch_class(cls) -> "type[ForecastModel]":
        """See `Predictor.torch_class`."""
        from forecasting.model import ForecastModel

        return ForecastModel

    def on_torch(self, model: Any) -> Any:
        """See `Predictor.on_torch`."""
        from forecasting.on_torch import OnTorch

        return OnTorch(model)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        device: str = "cpu",
        precision: Precision = "fp32",
        *,
        engine: Engine = "auto",
        revision: str | None = None,
    ) -> Self:
        """Load a model or run folder, or `hub:user/name`; see `Predictor.from_pretrained`."""
        return super().from_pretrained(name, device, precision, engine=engine, revision=revision)

    def forecast(self, series: Series, horizon: int = 0) -> Forecast:
        """Forecast the `horizon` steps after the last row; 0 takes the model's own.

        Beyond the model's horizon, its point forecasts serve as input in place of observations.

        Raises:
            UsageError: a horizon below 0, or beyond the model's own for one that needs covariates.
            DataError: another frequency or other columns than the model was trained on, or fewer rows than
                its window.
        """
        self.check(series)
        config = self.model.config
        horizon = horizon or config.horizon
        if horizon < 0 or (horizon > config.horizon and config.columns > 1):
            raise UsageError(
                f"--horizon {horizon}: must be at least 1"
                + (
                    f", and at most {config.horizon} for a model with covariates"
                    if config.columns > 1
                    else ""
                )
            )
        values = series.values
        blocks: list[np.ndarray] = []
        while len(blocks) * config.horizon < horizon:
            block = self.backtest(values, [len(values)])[0]  # H, Q
            blocks.append(block)
            if config.columns == 1:
                point = point_forecast(block, config.quantiles)
                values = np.concatenate([values, point[:, None]])
        forecasts = np.concatenate(blocks)[:horizon]
        middle = point_forecast(forecasts, config.quantiles)
        return Forecast(
            series.dates.after(horizon), middle, {q: forecasts[:, i] for i, q in enumerate(config.quantiles)}
        )

    def check(self, series: Series) -> None:
        """Raises DataError for a series of another frequency than the model was trained on."""
        trained_on = self.model.info.get("frequency")
        if trained_on not in (None, str(series.dates.frequency)):  # older models do not say
            raise DataError(
                f"the model was trained on {trained_on}, the series has {series.dates.frequency}; "
                "train one on such a series"
            )

    def backtest(self, values: np.ndarray, origins: list[int]) -> np.ndarray:
        """Forecasts (O, H, Q) from each origin: row `t` sees values (T, F) before row `t` and nothing else.

        Raises:
            DataError: other columns than the model was trained on, or fewer rows than its window.
        """
        config = self.model.config
        if values.shape[1] != config.columns:
            raise DataError(
                f"the model was trained on {config.columns} columns (the value and its covariates), got "
                f"{values.shape[1]}; give the same --covariates"
            )
        if min(origins) < config.window:
            raise DataError(
                f"{min(origins)} rows before the forecast, but the model looks at {config.window}"
            )
        scaled = self.model.scaler.scale(values)
        inputs = np.stack([scaled[t - config.window : t] for t in origins])
        scaled_forecasts = self.network.forecast(inputs.astype(np.float32)).astype(np.float64)
        return self.model.scaler.restore(np.sort(scaled_forecasts, axis=-1))  # quantiles never cross


def plot_forecast(series: Series, forecast: Forecast, out: Path, history: int = 0) -> None:
    """Draw the end of the series, the forecast and its interval as PNG.

    Args:
        series: the observed values.
        forecast: of the steps after them.
        out: file to write.
        history: rows to show; 0 is four times the forecast, at least 36.
    """
    from matplotlib.figure import Figure

    rows = history or max(36, 4 * len(forecast.values))
    figure = Figure(figsize=(9, 4), layout="constrained")
    axis = figure.subplots()
    observed = series.values[-rows:, 0]
    axis.plot(series.dates.index[-rows:], observed, label=series.name, linewidth=1.2)
    dates = series.dates.index[-1:].append(forecast.dates.index)
    joined = np.concatenate([observed[-1:], forecast.values])
    axis.plot(dates, joined, label="forecast", linewidth=1.2)
    levels = sorted(forecast.quantiles)
    if len(levels) > 1:
        low, high = (np.concatenate([observed[-1:], forecast.quantiles[q]]) for q in (levels[0], levels[-1]))
        axis.fill_between(dates, low, high, alpha=0.25, label=f"{levels[0]:.0%} to {levels[-1]:.0%}")
    axis.legend()
    axis.grid(alpha=0.3)
    figure.savefig(out, dpi=110, format="png")
