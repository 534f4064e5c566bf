"""Forecasting of a time series with RNNs: the RNN without a CNN."""

from typing import TYPE_CHECKING, Any

from forecasting.forecaster import Forecast, Forecaster

if TYPE_CHECKING:
    from forecasting.model import ForecastModel

__all__ = ["Forecast", "ForecastModel", "Forecaster"]


def __getattr__(name: str) -> Any:
    """The model of torch, which is imported when it is asked for."""
    if name == "ForecastModel":
        from forecasting.model import ForecastModel

        return ForecastModel
    raise AttributeError(name)
