"""Reading a time series, its split in time, and the windows that a model sees.

Notation: T times, F columns (the value first, then covariates), W window, H horizon, N windows.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import DataError, UsageError
from forecasting.dates import Dates, read_dates
from forecasting.table import TableFlags, read_numbers, read_table

_FLAGS = TableFlags()


@dataclass(frozen=True, kw_only=True)
class SeriesFlags(TableFlags):
    """Which series; the same in every script."""

    data: Path
    """CSV file with a date column, a value column and perhaps covariates."""
    date_column: str
    """Name of the column of dates."""
    value_column: str
    """Name of the column to forecast."""
    covariates: tuple[str, ...] = ()
    """Further numeric columns that the model sees up to the present."""


@dataclass(frozen=True)
class Series:
    """A regular time series."""

    dates: Dates
    """T of them, one after the other, without gaps."""
    values: np.ndarray
    """float64 (T, F): the value to forecast, then the covariates."""
    name: str
    """Of the value column."""
    date_name: str = "date"
    """Of the column of dates."""

    def __len__(self) -> int:
        return len(self.values)


def read_series(
    file: Path,
    date_column: str,
    value_column: str,
    covariates: tuple[str, ...] = (),
    flags: TableFlags = _FLAGS,
    expected: str = "",
) -> Series:
    """Read a CSV with a date, a value and perhaps further numeric columns; rows may be in any order.

    Args:
        file: the CSV.
        date_column: name of the column of dates.
        value_column: name of the column to forecast.
        covariates: names of further columns.
        flags: how the file is written; what they leave open is found from it.
        expected: the frequency of the model that the series is for, taken where a few dates fit several.

    Raises:
        UsageError: the file or a column is not there, or a flag does not fit it.
        DataError: a cell that is no date, the same date twice, a gap, text or nothing in place of a number, a
            number that may be read in two ways, a constant value, fewer than four rows (two where a frequency
            is expected).
    """
    table = read_table(file, (date_column, value_column, *covariates), flags)
    if len(table.lines) < (2 if expected else 4):  # a forecast that is read back may be short
        raise DataError(f"{file}: {len(table.lines)} rows are too few to forecast from")
    numbers = read_numbers(table, (value_column, *covariates), flags)
    dates, order = read_dates(table, date_column, flags.date_format, expected)
    if (np.diff(order) < 0).any():
        print(f"{file.name}: the rows are not in the order of their dates; they were sorted", flush=True)
    values = np.stack([numbers[c][order] for c in (value_column, *covariates)], axis=1)
    if np.ptp(values[:, 0]) == 0:
        raise DataError(
            f"{file}: column {value_column!r} is {values[0, 0]:g} everywhere: nothing to forecast"
        )
    return Series(dates, values, value_column, date_column)


@dataclass(frozen=True)
class Split:
    """Rows of the parts, in time: train [0, train), val [train, val), test [val, T)."""

    train: int
    val: int

    @classmethod
    def of(cls, length: int, test: float, val: float) -> "Split":
        """`test` and `val` are numbers of rows where at least 1, else shares of the whole.

        Raises:
            UsageError: nothing is left to train on.
        """
        sizes = [int(part) if part >= 1 else int(part * length) for part in (test, val)]
        split = cls(length - sum(sizes), length - sizes[0])
        if split.train < 4 or min(sizes) < 0:
            raise UsageError(
                f"--test {test:g} and --val {val:g} leave {split.train} of {length} rows to train on"
            )
        return split


def windows(
    values: np.ndarray, first: int, last: int, window: int, horizon: int
) -> tuple[np.ndarray, np.ndarray]:
    """All windows whose targets lie within rows [first, last); their inputs may lie before `first`.

    Returns:
        inputs (N, W, F) and targets (N, H) of the first column.
    """
    starts = range(max(first, window), last - horizon + 1)
    inputs = [values[t - window : t] for t in starts]
    targets = [values[t : t + horizon, 0] for t in starts]
    columns = values.shape[1]
    return np.array(inputs).reshape(-1, window, columns), np.array(targets).reshape(-1, horizon)
