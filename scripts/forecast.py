"""Forecast what comes after a series.

    python scripts/forecast.py --model RUN --data FILE.csv --horizon 12 --plot OUT.png

Prints a table as CSV, or writes it to `--out`.
"""

import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from common.cli import needs_extra, run
from common.errors import UsageError

with needs_extra("forecast"):
    from forecasting.baselines import plot_decomposition
    from forecasting.data import read_series
    from forecasting.forecaster import Forecaster, plot_forecast
    from forecasting.table import TableFlags


@dataclass(frozen=True, kw_only=True)
class Config(TableFlags):
    """Flags."""

    model: str
    """A model or run folder, or user/name on the hub."""
    data: Path
    """CSV file with the columns that the model was trained on."""
    date_column: str | None = None
    """Name of the column of dates, where it differs from training."""
    value_column: str | None = None
    """Name of the column to forecast, where it differs from training."""
    covariates: tuple[str, ...] | None = None
    """Names of the covariates, where they differ from training."""
    horizon: int = 0
    """Rows to forecast; 0 is the model's own horizon."""
    out: Path | None = None
    """CSV file to write."""
    plot: Path | None = None
    """PNG file: the end of the series and the forecast."""
    decomposition: Path | None = None
    """PNG file: trend, season and remainder of the series (STL)."""


def main(config: Config) -> None:
    """Forecast, print or write."""
    forecaster = Forecaster.from_pretrained(config.model)
    trained_on = forecaster.model.info["columns"]
    covariates = trained_on["covariates"] if config.covariates is None else config.covariates
    with redirect_stdout(sys.stderr):  # the table alone goes to stdout
        series = read_series(
            config.data,
            config.date_column or trained_on["date_column"],
            config.value_column or trained_on["value_column"],
            tuple(covariates),
            config,
            str(forecaster.model.info.get("frequency", "")),
        )
    forecast = forecaster.forecast(series, config.horizon)
    table = forecast.to_frame(series.name, series.date_name).to_csv(index=False, float_format="%.6g")
    if config.out is None:
        print(table, end="")
    else:
        config.out.write_text(table, encoding="utf-8")
    if config.plot is not None:
        plot_forecast(series, forecast, config.plot)
    if config.decomposition is not None:
        try:
            plot_decomposition(series, forecaster.model.config.season, config.decomposition)
        except ValueError as error:
            raise UsageError(f"--decomposition: {error}") from None


if __name__ == "__main__":
    run(main, Config, __doc__)
