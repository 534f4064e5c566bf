"""Dates of a series: how they are written, how far apart they are, and how they go on."""

import contextlib
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from common.errors import DataError, UsageError
from forecasting.table import Table

_DAY = 86_400 * 10**6  # microseconds
_UNITS = {"h": _DAY // 24, "min": 60 * 10**6, "s": 10**6, "ms": 1000, "us": 1}
_NAMES = {
    "us": "microseconds", "ms": "milliseconds", "s": "seconds", "min": "minutes", "h": "hours", "D": "days",
    "B": "business days", "W": "weeks", "M": "months", "Q": "quarters", "Y": "years",
}  # fmt: skip
_CYCLES = {"D": 7, "B": 5, "W": 52, "M": 12, "Q": 4, "Y": 1}
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True)
class Frequency:
    """How far apart dates are, wherever in their unit they lie (first or last day, which weekday)."""

    count: int
    unit: str
    """A key of `_NAMES`, or the days of a week that is not Monday to Friday: `Mon Tue Sat`."""

    def __str__(self) -> str:
        name = _NAMES.get(self.unit, f"days ({self.unit})")
        return name if self.count == 1 else f"{self.count} {name}"

    def season(self, rows: int) -> int:
        """Rows of a season: a day of hours, a week of days, a year of weeks, months or quarters; 1 is none.

        Of minutes a day where `rows` hold two of them, else an hour; of seconds an hour, else a minute.
        """
        if self.unit not in _UNITS:
            cycle = _CYCLES.get(self.unit, len(self.unit.split()))
            return cycle // self.count if cycle % self.count == 0 else 1
        step = self.count * _UNITS[self.unit]
        cycles = [_UNITS["h"], _UNITS["min"]] if step < _UNITS["min"] else [_DAY, _UNITS["h"]]
        if step >= 5 * _UNITS["min"]:
            cycles = [_DAY]
        seasons = [cycle // step for cycle in cycles if cycle % step == 0 and cycle > step]
        return next((season for season in seasons if 2 * season <= rows), seasons[-1] if seasons else 1)


@dataclass(frozen=True)
class Dates:
    """Regular dates, without gaps."""

    index: pd.DatetimeIndex
    """(T,) ascending; with a time zone where the file gives UTC offsets."""
    frequency: Frequency
    step: Any
    """The pandas offset from one date to the next."""
    last: pd.Timestamp
    """Start of the next step: the last date, or where it would be without jitter."""
    style: str
    """How they are written: `%Y-%m`, `%Y`, `%G-W%V`, `quarter`, or ISO 8601 for anything else (empty)."""

    def __len__(self) -> int:
        return len(self.index)

    def after(self, count: int) -> "Dates":
        """The `count` dates that follow."""
        index = pd.date_range(self.last, periods=count + 1, freq=self.step)[1:]
        return Dates(index, self.frequency, self.step, index[-1], self.style)

    def text(self, row: int) -> str:
        """One date as the file writes its dates, or in ISO 8601; it can be read back."""
        date = self.index[row]
        if self.style:
            return f"{date.year}Q{date.quarter}" if self.style == "quarter" else date.strftime(self.style)
        days = self.index.tz is None and bool((self.index == self.index.normalize()).all())
        return date.strftime("%Y-%m-%d") if days else date.isoformat(sep=" ")


_ORDERS = {
    "%d-%m-%Y": "day/month/year", "%m-%d-%Y": "month/day/year", "%d-%m-%y": "day/month/year",
    "%m-%d-%y": "month/day/year", "%y-%m-%d": "year/month/day",
}  # fmt: skip
"""Ways to write a date that are easily mistaken for each other; where several fit, the first is taken."""
_FORMATS = (
    "%Y-%m-%d", "%Y%m%d", *_ORDERS, "%Y-%m", "%m-%Y", "%Y%m", "%YM%m", "%Y", "%G-W%V-%u",
    "%d-%b-%Y", "%d-%B-%Y", "%b-%d-%Y", "%B-%d-%Y", "%d-%b-%y", "%Y-%b-%d",
    "%b-%Y", "%B-%Y", "%Y-%b", "%Y-%B", "%b-%y",
)  # fmt: skip
_ISO = r"\d{4}-\d{2}-\d{2}(?:[T ].*)?"
_OFFSET = r"^(?P<wall>.*\d:\d{2}\S*?(?:\s?[AaPp][Mm])?)\s*(?P<offset>[Zz]|UTC|GMT|[+-]\d{2}(?::?\d{2})?)$"
_TIME = (
    r"^(?P<date>.+?)[T\s]+(?P<hour>\d{1,2}):(?P<minute>\d{2})"
    r"(?::(?P<second>\d{2}(?:[.,]\d+)?))?\s?(?P<half>[AaPp][Mm])?$"
)


def read_dates(
    table: Table, name: str, date_format: str = "", expected: str = ""
) -> tuple[Dates, np.ndarray]:
    """Find out how a column of dates is written, and how far apart the dates are.

    The order of day and month is the one that gives a regular series, or else the one with the fewest gaps;
    where both are possible, one line says what was understood. Dates with UTC offsets are instants; where
    they are regular only by the clock (days over a clock change), the offsets are left out.

    Args:
        table: the cells.
        name: of the column.
        date_format: as strptime has it; empty is to be found.
        expected: a frequency, as text, that is taken where a few dates fit several.

    Returns:
        the dates, and the positions of their rows in the table.

    Raises:
        UsageError: an invalid format.
        DataError: a cell that is no date, a date given twice, a gap, or dates at no regular distance.
    """
    cells = table.columns[name]
    some = pd.concat([cells.head(50), cells.tail(50)])  # a regular expression a cell takes its time
    offsets = (cells if some.str.match(_OFFSET).any() else some).str.extract(_OFFSET)
    given = offsets["offset"].notna().to_numpy(bool)
    if given.any() and not given.all():
        raise _no_date(table, name, given, "; other rows have a UTC offset")
    walls = _walls(table, name, offsets["wall"] if given.all() else cells, date_format)
    fits = []
    for form, wall in walls.items():
        for index in _instants(wall, offsets["offset"]) if given.all() else [wall]:
            order = np.argsort(index.asi8, kind="stable")
            fits.append((_fit(index[order], _style(form), expected), form, order))
    fit, form, order = min(fits, key=lambda found: (found[0].flaws, not found[0].exact))
    if len(walls) > 1:
        flag = form.replace("-", re.sub(r"\d", "", str(cells.iloc[0]))[:1] or "-")
        understood = (
            f"{_ORDERS.get(form, form)}, {fit.dates.text(0)} to {fit.dates.text(-1)}, {fit.dates.frequency}"
        )
        print(
            f"{table.file.name}: dates are read as {understood}; if they are not {flag}, give --date-format"
        )
    fit.check(table.file)
    return fit.dates, order


def _walls(table: Table, name: str, cells: pd.Series, date_format: str) -> dict[str, pd.DatetimeIndex]:
    """Format -> the dates that the clock showed, for each format that fits every cell."""
    if date_format:
        date_format = date_format if cells is table.columns[name] else date_format.replace("%z", "").strip()
        try:
            parsed = pd.to_datetime(cells, format=date_format, errors="coerce", utc="%z" in date_format)
        except (ValueError, re.error) as error:
            raise UsageError(f"--date-format {date_format!r}: {error}") from None
        index = pd.DatetimeIndex(parsed).tz_localize(None).as_unit("us")
        if index.hasnans:
            raise _no_date(table, name, index.notna(), f"; --date-format is {date_format}")
        return {date_format: index}
    if pd.concat([cells.head(50), cells.tail(50)]).str.fullmatch(_ISO).all():
        with contextlib.suppress(ValueError):  # a UTC offset in the middle
            index = pd.DatetimeIndex(pd.to_datetime(cells, format="ISO8601", errors="coerce")).as_unit("us")
            if not index.hasnans and index.tz is None:
                return {"%Y-%m-%d": index}
    times = cells.str.extract(_TIME)
    days = _plain(times["date"].fillna(cells))
    hours = times["hour"].astype(float)
    half = times["half"].str.lower()
    hours = hours.where(half.isna(), hours.where(hours.between(1, 12)) % 12) + 12 * (half == "pm")
    minutes = times["minute"].astype(float)
    seconds = times["second"].str.replace(",", ".").astype(float).fillna(0)
    seconds = (hours * 3600 + minutes * 60 + seconds).where((hours < 24) & (minutes < 60) & (seconds < 60))
    seconds = seconds.where(times["hour"].notna(), 0)
    after = pd.to_timedelta((seconds * 1e6).round(), unit="us")
    quarters = days.str.fullmatch(r"\d{4}-Q[1-4]").all()
    found: dict[str, pd.DatetimeIndex] = {}
    good: dict[str, np.ndarray] = {}
    for form in ("quarter",) if quarters else _FORMATS:
        index = _parsed(days, form) + pd.TimedeltaIndex(after)
        good[form] = np.asarray(index.notna())
        if not index.hasnans and not any(index.equals(other) for other in found.values()):
            found[form] = index
    if not found:
        best = max(good.values(), key=np.count_nonzero)
        raise _no_date(table, name, best, "; --date-format says how they are written, e.g. %d/%m/%Y")
    return found


def _plain(days: pd.Series) -> pd.Series:
    """Dates without names of weekdays, with hyphens only; quarters as 2005-Q1, ISO weeks as 2005-W01-1."""
    days = days.str.replace(r"^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*[.,\s]+", "", regex=True)
    days = days.str.replace(r"[./,\s-]+", "-", regex=True).str.strip("-")
    days = days.str.replace(r"^(\d{4})-?[Qq]([1-4])$", r"\1-Q\2", regex=True)
    days = days.str.replace(r"^[Qq]([1-4])-?(\d{4})$", r"\2-Q\1", regex=True)
    return days.str.replace(r"^(\d{4})-?W(\d{2})(?:-?(\d))?$", _week, regex=True)


def _week(match: re.Match[str]) -> str:
    return f"{match[1]}-W{match[2]}-{match[3] or 1}"


def _parsed(days: pd.Series, form: str) -> pd.DatetimeIndex:
    if form == "quarter":
        months = days.str[:5] + (3 * days.str[-1].astype(int) - 2).astype(str)
        return pd.DatetimeIndex(pd.to_datetime(months, format="%Y-%m"))
    sample = pd.concat([days.head(50), days.tail(50)])
    if pd.to_datetime(sample, format=form, errors="coerce").isna().mean() > 0.5:
        return pd.DatetimeIndex([pd.NaT] * len(days))
    index = pd.DatetimeIndex(pd.to_datetime(days, format=form, errors="coerce"))
    return index.where(index.year >= 1000)


def _style(form: str) -> str:
    if form == "quarter":
        return form
    codes = set(re.findall("%.", form))
    if codes & {"%d", "%j", "%H", "%I"}:
        return ""
    if "%V" in codes:
        return "%G-W%V"
    return "%Y-%m" if codes & {"%m", "%b", "%B"} else "%Y"


def _instants(wall: pd.DatetimeIndex, offsets: pd.Series) -> list[pd.DatetimeIndex]:
    """What the dates may be: instants; by the clock, where the offset changes."""
    parts = offsets.str.extract(r"(?P<sign>[+-])(?P<hours>\d{2}):?(?P<minutes>\d{2})?").fillna("0")
    minutes = parts["hours"].astype(int) * 60 + parts["minutes"].astype(int)
    ahead = pd.to_timedelta(minutes.where(parts["sign"] != "-", -minutes), unit="min")
    if ahead.nunique() == 1:
        return [wall.tz_localize(timezone(ahead.iloc[0].to_pytimedelta()))]
    return [(wall - pd.TimedeltaIndex(ahead)).tz_localize("UTC"), wall]


def _no_date(table: Table, name: str, good: np.ndarray, expected: str) -> DataError:
    bad = np.flatnonzero(~np.asarray(good, bool))
    cell = str(table.columns[name].iloc[bad[0]])
    return DataError(
        f"{table.file}: column {name!r} holds {repr(cell) if cell else 'nothing'} in line "
        f"{table.lines[bad[0]]} where a date should be ({len(bad)} such rows){expected}"
    )


@dataclass(frozen=True)
class _Fit:
    """Dates fitted to a regular grid, and what is wrong with them."""

    dates: Dates
    exact: bool = False
    """Whether every date lies on the grid."""
    missing: int = 0
    first_missing: str = ""
    repeated: int = 0
    first_repeated: str = ""

    @property
    def flaws(self) -> int:
        return self.missing + self.repeated

    def check(self, file: Path) -> None:
        """Raises DataError for what is wrong."""
        index = self.dates.index
        if self.flaws > len(index):
            middle = pd.Timedelta(int(np.median(np.diff(index.as_unit("us").asi8))), unit="us")
            raise DataError(
                f"{file}: the dates are not equally far apart (mostly about {middle}); expected one every "
                "second, minute, hour, day, business day, week, month, quarter or year, or a multiple of it"
            )
        if not self.flaws:
            return
        first = self.first_repeated or self.first_missing
        at = pd.Timestamp(first) if self.dates.frequency.unit in _UNITS and index.tz is None else None
        clock = (
            "; where the clock was changed, write dates with their UTC offset"
            if at and _may_change(at)
            else ""
        )
        if self.repeated:
            raise DataError(f"{file}: {self.repeated} dates stand there more than once, first {first}{clock}")
        raise DataError(
            f"{file}: {self.missing} dates are missing, first {first}; the dates are {self.dates.frequency}; "
            f"fill the gaps first{clock}"
        )


def _may_change(date: pd.Timestamp) -> bool:
    """Whether clocks are changed at such times: in the night to a Sunday."""
    return date.day_name() == "Sunday" and date.hour <= 3


def _fit(index: pd.DatetimeIndex, style: str, expected: str) -> _Fit:
    """The regular grid that fits ascending dates best."""
    step = _inferred(index)
    if expected == _NAMES["B"] and len(index) <= 5 and _are_business_days(index):
        step = pd.offsets.BDay()  # so few may lie within one week, where they are days as well
    if step is not None:
        return _Fit(Dates(index, _frequency(step), step, index[-1], style), exact=True)
    if index.nunique() == 1:
        dates = Dates(index, Frequency(1, "D"), pd.offsets.Day(), index[-1], style)
        return _Fit(dates, repeated=len(index) - 1, first_repeated=dates.text(0))
    fits = []
    for positions, frequency, step, last in _grids(index):
        dates = Dates(index, frequency, step, last, style)
        jumps = np.diff(positions)
        missing, repeated = int((jumps[jumps > 1] - 1).sum()), int((jumps == 0).sum())
        gap = pd.DatetimeIndex([index[int((jumps > 1).argmax())] + step])
        first_missing = replace(dates, index=gap).text(0) if missing else ""
        first_repeated = dates.text(int((jumps == 0).argmax())) if repeated else ""
        fits.append(_Fit(dates, False, missing, first_missing, repeated, first_repeated))
    off = _Fit(Dates(index, Frequency(1, "D"), pd.offsets.Day(), index[-1], style), missing=len(index) + 1)
    return min(fits, key=lambda fit: fit.flaws, default=off)


def _are_business_days(index: pd.DatetimeIndex) -> bool:
    return bool((pd.date_range(index[0], periods=len(index), freq="B") == index).all())


def _inferred(index: pd.DatetimeIndex) -> Any:
    """The pandas offset of dates without gaps, or None."""
    if len(index) < 3 or not index.is_unique:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas 4 will return the offset itself
        found = pd.infer_freq(index)
    step = None if found is None else to_offset(found)
    if step is None or not _frequency(step).unit:
        return None
    again = pd.date_range(index[0], periods=len(index), freq=step)
    return step if bool((again == index).all()) else None


def _frequency(step: Any) -> Frequency:
    """Of a pandas offset: `QS-OCT`, `BME`, `WOM-3FRI` are quarters and months; no unit for others."""
    alias = re.match("[A-Za-z]+", step.base.freqstr)
    name = alias[0] if alias else ""
    unit = {"WOM": "M", "LWOM": "M"}.get(name, name if name in _NAMES else name.removeprefix("B")[:1])
    return Frequency(step.n, unit if name in _NAMES or name[-1:] in ("S", "E", "M") else "")


def _grids(index: pd.DatetimeIndex) -> Iterator[tuple[np.ndarray, Frequency, Any, pd.Timestamp]]:
    """Grids that dates with gaps or jitter may follow.

    Yields the position of each date on the grid, frequency, step, and the last date on the grid.
    """
    ticks = index.as_unit("us").asi8
    steps = np.diff(np.unique(ticks))
    middle = float(np.median(steps))
    if middle >= 27 * _DAY:
        months = np.asarray(index.year * 12 + index.month)
        count = max(1, round(float(np.median(np.diff(months)))))
        positions = np.round((months - months[0]) / count).astype(int)
        day = 31 if index.is_month_end.all() else int(_mode(np.asarray(index.day)))
        unit = next(unit for unit, size in (("Y", 12), ("Q", 3), ("M", 1)) if count % size == 0)
        size = {"Y": 12, "Q": 3, "M": 1}[unit]
        yield positions, Frequency(count // size, unit), pd.DateOffset(months=count, day=day), index[-1]
    rounded = [round(middle / unit) * unit for unit in (_DAY, *_UNITS.values())]
    for step in dict.fromkeys(
        [int(_mode(steps)), *(r for r in rounded if 0 < abs(r - middle) <= middle / 50)]
    ):
        start = int(_mode(ticks % step))
        positions = (ticks - start + step // 2) // step
        if np.abs(ticks - start - positions * step).max() > 0.3 * step:
            continue
        last = pd.Timestamp(int(positions[-1]) * step + start, unit="us", tz=index.tz and "UTC")
        last = last.tz_convert(index.tz) if index.tz else last
        yield positions, _fixed(step), pd.Timedelta(step, unit="us"), last
    present = tuple(np.unique(index.day_of_week).tolist())
    if _DAY <= middle < 7 * _DAY and len(present) < 7 and (index - index.normalize()).nunique() == 1:
        days = index.tz_localize(None).to_numpy().astype("datetime64[D]")
        for week in dict.fromkeys([(0, 1, 2, 3, 4), present]):
            if set(present) <= set(week) and len(index) >= 2 * len(week):
                positions = np.busday_count(days[0], days, weekmask=[d in week for d in range(7)])
                names = " ".join(_WEEKDAYS[d] for d in week)
                business = len(week) == 5 and week[-1] == 4
                step = pd.offsets.BDay() if business else pd.offsets.CustomBusinessDay(weekmask=names)
                yield positions, Frequency(1, "B" if business else names), step, index[-1]


def _fixed(step: int) -> Frequency:
    for unit, size in (("W", 7 * _DAY), ("D", _DAY), *_UNITS.items()):
        if step % size == 0:
            return Frequency(step // size, unit)
    raise AssertionError("a step is whole microseconds")


def _mode(values: np.ndarray) -> Any:
    found, counts = np.unique(values, return_counts=True)
    return found[counts.argmax()]
