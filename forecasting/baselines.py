"""Baselines that every forecast should beat, and the decomposition of a series; with statsmodels.

Notation: T rows before the first origin, H horizon, O origins.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from statsmodels.tsa.ar_model import AutoReg, ar_select_order
from statsmodels.tsa.holtwinters import ExponentialSmoothing
from statsmodels.tsa.seasonal import STL

from forecasting.data import Series

Baseline = Callable[[np.ndarray, int], np.ndarray]
"""History up to an origin, H -> forecast (H,)."""


def baselines(observed: np.ndarray, season: int) -> dict[str, Baseline]:
    """Fit every baseline on `observed` (T,), the values before the first origin; later ones extend it.

    - `naive`: the last value.
    - `seasonal_naive`: the last season again; left out where there is no season.
    - `ar`: autoregression, its order chosen by AIC up to a tenth of the rows or two seasons, at most 150.
    - `holt_winters`: damped additive trend and additive season on logarithms (on the values, where one is not
      positive).
    """
    named: dict[str, Baseline] = {"naive": lambda history, horizon: np.full(horizon, history[-1])}
    if 1 < season < len(observed) // 2:
        named["seasonal_naive"] = lambda history, horizon: history[-season:][np.arange(horizon) % season]
    max_lags = min(150, max(len(observed) // 10, 2 * season + 1), len(observed) // 3)
    selected = ar_select_order(observed, max(1, max_lags), ic="aic")
    lags = len(selected.ar_lags) if selected.ar_lags is not None else 0
    parameters = AutoReg(observed, lags).fit().params

    def ar(history: np.ndarray, horizon: int) -> np.ndarray:
        values = list(history[len(history) - lags :])
        for _ in range(horizon):
            values.append(parameters[0] + parameters[1:] @ np.array(values[len(values) - lags :])[::-1])
        return np.array(values[lags:])

    named["ar"] = ar
    seasonal = "seasonal_naive" in named
    logarithm = bool((observed > 0).all())

    def holt_winters(values: np.ndarray) -> ExponentialSmoothing:
        return ExponentialSmoothing(
            np.log(values) if logarithm else values,
            trend="add",
            damped_trend=True,
            seasonal="add" if seasonal else None,
            seasonal_periods=season if seasonal else None,
            initialization_method="heuristic",
        )

    fitted = holt_winters(observed).fit().params

    def smooth(history: np.ndarray, horizon: int) -> np.ndarray:
        forecast = (
            holt_winters(np.maximum(history, 1e-9) if logarithm else history)
            .fit(
                smoothing_level=fitted["smoothing_level"],
                smoothing_trend=fitted["smoothing_trend"],
                damping_trend=fitted["damping_trend"],
                smoothing_seasonal=fitted["smoothing_seasonal"] if seasonal else None,
                optimized=False,
            )
            .forecast(horizon)
        )
        return np.asarray(np.exp(forecast) if logarithm else forecast)

    named["holt_winters"] = smooth
    return named


def plot_decomposition(series: Series, season: int, out: Path) -> None:
    """Draw trend, season and remainder of a series (STL, Cleveland et al. 1990) as PNG.

    Raises:
        ValueError: fewer than two seasons.
    """
    from matplotlib.figure import Figure

    values = series.values[:, 0]
    if season < 2 or len(values) < 2 * season:
        raise ValueError(f"--season {season}: a decomposition needs two seasons of at least 2 rows")
    parts = STL(values, period=season).fit()
    figure = Figure(figsize=(9, 7), layout="constrained")
    axes = figure.subplots(4, 1, sharex=True)
    drawn = {
        series.name: values,
        "trend": parts.trend,
        f"season of {season}": parts.seasonal,
        "remainder": parts.resid,
    }
    for axis, (name, line) in zip(axes, drawn.items(), strict=True):
        axis.plot(series.dates.index, line, linewidth=0.9)
        axis.set_ylabel(name if len(name) < 24 else f"{name[:22]}...")
        axis.grid(alpha=0.3)
    figure.savefig(out, dpi=110, format="png")
