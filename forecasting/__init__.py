"""Forecasting of a time series with RNNs: the RNN without a CNN."""

import common.needs_torch  # noqa: F401
from forecasting.forecaster import Forecast, Forecaster
from forecasting.model import ForecastModel

__all__ = ["Forecast", "ForecastModel", "Forecaster"]
