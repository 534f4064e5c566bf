"""Forecasting of a time series with RNNs: the RNN without a CNN."""

from forecasting.forecaster import Forecast, Forecaster

__all__ = ["Forecast", "Forecaster"]
