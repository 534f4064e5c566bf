import numpy as np
import pandas as pd
import pytest


def write_series(file, rows=160, *, seed=0, change=None):
    """Monthly CSV: trend, a season of 12 and a little noise, with one covariate; `change` edits the table."""
    random = np.random.default_rng(seed)
    t = np.arange(rows)
    value = 100 + 0.5 * t + 20 * np.sin(2 * np.pi * t / 12) + random.normal(0, 1, rows)
    dates = pd.period_range("2001-01", periods=rows, freq="M").to_timestamp().strftime("%Y-%m-%d")
    table = pd.DataFrame({"date": dates, "value": value.round(3), "other": (t % 7).astype(float)})
    if change:
        table = change(table)
    table.to_csv(file, index=False)
    return file


@pytest.fixture
def file(tmp_path):
    return write_series(tmp_path / "series.csv")
