"""Forecasting of a time series with RNNs: the RNN without a CNN."""

from forecasting.forecaster import Forecast, Forecaster
from forecasting.model import ForecastModel

__all__ = ["Forecast", "ForecastModel", "Forecaster"]
