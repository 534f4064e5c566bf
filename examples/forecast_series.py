"""Train a forecaster on a table and print what comes next, with an interval.

python examples/forecast_series.py FILE.csv DATE_COLUMN VALUE_COLUMN RUN_FOLDER
"""

import sys
from pathlib import Path

from forecasting import Forecaster
from forecasting.data import read_series
from forecasting.training import ForecastingConfig, train


def main(table: Path, dates: str, values: str, run: Path) -> None:
    """Train on windows of two seasons, forecast one."""
    series = read_series(table, dates, values)
    season = series.dates.frequency.season(len(series))
    train(
        ForecastingConfig(
            data=table, date_column=dates, value_column=values, out=run, window=2 * season, horizon=season,
            base="seasonal_naive", quantiles=(0.1, 0.5, 0.9), test=0.0,
        )
    )  # fmt: skip
    print(Forecaster.from_pretrained(run).forecast(series).to_frame(values, dates).to_string(index=False))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]))
