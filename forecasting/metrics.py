"""Errors of forecasts. O origins, H horizon."""

import numpy as np


def scores(forecast: np.ndarray, actual: np.ndarray, scale: float) -> dict[str, float | None]:
    """Errors of forecasts (O, H) in the data's own units.

    `rmse` over all rows; `rmse_per_origin` the mean of each forecast's own; `mae`; `mape` in percent, None if
    an actual value is 0; `mase` the MAE over `scale`, the MAE of seasonal naive within the training part
    (Hyndman & Koehler 2006).
    """
    error = forecast - actual
    percent = None if (actual == 0).any() else round(float(100 * np.abs(error / actual).mean()), 3)
    return {
        "rmse": round(float(np.sqrt(np.square(error).mean())), 3),
        "rmse_per_origin": round(float(np.sqrt(np.square(error).mean(axis=1)).mean()), 3),
        "mae": round(float(np.abs(error).mean()), 3),
        "mape": percent,
        "mase": round(float(np.abs(error).mean() / scale), 3),
    }
