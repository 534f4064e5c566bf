"""Reading the cells of a CSV: its encoding, what separates cells, how numbers are written.

What the file leaves open is refused with the flag that settles it.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from common.errors import DataError, UsageError
from common.files import read_text

_SEPARATORS = (",", ";", "\t", "|")
_GROUPS = {"": "", ",": ",", ".": r"\.", " ": "[ \u00a0\u2009\u202f]", "'": "['\u2019]"}
"""What may group the digits of a number by three, as a pattern."""


@dataclass(frozen=True, kw_only=True)
class TableFlags:
    """How a CSV is written; what is not given is found from the file."""

    separator: str = ""
    """What separates two cells, e.g. ; or tab; by default found from the header."""
    decimal: str = ""
    """What separates decimals, . or ,; by default found from the numbers."""
    thousands: str = ""
    """What groups digits by three, e.g. , or .; by default found from the numbers."""
    encoding: str = ""
    """Encoding of the file, e.g. latin-1; by default UTF-8, or what its first bytes say."""
    date_format: str = ""
    """How dates are written, e.g. %d/%m/%Y as Python's strptime has it; by default found from the dates."""

    def check(self) -> None:
        """Raises UsageError for a flag that means nothing."""
        for name, allowed in (("decimal", (".", ",")), ("thousands", tuple(_GROUPS))):
            given = getattr(self, name)
            if given and given not in allowed:
                raise UsageError(f"--{name} {given!r}: expected one of {' '.join(filter(None, allowed))}")
        if self.decimal and self.decimal == self.thousands:
            raise UsageError(f"--decimal {self.decimal} and --thousands {self.thousands}: must differ")


@dataclass(frozen=True)
class Table:
    """Cells of the requested columns."""

    file: Path
    separator: str
    lines: list[int]
    """Line of the file in which each row ends."""
    columns: dict[str, pd.Series]
    """Name -> text cells without spaces around them."""


def read_table(file: Path, wanted: Sequence[str], flags: TableFlags) -> Table:
    """Read the columns `wanted` of a CSV with a header.

    Raises:
        UsageError: the file or a column is not there, or a flag that does not fit the file.
        DataError: no CSV, or a row with more cells than the header.
    """
    if not file.is_file():
        raise UsageError(f"--data {file}: no such file")
    flags.check()
    text = _text(file, flags.encoding)
    hint = re.match(r'"?sep=(.)"?\r?\n', text)  # a line for Excel
    if hint:
        text = "\n" + text[hint.end() :]
    separator = {"tab": "\t", "\\t": "\t"}.get(flags.separator, flags.separator)
    if len(separator) > 1:
        raise UsageError(f"--separator {separator!r}: expected one character, or tab")
    separator = separator or (hint[1] if hint else _separator(text, wanted))
    try:
        rows = _rows(text, separator)
        header = [cell.strip() for cell in next(rows, (0, []))[1]]
        if not header:
            raise csv.Error("the file is empty")
        for name in wanted:
            if name not in header:
                other = f"; name what separates them with --separator, not {separator!r}"
                raise UsageError(
                    f"{file} has no column {name!r}; it has {', '.join(map(repr, header))}"
                    f"{other if len(header) == 1 else ''}"
                )
        lines: list[int] = []
        columns: dict[str, list[str]] = {name: [] for name in wanted}
        targets = [(columns[name], header.index(name)) for name in columns]
        for line, row in rows:
            if len(row) != len(header):
                if any(row[len(header) :]):
                    quotes = ", or put decimal commas into quotes" if separator == "," else ""
                    raise DataError(
                        f"{file}: line {line} has {len(row)} cells, the header {len(header)}; "
                        f"name what separates them with --separator{quotes}"
                    )
                row = [*row, *[""] * len(header)]
            lines.append(line)
            for column, position in targets:
                column.append(row[position])
    except csv.Error as error:
        raise DataError(f"{file}: no CSV that can be read ({error})") from None
    cells = {name: pd.Series(column, dtype=object).str.strip() for name, column in columns.items()}
    return Table(file, separator, lines, cells)


def _text(file: Path, encoding: str) -> str:
    if encoding:
        try:
            return file.read_bytes().decode(encoding).removeprefix("\ufeff")
        except LookupError:
            raise UsageError(f"--encoding {encoding}: no encoding that Python knows") from None
        except UnicodeDecodeError as error:
            raise UsageError(f"--encoding {encoding}: {file} is not in it (byte {error.start})") from None
    try:
        return read_text(file)
    except DataError as not_unicode:
        try:
            text = file.read_bytes().decode("cp1252")
        except UnicodeDecodeError:
            raise DataError(f"{not_unicode}, or name its encoding with --encoding") from None
    print(f"{file.name}: not UTF-8; read as Windows-1252 (Latin-1); --encoding names another", flush=True)
    return text


def _rows(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row that has any. Raises csv.Error."""
    reader = csv.reader(io.StringIO(text, newline=None), delimiter=separator, skipinitialspace=True)
    for row in reader:
        if any(row):
            yield reader.line_num, row


def _separator(text: str, wanted: Sequence[str]) -> str:
    """The one that gives the columns `wanted`, or else the most columns."""
    headers = {
        separator: [cell.strip() for cell in next(_rows(text, separator), (0, []))[1]]
        for separator in _SEPARATORS
    }
    fitting = [separator for separator, header in headers.items() if set(wanted) <= set(header)]
    return fitting[0] if fitting else max(headers, key=lambda separator: len(headers[separator]))


def read_numbers(table: Table, names: Sequence[str], flags: TableFlags) -> dict[str, np.ndarray]:
    """float64 columns. All are taken to be written alike: decimal point or comma, thousands grouped or not.

    Raises:
        DataError: text or nothing in place of a number, or numbers that may be read in two ways.
    """
    plain = {name: pd.to_numeric(table.columns[name], errors="coerce").to_numpy(float) for name in names}
    is_plain = all(np.isfinite(numbers).all() for numbers in plain.values())
    points = flags.decimal == "." or (table.separator != ";" and not flags.decimal and flags.thousands != ".")
    if is_plain and points:  # beside semicolons "1.234" may be a thousand and more
        return plain
    columns = {name: table.columns[name].str.replace("\u2212", "-") for name in names}
    decimals = [flags.decimal] if flags.decimal else [d for d in (".", ",") if d != flags.thousands]
    groups = [flags.thousands] if flags.thousands else list(_GROUPS)
    styles = [(d, g) for d in decimals for g in groups if d != g]
    fits = {
        style: {name: column.str.fullmatch(_pattern(*style, flags)) for name, column in columns.items()}
        for style in styles
    }
    found = [style for style in styles if all(fit.all() for fit in fits[style].values())]
    if not found:
        best = max(styles, key=lambda style: sum(int(fit.sum()) for fit in fits[style].values()))
        raise _no_number(table, fits[best])
    conversions = [{name: _convert(c, *style) for name, c in columns.items()} for style in found]
    for other in conversions[1:]:
        for name, numbers in conversions[0].items():
            different = np.flatnonzero(numbers != other[name])
            if len(different):
                at = different[0]
                cell = str(columns[name].iloc[at])
                mark = next(c for c in cell if c in ".,")
                raise DataError(
                    f"{table.file}: column {name!r} holds {cell!r} in line {table.lines[at]}, which may be "
                    f"{numbers[at]:.10g} or {other[name][at]:.10g}; "
                    f"give --decimal {mark} or --thousands {mark}"
                )
    return conversions[0]


def _pattern(decimal: str, group: str, flags: TableFlags) -> str:
    """Of one number. Who groups thousands groups all of them, unless the flag says so."""
    whole = r"\d+" if not group or flags.thousands else r"\d{1,3}"
    if group:
        whole += rf"|[1-9]\d{{0,2}}(?:{_GROUPS[group]}\d{{3}})+"
    point = re.escape(decimal)
    return rf"[+-]?(?:(?:{whole})(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?"


def _convert(column: pd.Series, decimal: str, group: str) -> np.ndarray:
    text = column.str.replace(_GROUPS[group], "", regex=True) if group else column
    return np.asarray(pd.to_numeric(text.str.replace(decimal, ".", regex=False)).to_numpy(float))


def _no_number(table: Table, fits: dict[str, pd.Series]) -> DataError:
    name, fit = next((name, fit) for name, fit in fits.items() if not fit.all())
    bad = np.flatnonzero(~fit.to_numpy(bool))
    cell = str(table.columns[name].iloc[bad[0]])
    hint = "; --decimal and --thousands say how numbers are written" if re.search(r"\d[.,' ]", cell) else ""
    return DataError(
        f"{table.file}: column {name!r} holds {repr(cell) if cell else 'nothing'} in line "
        f"{table.lines[bad[0]]} where a number should be ({len(bad)} such rows); fill or remove them{hint}"
    )
