"""Labelled lines of text: tables and LMDB folders, and what was left out of them."""

import csv
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from common.charset import Charset, composed, steps_needed
from common.errors import DataError, UsageError
from common.files import Dropped, read_text
from common.images import FORMATS, IMAGE_SUFFIXES, blamed_on
from ocr.images import WIDTH_MULTIPLE, LinePreprocess, grey

LABELS = "labels.tsv"
_PART = re.compile(r"(\d+)(rows|groups)")
_FOLD = re.compile(r"([1-9]\d*)of([1-9]\d*)groups")


@dataclass(frozen=True)
class LmdbRecord:
    """An image in an LMDB folder of the deep-text-recognition benchmark."""

    folder: Path
    key: str

    @property
    def name(self) -> str:
        """The key."""
        return self.key

    def open(self) -> io.BytesIO:
        """The image's bytes."""
        with _lmdb(str(self.folder)).begin() as transaction:
            return io.BytesIO(bytes(transaction.get(self.key.encode())))


@cache
def _lmdb(folder: str) -> Any:
    try:
        import lmdb
    except ModuleNotFoundError:
        raise UsageError("an LMDB folder needs the package lmdb; run: pip install '.[lmdb]'") from None
    with _lmdb_errors(folder):
        environment = lmdb.open(folder, readonly=True, lock=False, readahead=False)
        size, pages = Path(folder, "data.mdb").stat().st_size, environment.info()["last_pgno"] + 1
        expected = pages * environment.stat()["psize"]
    if size < expected:  # to read beyond its end would end the process
        raise DataError(f"{folder}: data.mdb is cut off: {size:,} of {expected:,} bytes; copy it again")
    return environment


@contextmanager
def _lmdb_errors(folder: object) -> Iterator[None]:
    """Every error of LMDB becomes a DataError that names the folder."""
    import lmdb

    try:
        yield
    except lmdb.Error as error:
        raise DataError(f"{folder}: a damaged LMDB ({error}); copy it again") from None


@dataclass(frozen=True)
class TextLine:
    """The image of one line and its text."""

    source: Path | LmdbRecord
    text: str
    size: tuple[int, int]
    """Width and height in the file."""
    folder: str
    """Name of its data folder."""
    folded: bool = False
    """Whether the label's case means nothing, since its data set was written in capitals throughout."""

    def grey(self) -> np.ndarray:
        """uint8 (H, W). Raises ImageError."""
        if isinstance(self.source, Path):
            return grey(self.source)
        with blamed_on(self.source.name), Image.open(self.source.open(), formats=FORMATS) as image:
            return grey(image)


def read_lines(folder: Path, last: str = "", *, first: bool = False) -> list[TextLine]:
    """Read a folder with `labels.tsv` (file, text; a header row may be missing), or an LMDB folder.

    Prints what was left out and why.

    Args:
        folder: holds `labels.tsv` or `data.mdb`.
        last: only the last so many rows or groups, as `300rows` or `40groups`, or a fold of the groups, as
            `2of5groups`; a group is the part of a file name before the last underscore. Empty is all.
        first: all but those.

    Raises:
        DataError: no labels, none that can be used, or labels that are no UTF-8 table.
        UsageError: `last` is not of that form.
    """
    dropped = Dropped()
    rows = _read_lmdb(folder) if (folder / "data.mdb").is_file() else _read_table(folder, dropped)
    rows = _part(rows, last, first)
    lines = []
    for source, text in rows:
        reason, size = _check(source, text)
        if reason:
            dropped.add(reason, f"{source.name} {text[:30]!r}")
        else:
            lines.append(TextLine(source, text, size, folder.name))
    summary = f"{folder.name}: {len(lines):,} lines\n{dropped}"
    if not lines:
        raise DataError(f"{folder}: nothing is left to use\n{summary}")
    print(summary, flush=True)
    letters = "".join(line.text for line in lines)
    if letters == letters.upper() and letters != letters.lower() and len(lines) >= 100:
        print(f"  {folder.name}: labels in capitals throughout; their case is taken as unknown", flush=True)
        lines = [replace(line, folded=True) for line in lines]
    return lines


def _read_table(folder: Path, dropped: Dropped) -> list[tuple[Path | LmdbRecord, str]]:
    file = folder / LABELS
    if not file.is_file():
        raise DataError(f"{folder}: no {LABELS} (file<TAB>text, one header row) and no data.mdb in it")
    text = io.StringIO(read_text(file), newline=None)
    lines = csv.reader(text, delimiter="\t", quoting=csv.QUOTE_NONE)
    table = [(number, row) for number, row in enumerate(lines, 1) if row]
    if table and not _is_line(folder, table[0][1]):
        _, header = table.pop(0)
        if header[0].lower() != "file":
            print(f"  the first row, {' '.join(header)[:60]!r}, is taken for a header", flush=True)
    if not table:
        raise DataError(f"{file}: the file has no rows; expected a header and file<TAB>text")
    rows: dict[str, str] = {}
    tabs = 0
    for number, row in table:
        if len(row) < 2:
            dropped.add("no tab in the row", f"row {number}")
            continue
        tabs += len(row) > 2
        label = composed(" ".join(" ".join(row[1:]).split()))
        if row[0] in rows:
            same = rows[row[0]] == label
            dropped.add("a file given before" if same else "a file given before with another text", row[0])
        else:
            rows[row[0]] = label
    if tabs:
        print(f"  {tabs:,} texts have tabs, which are read as spaces", flush=True)
    return [(folder / name, label) for name, label in rows.items()]


def _is_line(folder: Path, row: list[str]) -> bool:
    """Whether the first row of a table is a labelled line, not a header: it begins with an image's name."""
    return Path(row[0]).suffix.lower() in IMAGE_SUFFIXES or (bool(row[0]) and (folder / row[0]).is_file())


def _read_lmdb(folder: Path) -> list[tuple[Path | LmdbRecord, str]]:
    environment = _lmdb(str(folder))
    rows: list[tuple[Path | LmdbRecord, str]] = []
    with _lmdb_errors(folder), environment.begin() as transaction:
        stored = transaction.get(b"num-samples")
        if stored is None:
            raise DataError(
                f"{folder}: no num-samples, so not an LMDB of the deep-text-recognition benchmark"
            )
        count, entries = bytes(stored[:20]).decode("ascii", "replace"), environment.stat()["entries"]
        if not count.isdecimal() or int(count) > entries:
            raise DataError(
                f"{folder}: num-samples is {count!r}, expected a number up to its {entries:,} entries"
            )
        for i in range(1, int(count) + 1):
            label = transaction.get(f"label-{i:09d}".encode())
            text = "" if label is None else bytes(label).decode("utf-8", "replace")
            text = composed(" ".join(text.split()))
            rows.append((LmdbRecord(folder, f"image-{i:09d}"), text))
    return rows


def _part(rows: list[Any], last: str, first: bool) -> list[Any]:
    if not last:
        return rows
    match, fold = _PART.fullmatch(last), _FOLD.fullmatch(last)
    names = [source.name.rpartition("_")[0] for source, _ in rows]
    if fold is not None and int(fold[1]) <= int(fold[2]):
        number, count = int(fold[1]) - 1, int(fold[2])
        inside = {name: zlib.crc32(name.encode()) % count == number for name in names}
        return [row for row, name in zip(rows, names, strict=True) if inside[name] != first]
    if match is None:
        raise UsageError(
            f"{last!r}: expected a number of rows or groups or a fold, as 300rows, 40groups or 2of5groups"
        )
    count = int(match[1])
    if match[2] == "rows":
        return rows[: len(rows) - count] if first else rows[max(0, len(rows) - count) :]
    groups = list(dict.fromkeys(names))
    chosen = set(groups[: len(groups) - count] if first else groups[max(0, len(groups) - count) :])
    return [row for row, name in zip(rows, names, strict=True) if name in chosen]


def _check(source: Path | LmdbRecord, text: str) -> tuple[str, tuple[int, int]]:
    if not text:
        return "no text", (0, 0)
    try:
        with Image.open(source if isinstance(source, Path) else source.open(), formats=FORMATS) as image:
            return "", image.size
    except FileNotFoundError:
        return "the file is missing", (0, 0)
    except Exception:  # decoders meet damage with exceptions of every type
        return "not a picture", (0, 0)


def fit_labels(lines: Sequence[TextLine], charset: Charset, preprocess: LinePreprocess) -> list[TextLine]:
    """The lines that the model can learn; prints which it cannot, and why.

    Raises:
        DataError: none is left.
    """
    kept = []
    dropped = Dropped()
    for line in lines:
        unknown = charset.unknown(line.text)
        steps = -(-preprocess.width(*line.size) // WIDTH_MULTIPLE)
        if unknown:
            reason = "characters that the model does not have; name them with --charset"
            dropped.add(reason, f"{unknown!r} of {line.source.name}")
        elif steps < steps_needed(line.text):
            needs = f"the label needs {steps_needed(line.text)} steps, the picture gives {steps}: widen it"
            dropped.add("a label too long for its picture", f"{line.source.name} ({needs})")
        else:
            kept.append(line)
    if dropped.counts:
        print(dropped, flush=True)
    if not kept:
        raise DataError(
            f"none of the {len(lines):,} labels fits a model with the characters {charset.characters!r}"
        )
    return kept
