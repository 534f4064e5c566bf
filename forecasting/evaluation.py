"""Rolling-origin backtest of a model and of the baselines: what `scripts/evaluate_forecasting.py` calls."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.cli import command_line, waiting
from common.errors import DataError, UsageError
from common.evaluation import write_report
from common.files import check_folder
from forecasting.baselines import baselines
from forecasting.config import point_forecast
from forecasting.data import SeriesFlags, read_series
from forecasting.forecaster import Forecaster
from forecasting.metrics import scores


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(SeriesFlags):
    """Score a forecaster beside naive, seasonal naive, AR and Holt-Winters by a rolling backtest.

    visionrnn evaluate forecasting --data FILE.csv --date-column DATE --value-column VALUE
    --model RUN --report R.json
    """

    model: str
    """A model or run folder, or hub:user/name. Several, joined by commas, are averaged."""
    split: str = "test"
    """test is everything after the model's val part; val is that part."""
    season: int = 0
    """Rows of a season, for the baselines and MASE; 0 is the season that the model was trained with."""
    origins: int = 0
    """Forecasts to make, evenly over the part; 0 is from every row."""
    report: Path | None = None
    """JSON file to write."""


def evaluate(config: EvaluationConfig) -> None:
    """Forecast, score, print and write the report. Raises UsageError, DataError, ModelError."""
    if config.split not in ("test", "val"):
        raise UsageError(f"--split {config.split}: expected test or val")
    check_folder("--report", config.report)
    forecasters = [Forecaster.from_pretrained(name) for name in config.model.split(",")]
    model = forecasters[0].model
    horizon, season = model.config.horizon, config.season or model.config.season
    if season < 1:
        raise UsageError(f"--season {season}: must be at least 1")
    if len({f.model.config.horizon for f in forecasters}) > 1:
        raise UsageError("--model: the models have different horizons")
    columns = config.date_column, config.value_column, config.covariates
    series = read_series(config.data, *columns, config, str(model.info.get("frequency", "")))
    for forecaster in forecasters:
        forecaster.check(series)
    trained, val = (rows_until(series.dates.index, model.info[f"{name}_until"]) for name in ("train", "val"))
    first, last = (val, len(series)) if config.split == "test" else (trained, val)
    window = max(f.model.config.window for f in forecasters)
    starts = range(max(first, window), last - horizon + 1)
    if not len(starts):
        raise DataError(
            f"{config.data}: no forecast of {horizon} rows fits into {last - first} rows of {config.split} "
            f"(after {model.info['val_until' if config.split == 'test' else 'train_until']}, "
            f"with {window} rows before it)"
        )
    count = min(config.origins or len(starts), len(starts))
    origins = [starts[round(i * (len(starts) - 1) / max(1, count - 1))] for i in range(count)]
    actual = np.stack([series.values[t : t + horizon, 0] for t in origins])  # O, H
    observed = series.values[: starts[0], 0]
    train = series.values[:trained, 0]
    train = train if len(train) > season else observed
    lag = season if len(train) > season else 1
    scale = float(np.abs(train[lag:] - train[:-lag]).mean())
    forecasts = [
        point_forecast(f.backtest(series.values, origins), f.model.config.quantiles) for f in forecasters
    ]
    with waiting("forecasting with the baselines"):
        others = {
            name: scores(np.stack([forecast(series.values[:t, 0], horizon) for t in origins]), actual, scale)
            for name, forecast in baselines(observed, season).items()
        }
    report: dict[str, Any] = {
        **scores(np.mean(forecasts, axis=0), actual, scale),
        "baselines": others,
        "model": config.model,
        "cell": model.config.cell,
        "window": model.config.window,
        "horizon": horizon,
        "seeds": [f.model.info.get("seed") for f in forecasters],
        "parameters": forecasters[0].parameters,
        "minutes": model.info.get("minutes"),
        "val_rmse": [f.model.info.get("metrics", {}).get("rmse") for f in forecasters],
        "data": config.data.name,
        "split": config.split,
        "origins": len(origins),
        "frequency": str(series.dates.frequency),
        "season": season,
        "first_origin": series.dates.text(origins[0]),
        "last_row": series.dates.text(last - 1),
        "command": command_line(),
    }
    print(f"{series.dates.frequency}, season of {season} rows")
    for name, row in {"model": report, **report["baselines"]}.items():
        print(
            f"{name:16}"
            + "  ".join(f"{key} {row[key]}" for key in ("rmse", "rmse_per_origin", "mae", "mape", "mase"))
        )
    print(f"{len(origins)} forecasts of {horizon} rows from {report['first_origin']} on")
    write_report(report, config.report)


def rows_until(index: pd.DatetimeIndex, text: str) -> int:
    """Rows up to a date that a model names; that of an older one is a period, as `2014-05`, counted whole."""
    if len(text) <= 10 or "/" in text:
        limit = pd.Period(text.rpartition("/")[2]).end_time.tz_localize(index.tz)
        return int((index <= limit).sum())
    limit = pd.Timestamp(text)
    limit = limit.tz_localize("UTC") if limit.tz is None else limit
    return int(((index.tz_localize("UTC") if index.tz is None else index) <= limit).sum())
