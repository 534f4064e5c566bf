"""`visionrnn forecast`: what the command does with its flags."""

import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
import tyro

from common.cli import print_json, print_row
from common.errors import UsageError
from forecasting.data import Series, read_series
from forecasting.forecaster import Forecaster, plot_forecast
from forecasting.table import TableFlags


@dataclass(frozen=True, kw_only=True)
class Config(TableFlags):
    """Forecast what comes after a series.

        visionrnn forecast FILE.csv --model RUN --horizon 12 --plot OUT.png

    Prints a table as CSV, or writes it to `--out`. Of several files, each table stands below a line
    `==> NAME <==`.
    """

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """CSV files with the columns that the model was trained on."""
    model: str
    """A model or run folder, or hub:user/name."""
    data: Path | None = None
    """One more CSV file."""
    date_column: str | None = None
    """Name of the column of dates, where it differs from training."""
    value_column: str | None = None
    """Name of the column to forecast, where it differs from training."""
    covariates: tuple[str, ...] | None = None
    """Names of the covariates, where they differ from training."""
    horizon: int = 0
    """Rows to forecast; 0 is the model's own horizon."""
    json: bool = False
    """Print one JSON object per row of the forecast."""
    out: Path | None = None
    """CSV file to write; a name without a suffix is a folder for NAME.forecast.csv and NAME.forecast.png."""
    plot: Path | None = None
    """PNG file: the end of the series and the forecast."""
    decomposition: Path | None = None
    """PNG file: trend, season and remainder of the series (STL)."""


def main(config: Config) -> None:
    """Forecast, print or write."""
    files = [*config.paths, *([config.data] if config.data else [])]
    if not files:
        raise UsageError("no CSV file given")
    folder = config.out if config.out is not None and not config.out.suffix else None
    for flag, given in (("plot", config.plot), ("decomposition", config.decomposition), ("out", config.out)):
        if given is not None and given.suffix and len(files) > 1:
            raise UsageError(f"--{flag} {given}: one file, and {len(files)} series were given")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    forecaster = Forecaster.from_pretrained(config.model)
    for file in files:
        series = _read(config, file, forecaster)
        forecast = forecaster.forecast(series, config.horizon)
        table = forecast.to_frame(series.name, series.date_name)
        _print(config, file, table, named=len(files) > 1)
        text = table.to_csv(index=False, float_format="%.6g")
        plots = [config.plot] if config.plot else []
        if folder is not None:
            (folder / f"{file.stem}.forecast.csv").write_text(text, encoding="utf-8")
            plots.append(folder / f"{file.stem}.forecast.png")
        elif config.out is not None:
            config.out.write_text(text, encoding="utf-8")
        for plot in plots:
            plot_forecast(series, forecast, plot)
        if config.decomposition is not None:
            from forecasting.baselines import plot_decomposition

            try:
                plot_decomposition(series, forecaster.model.config.season, config.decomposition)
            except ValueError as error:
                raise UsageError(f"--decomposition: {error}") from None


def _read(config: Config, file: Path, forecaster: Forecaster) -> Series:
    trained_on = forecaster.model.info["columns"]
    covariates = trained_on["covariates"] if config.covariates is None else config.covariates
    with redirect_stdout(sys.stderr):  # the table alone goes to stdout
        return read_series(
            file,
            config.date_column or trained_on["date_column"],
            config.value_column or trained_on["value_column"],
            tuple(covariates),
            config,
            str(forecaster.model.info.get("frequency", "")),
        )


def _print(config: Config, file: Path, table: pd.DataFrame, *, named: bool) -> None:
    if config.json:
        for row in table.to_dict("records"):
            print_json({"path": str(file), **row})
    elif config.out is None:
        if named:
            print_row(f"==> {file} <==")
        print(table.to_csv(index=False, float_format="%.6g"), end="", flush=True)
