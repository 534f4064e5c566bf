import numpy as np
import pandas as pd
import pytest

from common.errors import DataError, UsageError
from forecasting.data import Split, read_series, windows
from forecasting.training import window_parts
from tests.forecasting.conftest import write_series


def read(file):
    return read_series(file, "date", "value", ("other",))


def test_a_series_is_read(file):
    series = read(file)
    assert (len(series), series.values.shape, series.name) == (160, (160, 2), "value")
    assert (series.dates.text(0), str(series.dates.frequency)) == ("2001-01-01", "months")
    assert (series.date_name, len(series.dates)) == ("date", 160)


def test_unsorted_rows_are_sorted_and_said(tmp_path, file, capsys):
    write_series(tmp_path / "b.csv", change=lambda table: table.sample(frac=1, random_state=0))
    assert np.array_equal(read(tmp_path / "b.csv").values, read(file).values)
    assert "they were sorted" in capsys.readouterr().out


def cell(row, column, content):
    def change(table):
        table = table.astype(object)
        table.loc[row, column] = content
        return table

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(index=[5, 6]), "2 dates are missing, first 2001-06"),
        (lambda t: pd.concat([t, t.iloc[[3]]]), "1 dates stand there more than once, first 2001-04"),
        (cell(7, "value", "many"), "'many' in line 9 where a number should be"),
        (cell(7, "value", ""), "holds nothing in line 9"),
        (cell(7, "value", "NaN"), "'NaN' in line 9"),
        (cell(7, "other", "inf"), "'inf' in line 9"),
        (cell(7, "date", "someday"), "'someday' in line 9 where a date should be"),
        (cell(7, "date", ""), "column 'date' holds nothing in line 9 where a date should be"),
        (lambda t: t.assign(value=3.0), "is 3 everywhere"),
        (lambda t: t.head(3), "3 rows are too few"),
    ],
)
def test_bad_content_is_named(tmp_path, change, message):
    write_series(tmp_path / "bad.csv", change=change)
    with pytest.raises(DataError, match=message) as error:
        read(tmp_path / "bad.csv")
    assert "bad.csv" in str(error.value)


def test_what_is_not_there_is_bad_usage(file, tmp_path):
    with pytest.raises(UsageError, match="no column 'Value'; it has 'date', 'value', 'other'"):
        read_series(file, "date", "Value")
    with pytest.raises(UsageError, match="no such file"):
        read_series(tmp_path / "gone.csv", "date", "value")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(DataError, match="no CSV"):
        read_series(tmp_path / "empty.csv", "date", "value")


def test_split_counts_rows_or_shares():
    assert Split.of(100, 0.2, 0.1) == Split(70, 80)
    assert Split.of(100, 24, 12) == Split(64, 76)
    with pytest.raises(UsageError, match="leave -10 of 100 rows"):
        Split.of(100, 90, 20)


def test_windows_end_before_their_targets_and_targets_stay_in_their_part():
    values = np.arange(40.0)[:, None]
    inputs, targets = windows(values, 20, 30, window=5, horizon=3)
    assert (inputs.shape, targets.shape) == ((8, 5, 1), (8, 3))
    assert (inputs[:, -1, 0] + 1 == targets[:, 0]).all()
    assert (targets.min(), targets.max()) == (20, 29)


def test_no_part_sees_the_test_rows():
    values = np.arange(100.0)[:, None]
    parts = window_parts(values, Split(70, 80), window=6, horizon=2)
    assert max(float(t.max()) for t in parts["train"].tensors) == 69
    assert max(float(t.max()) for t in parts["val"].tensors) == 79
    assert float(parts["val"].tensors[1].min()) == 70
    with pytest.raises(
        UsageError, match="--window 6 with --horizon 11 does not fit into the 10 rows of the val"
    ):
        window_parts(values, Split(70, 80), window=6, horizon=11)
