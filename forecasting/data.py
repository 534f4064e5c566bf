"""Reading a time series, its split in time, and the windows that a model sees.

Notation: T times, F columns (the value first, then covariates), W window, H horizon, N windows.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.errors import DataError, UsageError


@dataclass(frozen=True)
class Series:
    """A regular time series."""

    periods: pd.PeriodIndex
    """(T,) one after the other, without gaps."""
    values: np.ndarray
    """float64 (T, F): the value to forecast, then the covariates."""
    name: str
    """Of the value column."""

    def __len__(self) -> int:
        return len(self.values)

    def until(self, period: pd.Period) -> "Series":
        """The part up to `period`, which is included."""
        kept = int((self.periods <= period).sum())
        return Series(self.periods[:kept], self.values[:kept], self.name)


def read_series(file: Path, date_column: str, value_column: str, covariates: tuple[str, ...] = ()) -> Series:
    """Read a CSV with a date, a value and perhaps further numeric columns; rows may stand in any order.

    Raises:
        UsageError: the file or a column is not there.
        DataError: a date that is none, the same date twice, a gap, text or nothing in place of a number, a
            constant value, fewer than four rows.
    """
    if not file.is_file():
        raise UsageError(f"--data {file}: no such file")
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, skipinitialspace=True)
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: no CSV that can be read ({error})") from None
    for column in (date_column, value_column, *covariates):
        if column not in table:
            raise UsageError(f"{file} has no column {column!r}; it has {', '.join(map(repr, table.columns))}")
    numbers = {c: _numbers(table[c], c, file) for c in (value_column, *covariates)}
    try:
        dates = pd.DatetimeIndex(pd.to_datetime(table[date_column]))
    except (ValueError, TypeError) as error:
        raise DataError(f"{file}: column {date_column!r} holds something that is no date ({error})") from None
    if len(dates) < 4:
        raise DataError(f"{file}: {len(dates)} rows are too few to forecast from")
    order = np.argsort(dates.to_numpy(), kind="stable")
    if (np.diff(order) < 0).any():
        print(f"{file.name}: the rows are not in the order of their dates; they were sorted", flush=True)
    periods = _periods(dates[order], file)
    values = np.stack([numbers[c][order] for c in (value_column, *covariates)], axis=1)
    if np.ptp(values[:, 0]) == 0:
        raise DataError(
            f"{file}: column {value_column!r} is {values[0, 0]:g} everywhere: nothing to forecast"
        )
    return Series(periods, values, value_column)


def _numbers(column: Any, name: str, file: Path) -> np.ndarray:
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        cell = repr(column.iloc[bad[0]]) if column.iloc[bad[0]] else "nothing"
        raise DataError(
            f"{file}: column {name!r} holds {cell} in line {bad[0] + 2} where a number should be "
            f"({len(bad)} such rows); fill or remove them"
        )
    return numbers


def _periods(dates: pd.DatetimeIndex, file: Path) -> pd.PeriodIndex:
    """Periods of the usual distance between dates. Raises DataError for repeated dates and gaps."""
    days = float(np.median(np.diff(dates.to_numpy()) / np.timedelta64(1, "D")))
    usual = {"Y": (364, 367), "Q": (89, 93), "M": (28, 31.5), "W": (6.5, 7.5), "D": (0.9, 1.1)}
    frequency = next(
        (f for f, (low, high) in usual.items() if low <= days <= high), "h" if days < 0.9 else None
    )
    if frequency is None:
        raise DataError(
            f"{file}: dates are {days:g} days apart; expected hours, days, weeks, months or years"
        )
    periods = dates.to_period(frequency)
    repeated = periods[periods.duplicated()]
    if len(repeated):
        raise DataError(f"{file}: {len(repeated)} dates stand there more than once, first {repeated[0]}")
    missing = pd.period_range(periods[0], periods[-1], freq=frequency).difference(periods)
    if len(missing):
        raise DataError(f"{file}: {len(missing)} dates are missing, first {missing[0]}; fill the gaps first")
    return periods


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
