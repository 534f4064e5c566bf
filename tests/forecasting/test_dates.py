import warnings

import numpy as np
import pandas as pd
import pytest

from common.errors import DataError, UsageError
from forecasting.data import read_series
from forecasting.dates import Frequency
from forecasting.table import TableFlags


@pytest.fixture
def read(tmp_path):
    """Read a series with these dates; no warning of pandas reaches the user."""

    def of(dates, date_format="", expected=""):
        file = tmp_path / "series.csv"
        rows = [f'"{date}",{100 + i % 5}.5' for i, date in enumerate(dates)]
        file.write_text("\n".join(["date,value", *rows]))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return read_series(
                file, "date", "value", flags=TableFlags(date_format=date_format), expected=expected
            )

    return of


def written(frequency, count=40, start="2020-01-01", form=None, tz=None):
    dates = pd.date_range(start, periods=count, freq=frequency, tz=tz)
    return [date.strftime(form) if form else str(date) for date in dates]


def without(dates, *rows):
    return [date for row, date in enumerate(dates) if row not in rows]


def following(series, count=2):
    return [series.dates.after(count).text(row) for row in range(count)]


@pytest.mark.parametrize(
    ("frequency", "name", "season", "following_two"),
    [
        ("s", "seconds", 60, ["2020-01-01 00:00:40", "2020-01-01 00:00:41"]),
        ("min", "minutes", 60, ["2020-01-01 00:40:00", "2020-01-01 00:41:00"]),
        ("15min", "15 minutes", 96, ["2020-01-01 10:00:00", "2020-01-01 10:15:00"]),
        ("30min", "30 minutes", 48, ["2020-01-01 20:00:00", "2020-01-01 20:30:00"]),
        ("h", "hours", 24, ["2020-01-02 16:00:00", "2020-01-02 17:00:00"]),
        ("6h", "6 hours", 4, ["2020-01-11 00:00:00", "2020-01-11 06:00:00"]),
        ("D", "days", 7, ["2020-02-10", "2020-02-11"]),
        ("2D", "2 days", 1, ["2020-03-21", "2020-03-23"]),
        ("B", "business days", 5, ["2020-02-26", "2020-02-27"]),
        ("W-MON", "weeks", 52, ["2020-10-12", "2020-10-19"]),
        ("W-SUN", "weeks", 52, ["2020-10-11", "2020-10-18"]),
        ("2W-FRI", "2 weeks", 26, ["2021-07-16", "2021-07-30"]),
        ("MS", "months", 12, ["2023-05-01", "2023-06-01"]),
        ("ME", "months", 12, ["2023-05-31", "2023-06-30"]),
        ("BME", "months", 12, ["2023-05-31", "2023-06-30"]),
        ("2MS", "2 months", 6, ["2026-09-01", "2026-11-01"]),
        ("QS-JAN", "quarters", 4, ["2030-01-01", "2030-04-01"]),
        ("QE-NOV", "quarters", 4, ["2030-02-28", "2030-05-31"]),
        ("6MS", "2 quarters", 2, ["2040-01-01", "2040-07-01"]),
        ("YS-JAN", "years", 1, ["2060-01-01", "2061-01-01"]),
        ("YE-JUN", "years", 1, ["2060-06-30", "2061-06-30"]),
    ],
)
def test_frequency_season_and_how_the_dates_go_on(read, frequency, name, season, following_two):
    series = read(written(frequency))
    assert str(series.dates.frequency) == name
    assert series.dates.frequency.season(40) == season
    assert following(series) == following_two
    again = read([*following(series, 6)])
    assert str(again.dates.frequency) == name  # a forecast can be read back


def test_the_season_of_short_steps_depends_on_the_rows():
    assert [Frequency(1, "min").season(rows) for rows in (100, 2879, 2880)] == [60, 60, 1440]
    assert [Frequency(10, "s").season(rows) for rows in (100, 720)] == [6, 360]
    assert Frequency(5, "h").season(1000) == 1  # no day is a multiple of five hours


@pytest.mark.parametrize(
    ("dates", "name", "next_date"),
    [
        ([f"{y}-{m:02d}-15" for y in (2020, 2021) for m in range(1, 13)], "months", "2022-01-15"),
        ([f"2021-{m:02d}-{28 + (m % 3 == 0)}" for m in range(2, 12)], "months", "2021-12-28"),
        ([d for d in written("D", 60) if pd.Timestamp(d).day_of_week != 6],
         "days (Mon Tue Wed Thu Fri Sat)", "2020-03-02"),
        ([d for d in written("D", 60) if pd.Timestamp(d).day_of_week not in (4, 5)],
         "days (Mon Tue Wed Thu Sun)", "2020-03-01"),
    ],
)  # fmt: skip
def test_dates_that_pandas_has_no_name_for(read, dates, name, next_date):
    series = read(dates)
    assert str(series.dates.frequency) == name
    assert following(series)[0] == next_date
    if "Sat" in name:
        assert series.dates.frequency.season(100) == 6


def test_clocks_that_are_a_little_off(read):
    random = np.random.default_rng(0)
    dates = pd.date_range("2020-01-01", periods=90, freq="15min")
    series = read((dates + pd.to_timedelta(random.integers(0, 40, 90), unit="s")).astype(str))
    assert str(series.dates.frequency) == "15 minutes"
    holiday = [
        str(d + pd.Timedelta(days=int(i % 9 == 4)))
        for i, d in enumerate(pd.date_range("2020-01-06", periods=60, freq="7D"))
    ]
    series = read(holiday)
    assert (str(series.dates.frequency), following(series)[0]) == ("weeks", "2021-03-01")


@pytest.mark.parametrize(
    ("form", "frequency", "first", "after"),
    [
        ("%Y-%m", "MS", "2020-01", "2023-05"),
        ("%m/%Y", "MS", "2020-01", "2023-05"),
        ("%b %Y", "MS", "2020-01", "2023-05"),
        ("%B-%Y", "MS", "2020-01", "2023-05"),
        ("%YM%m", "MS", "2020-01", "2023-05"),
        ("%Y%m", "MS", "2020-01", "2023-05"),
        ("%b-%y", "MS", "2020-01", "2023-05"),
        ("%Y", "YS", "2020", "2060"),
        ("%G-W%V", "W-MON", "2020-W02", "2020-W42"),
        ("%Y%m%d", "D", "2020-01-01", "2020-02-10"),
        ("%Y/%m/%d", "D", "2020-01-01", "2020-02-10"),
        ("%d.%m.%Y", "D", "2020-01-01", "2020-02-10"),
        ("%d-%b-%Y", "D", "2020-01-01", "2020-02-10"),
        ("%A, %d %B %Y", "D", "2020-01-01", "2020-02-10"),
        ("%b %d, %Y", "D", "2020-01-01", "2020-02-10"),
        ("%d/%m/%y", "D", "2020-01-01", "2020-02-10"),
        ("%d.%m.%Y %H:%M", "h", "2020-01-01 00:00:00", "2020-01-02 16:00:00"),
        ("%m/%d/%Y %I:%M %p", "h", "2020-01-01 00:00:00", "2020-01-02 16:00:00"),
        ("%Y-%m-%dT%H:%M:%SZ", "h", "2020-01-01 00:00:00+00:00", "2020-01-02 16:00:00+00:00"),
        ("%Y-%m-%d %H:%M:%S UTC", "h", "2020-01-01 00:00:00+00:00", "2020-01-02 16:00:00+00:00"),
    ],
)  # fmt: skip
def test_ways_to_write_a_date(read, form, frequency, first, after):
    series = read(written(frequency, form=form))
    assert (series.dates.text(0), following(series)[0]) == (first, after)


@pytest.mark.parametrize("form", ["{y}Q{q}", "{y}-Q{q}", "Q{q} {y}", "Q{q}/{y}"])
def test_quarters(read, form):
    series = read([form.format(y=y, q=q) for y in (2020, 2021) for q in (1, 2, 3, 4)])
    assert (series.dates.text(1), following(series)) == ("2020Q2", ["2022Q1", "2022Q2"])


@pytest.mark.parametrize(
    ("form", "frequency", "count", "said", "first_two"),
    [
        ("%d/%m/%Y", "D", 12, "day/month/year", ["2020-01-01", "2020-01-02"]),  # both would be regular
        ("%d/%m/%Y", "MS", 40, "day/month/year", ["2020-01-01", "2020-02-01"]),
        ("%m/%d/%Y", "MS", 40, "month/day/year", ["2020-01-01", "2020-02-01"]),
        ("%d/%m/%Y %H:%M", "h", 40, "day/month/year", ["2020-01-01 00:00:00", "2020-01-01 01:00:00"]),
        ("%m/%d/%Y %H:%M", "h", 40, "month/day/year", ["2020-01-01 00:00:00", "2020-01-01 01:00:00"]),
        ("%m-%d-%y", "MS", 40, "month/day/year", ["2020-01-01", "2020-02-01"]),
        ("%d/%m/%Y", "D", 40, "", ["2020-01-01", "2020-01-02"]),
        ("%m/%d/%Y", "D", 40, "", ["2020-01-01", "2020-01-02"]),
        ("%m/%d/%Y", "ME", 40, "", ["2020-01-31", "2020-02-29"]),
    ],
)
def test_the_order_of_day_and_month(read, capsys, form, frequency, count, said, first_two):
    series = read(written(frequency, count, form=form))
    assert [series.dates.text(0), series.dates.text(1)] == first_two
    out = capsys.readouterr().out
    assert ("dates are read as" in out) == bool(said)
    assert said in out
    if said:
        assert f"if they are not {form.split()[0]}, give --date-format" in out


def test_a_gap_does_not_mislead(read):
    dates = written("MS", 40, form="%d/%m/%Y")
    with pytest.raises(DataError, match="1 dates are missing, first 2020-06-01; the dates are months"):
        read([*dates[:5], *dates[6:]])


def test_a_given_format_is_followed(read, capsys):
    dates = written("D", 12, form="%d/%m/%Y")
    assert str(read(dates, "%m/%d/%Y").dates.frequency) == "months"
    assert "read as" not in capsys.readouterr().out
    assert read(written("h", form="%Y %j %H"), "%Y %j %H").dates.text(1) == "2020-01-01 01:00:00"
    with_offset = written("h", form="%d/%m/%Y %H:%M+0100")
    assert read(with_offset, "%d/%m/%Y %H:%M%z").dates.text(1) == "2020-01-01 01:00:00+01:00"
    with pytest.raises(
        DataError, match=r"'13/01/2020' in line 14 where a date should be .*--date-format is %m"
    ):
        read(written("D", 20, form="%d/%m/%Y"), "%m/%d/%Y")
    with pytest.raises(UsageError, match="--date-format '%Q'"):
        read(dates, "%Q")


@pytest.mark.parametrize(
    ("zone", "start", "first"),
    [
        ("Europe/Berlin", "2023-03-20", "2023-03-19 23:00:00+00:00"),
        ("Europe/Berlin", "2023-10-20", "2023-10-19 22:00:00+00:00"),
        ("America/New_York", "2023-11-01", "2023-11-01 04:00:00+00:00"),
    ],
)
@pytest.mark.parametrize("frequency", ["h", "15min"])
def test_hours_over_a_clock_change_are_instants(read, zone, start, first, frequency):
    series = read(written(frequency, 1700, start, tz=zone))
    assert str(series.dates.frequency) == {"h": "hours", "15min": "15 minutes"}[frequency]
    assert series.dates.text(0) == first


def test_days_and_months_over_a_clock_change_are_days_and_months(read):
    series = read(written("D", 100, "2023-03-01", tz="Europe/Berlin"))
    assert (series.dates.text(0), following(series)[0]) == ("2023-03-01", "2023-06-09")
    series = read(written("MS", 30, "2023-01-01", tz="Europe/Berlin"))
    assert (str(series.dates.frequency), following(series)[0]) == ("months", "2025-07-01")


def test_a_constant_offset_stays(read):
    series = read(written("h", tz="Asia/Kolkata"))
    assert following(series)[0] == "2020-01-02 16:00:00+05:30"
    assert read(following(series, 5)).dates.index[0] == series.dates.index[-1] + pd.Timedelta(hours=1)


@pytest.mark.parametrize(
    ("dates", "message"),
    [
        (without(written("D"), 9, 10), "2 dates are missing, first 2020-01-10; the dates are days"),
        (without(written("B"), 9), "1 dates are missing, first 2020-01-14; .* business days"),
        (without(written("15min"), 9), "1 dates are missing, first 2020-01-01 02:15:00"),
        (["2020-01-01"] * 5, "4 dates stand there more than once, first 2020-01-01"),
        (["2020-01-01", "2020-03-07", "2020-03-09", "2021-08-30", "2022-01-01"], "not equally far apart"),
        (["2020-01-01T00:00Z", "2020-01-01T01:00", "2020-01-01T02:00Z", "2020-01-01T03:00Z"],
         "'2020-01-01T01:00' in line 3 .*other rows have a UTC offset"),
        (["1/13/2020", "1/14/2020", "14/1/2020", "1/16/2020"],
         "'14/1/2020' in line 4 where a date should be .*--date-format says how they are written"),
        ([d[:19] for d in written("h", 400, "2023-03-20", tz="Europe/Berlin")],
         "1 dates are missing, first 2023-03-26 02:00:00.* write dates with their UTC offset"),
        ([d[:19] for d in written("h", 400, "2023-10-20", tz="Europe/Berlin")],
         "1 dates stand there more than once, first 2023-10-29 02:00:00.* write dates with their UTC offset"),
    ],
)  # fmt: skip
def test_what_is_not_regular_is_named(read, dates, message):
    with pytest.raises(DataError, match=message) as error:
        read(dates)
    assert "pandas" not in str(error.value)
    assert "utc=True" not in str(error.value)


def test_a_few_dates_are_read_as_the_model_expects(read):
    week = written("D", 5, "2020-01-06")
    assert following(read(week))[0] == "2020-01-11"
    assert following(read(week, expected="business days"))[0] == "2020-01-13"
    assert str(read(written("D", 9), expected="business days").dates.frequency) == "days"
    for frequency, name in (("B", "business days"), ("W-MON", "weeks"), ("ME", "months"), ("h", "hours")):
        series = read(written(frequency, 2, "2020-01-31"), expected=name)
        assert str(series.dates.frequency) == name
        assert following(series) == [
            d.removesuffix(" 00:00:00") for d in written(frequency, 4, "2020-01-31")[2:]
        ]
    with pytest.raises(DataError, match="2 rows are too few"):
        read(written("D", 2))
