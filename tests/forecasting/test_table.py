import numpy as np
import pytest

from common.errors import DataError, UsageError
from forecasting.table import TableFlags, read_numbers, read_table


def numbers(tmp_path, cells, between=",", header="date,value", encoding="utf-8", **flags):
    file = tmp_path / "table.csv"
    rows = [f"2020-01-{i:02d}{between}{cell}" for i, cell in enumerate(cells, 1)]
    file.write_text("\n".join([header.replace(",", between), *rows]), encoding=encoding)
    given = TableFlags(**flags)
    name = header.split(",")[1]
    return read_numbers(read_table(file, ("date", name), given), (name,), given)[name].tolist()


@pytest.mark.parametrize(
    ("cells", "separator", "expected"),
    [
        (["1.5", "-2", "3e2"], ",", [1.5, -2, 300]),
        (["100.691", "112.143"], ",", [100.691, 112.143]),  # no thousands: a comma separates
        (["100,5", "112,25"], ";", [100.5, 112.25]),
        (["100.5", "112.25"], ";", [100.5, 112.25]),
        (["0,691", "12,143"], ";", [0.691, 12.143]),  # no thousand begins with 0
        (["1.234,5", "12,25", "3.456.789"], ";", [1234.5, 12.25, 3456789]),
        (['"1,234.5"', "12.25"], ",", [1234.5, 12.25]),
        (['"1,234,567"', "12"], ",", [1234567, 12]),
        (["1 234,5", "1\u00a0234,5", "1\u202f234"], ";", [1234.5, 1234.5, 1234]),
        (["1'234.5", "12"], ",", [1234.5, 12]),
        (['"12,5"', '"7,25"'], ",", [12.5, 7.25]),
        (["12,5", "7,25"], "\t", [12.5, 7.25]),
        (["12", "7"], "|", [12, 7]),
        (["\u22125", "+7"], ",", [-5, 7]),
    ],
)
def test_numbers_that_can_be_read_in_one_way(tmp_path, cells, separator, expected):
    assert numbers(tmp_path, cells, separator) == expected


@pytest.mark.parametrize(
    ("cells", "separator", "readings", "mark"),
    [
        (['"100,691"', '"112,143"'], ",", ("100691", "100.691"), ","),
        (["100.691", "112.143"], ";", ("100.691", "100691"), "."),
        (["950", "1.020"], ";", ("1.02", "1020"), "."),
    ],
)
def test_numbers_that_can_be_read_in_two_ways_are_refused_with_the_flag(
    tmp_path, cells, separator, readings, mark
):
    message = f"which may be {readings[0]} or {readings[1]}; give --decimal {mark} or --thousands {mark}"
    with pytest.raises(DataError) as error:
        numbers(tmp_path, cells, separator)
    assert message in str(error.value)
    as_decimal = numbers(tmp_path, cells, separator, decimal=mark)
    as_thousands = numbers(tmp_path, cells, separator, thousands=mark)
    assert 1000 * as_decimal[1] == pytest.approx(as_thousands[1])


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["1", "many"], "'many' in line 3 where a number should be (1 such rows); fill or remove them"),
        (["1", ""], "holds nothing in line 3"),
        (["1.5", "NaN", "inf"], "'NaN' in line 3 where a number should be (2 such rows)"),
        (["1.5", '"1,5"'], "--decimal and --thousands say how numbers are written"),
        (["1.5", "1.2.3"], "'1.2.3' in line 3"),
    ],
)
def test_what_is_no_number_is_named(tmp_path, cells, message):
    with pytest.raises(DataError) as error:
        numbers(tmp_path, cells)
    assert message in str(error.value)


def test_a_decimal_comma_that_splits_a_number_is_refused(tmp_path):
    with pytest.raises(
        DataError, match=r"line 2 has 3 cells, the header 2; .*--separator, or put decimal commas"
    ):
        numbers(tmp_path, ["1,5", "2,5"])
    assert numbers(tmp_path, ["1,", "2,"]) == [1, 2]  # nothing stands behind the last comma


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1", "cp1252"])
def test_encodings_are_found(tmp_path, capsys, encoding):
    assert numbers(tmp_path, ["1", "2"], header="date,Gr\u00f6\u00dfe", encoding=encoding) == [1, 2]
    said = "not UTF-8; read as Windows-1252 (Latin-1); --encoding names another"
    assert (said in capsys.readouterr().out) == (encoding in ("latin-1", "cp1252"))


def test_an_encoding_can_be_given(tmp_path, capsys):
    header = "date,\u0426\u0435\u043d\u0430"
    file = tmp_path / "table.csv"
    file.write_text(f"{header}\n2020-01-01,5\n", encoding="cp1251")
    name = header.split(",")[1]
    with pytest.raises(UsageError, match="has no column"):
        read_table(file, ("date", name), TableFlags())
    assert read_table(file, ("date", name), TableFlags(encoding="cp1251")).columns[name].tolist() == ["5"]
    with pytest.raises(UsageError, match=r"--encoding utf-8: .* is not in it"):
        read_table(file, ("date", name), TableFlags(encoding="utf-8"))
    with pytest.raises(UsageError, match="--encoding klingon: no encoding"):
        read_table(file, ("date", name), TableFlags(encoding="klingon"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"decimal": ";"}, "--decimal ';': expected one of . ,"),
        ({"thousands": "x"}, "--thousands 'x': expected one of"),
        ({"decimal": ",", "thousands": ","}, "must differ"),
        ({"separator": "::"}, "--separator '::': expected one character, or tab"),
        (
            {"separator": ","},
            "no column 'date'; it has 'date;value'; name what separates them with --separator",
        ),
    ],
)
def test_flags_that_do_not_fit(tmp_path, flags, message):
    with pytest.raises(UsageError) as error:
        numbers(tmp_path, ["1", "2"], ";", **flags)
    assert message in str(error.value)


def test_separators_can_be_given(tmp_path):
    assert numbers(tmp_path, ["1", "2"], "\t", separator="tab") == [1, 2]
    assert numbers(tmp_path, ["1", "2"], ";", separator=";") == [1, 2]
    assert numbers(tmp_path, ["1", "2"], ":", separator=":") == [1, 2]


def test_what_spreadsheets_leave_in_a_file(tmp_path):
    file = tmp_path / "table.csv"
    file.write_bytes(
        "sep=;\r\ndate ; value\r\n2020-01-01; 1,5\r\n\r\n2020-01-02;2,5\r\n;\r\n".encode("utf-8-sig")
    )
    table = read_table(file, ("date", "value"), TableFlags())
    assert table.lines == [3, 5]
    assert read_numbers(table, ("value",), TableFlags())["value"].tolist() == [1.5, 2.5]


def test_all_columns_are_written_alike(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text("date;value;other\n1;100,691;0,5\n2;112,143;0,25\n")
    table = read_table(file, ("date", "value", "other"), TableFlags())
    found = read_numbers(table, ("value", "other"), TableFlags())
    np.testing.assert_array_equal(found["value"], [100.691, 112.143])
