"""Reading texts of any size, their split by position, and their units. Notation: N units of a text.

A text is never held as a whole: it is read in pieces, and its codes lie in a file that is mapped into memory.
"""

import codecs
import io
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from common.errors import DataError, UsageError, VisionWarning
from common.files import Dropped

Unit = Literal["characters", "words"]
BEGIN, UNKNOWN = 0, 1
_SPECIAL = 2
_PIECE = 2**20  # bytes that are read at once
_WORD = re.compile(r" ?\w{1,40}| ?[^\w\s]|\s")
_LONGEST = 42  # of what `_WORD` matches, with room for what it is cut from


@dataclass(frozen=True)
class Text:
    """The characters of one or several files, one after the other; only their number is in memory."""

    files: tuple[Path, ...]
    length: int
    """In characters, line ends counted once."""

    def pieces(self, first: int = 0, last: int | None = None) -> Iterator[str]:
        """The characters [first, last) in pieces of about a megabyte. Raises DataError, OSError."""
        last, at = self.length if last is None else last, 0
        for file in self.files:
            for piece in _decode(file):
                if at >= last:
                    return
                part = piece[max(0, first - at) : last - at]
                at += len(piece)
                if part:
                    yield part


def _decode(file: Path) -> Iterator[str]:
    """The characters of a file, line ends as `\\n`, without a byte order mark.

    Raises:
        DataError: no UTF-8 (or UTF-16 with its mark), or a NUL character, which no text has.
    """
    with file.open("rb") as stream:
        mark = stream.read(2)
        stream.seek(0)
        encoding = "utf-16" if mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
        decoder = codecs.getincrementaldecoder(encoding)()
        lines = io.IncrementalNewlineDecoder(decoder, translate=True)
        at = 0
        while True:
            content = stream.read(_PIECE)
            try:
                piece = lines.decode(content, final=not content)
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{file}: not UTF-8 (near byte {max(0, at - 3) + error.start}); convert it to UTF-8"
                ) from None
            if "\0" in piece:
                raise DataError(
                    f"{file}: a NUL byte (in the megabyte from byte {at:,} on), so it is no text, or UTF-16 "
                    "without its mark; convert it to UTF-8 or remove the byte"
                )
            if piece:
                yield piece
            if not content:
                return
            at += len(content)


def read_text(data: Path) -> Text:
    """Look through a text file, or all files of a folder and those below it, sorted by their paths.

    Files of a folder that are no text are left out, and those that begin with a dot; a line says so.

    Raises:
        UsageError: there is no such file.
        DataError: a file that is no UTF-8 or holds a NUL byte; nothing but empty files.
    """
    if not data.exists():
        raise UsageError(f"--data {data}: no such file or folder")
    if not data.is_dir():
        length = sum(map(len, _decode(data)))
        if not length:
            raise DataError(f"{data}: empty; there is nothing to read")
        return Text((data,), length)
    dropped, files, total = Dropped(), [], 0
    for file in sorted(data.rglob("*")):
        if file.is_dir() or any(part.startswith(".") for part in file.relative_to(data).parts):
            continue
        try:
            length = sum(map(len, _decode(file)))
        except (DataError, OSError) as error:
            dropped.add("no text", error)
            continue
        if length:
            files.append(file)
            total += length
        else:
            dropped.add("empty", file.name)
    if dropped.counts:
        print(dropped, flush=True)
    if not files:
        raise DataError(f"{data}: no text in this folder; expected files in UTF-8")
    return Text(tuple(files), total)


@dataclass(frozen=True)
class Split:
    """Positions of the parts, in characters: train [0, train), val [train, length)."""

    train: int
    length: int

    @classmethod
    def of(cls, length: int, val: float) -> "Split":
        """The last `val`, a share or (from 1 on) a number of characters, is val.

        Raises:
            UsageError: a part would be empty.
        """
        train = length - int(val) if val >= 1 else int((1 - val) * length)
        if not 0 < train < length:
            raise UsageError(
                f"--val {val:g} leaves {max(0, train):,} of {length:,} characters to train on and "
                f"{length - max(0, train):,} for val; give more text, or another share"
            )
        return cls(train, length)

    def part(self, name: str) -> tuple[int, int]:
        """Positions of `train`, `val` or `all`. Raises UsageError for another name."""
        parts = {"train": (0, self.train), "val": (self.train, self.length), "all": (0, self.length)}
        if name not in parts:
            raise UsageError(f"--split {name}: expected one of {', '.join(parts)}")
        return parts[name]


class Alphabet:
    """The units of a text and their codes; 0 is what stands before a text, 1 a unit that is not known.

    Joined, the units of a text are the text again: a word has the space before it, if there is one.

    Args:
        unit: `characters` or `words`.
        units: every known unit, in order.

    Raises:
        ValueError: an unknown kind, a unit that stands twice, or several characters as one.
    """

    def __init__(self, unit: Unit, units: Sequence[str]) -> None:
        if unit not in ("characters", "words"):
            raise ValueError(f"unit {unit!r}: expected characters or words")
        self.unit, self.units = unit, tuple(units)
        self._codes = {known: code for code, known in enumerate(self.units, _SPECIAL)}
        if len(self._codes) != len(self.units):
            raise ValueError("a unit stands twice in the alphabet")
        self._table = np.empty(0, np.int32)
        if unit == "characters":
            if any(len(known) != 1 for known in self.units):
                raise ValueError("an alphabet of characters holds a unit that is not one character")
            points = [ord(known) for known in self.units]
            self._table = np.full(max(points, default=0) + 2, UNKNOWN, np.int32)  # the last is for all above
            self._table[points] = np.arange(_SPECIAL, len(self))

    @classmethod
    def build(cls, unit: Unit, pieces: Iterable[str], min_count: int = 1) -> "Alphabet":
        """Every unit that occurs at least `min_count` times: characters sorted, words by their frequency."""
        if unit == "characters":
            counted = np.zeros(0x110000, np.int64)
            for piece in pieces:
                times = np.bincount(_points(piece))
                counted[: len(times)] += times
            return cls(unit, [chr(point) for point in np.flatnonzero(counted >= min_count)])
        words: Counter[str] = Counter()
        for found_words in _words(pieces):
            words.update(found_words)
        kept = [word for word, times in words.items() if times >= min_count]
        return cls(unit, sorted(kept, key=lambda word: (-words[word], word)))

    def __len__(self) -> int:
        """Number of codes, the two special ones included."""
        return len(self.units) + _SPECIAL

    @property
    def dtype(self) -> Any:
        """The smallest type that holds a code."""
        return np.min_scalar_type(len(self) - 1)

    def encode_each(self, pieces: Iterable[str]) -> Iterator[np.ndarray]:
        """Codes of the units of a text that comes in pieces; also its pieces, as arrays (n,)."""
        if self.unit == "characters":
            for piece in pieces:
                yield self._table[np.minimum(_points(piece), len(self._table) - 1)].astype(self.dtype)
            return
        for words in _words(pieces):
            yield np.array([self._codes.get(word, UNKNOWN) for word in words], self.dtype)

    def encode(self, text: str) -> np.ndarray:
        """Codes (N,) of a text."""
        return np.concatenate([np.empty(0, self.dtype), *self.encode_each([text])])

    def split(self, text: str) -> list[str]:
        """The units of a text."""
        return list(text) if self.unit == "characters" else [w for words in _words([text]) for w in words]

    def decode(self, code: int) -> str:
        """The unit of a code; nothing for what stands before a text, U+FFFD for an unknown one."""
        return self.units[code - _SPECIAL] if code >= _SPECIAL else "\ufffd" * code


def _points(piece: str) -> np.ndarray:
    """Code points (n,) of a text."""
    return np.frombuffer(piece.encode("utf-32-le", "surrogatepass"), np.uint32)


def _words(pieces: Iterable[str]) -> Iterator[list[str]]:
    """The words of a text in pieces; one that a cut divides is put together."""
    rest = ""
    for piece in pieces:
        rest += piece
        if len(rest) <= 2 * _LONGEST:
            continue
        found, end = [], 0
        for match in _WORD.finditer(rest):
            if match.end() > len(rest) - _LONGEST:  # more of it may come
                break
            found.append(match[0])
            end = match.end()
        yield found
        rest = rest[end:]
    yield _WORD.findall(rest)


def encode_part(text: Text, alphabet: Alphabet, first: int, last: int) -> np.ndarray:
    """Codes (N,) of the characters [first, last), in a file without a name that is mapped into memory.

    Raises:
        DataError, OSError: see `Text.pieces`.
    """
    with tempfile.TemporaryFile() as file:  # it lives on disk as long as the map does
        for codes in alphabet.encode_each(text.pieces(first, last)):
            codes.tofile(file)
        file.flush()
        count = file.tell() // np.dtype(alphabet.dtype).itemsize
        if not count:
            return np.empty(0, alphabet.dtype)
        return np.memmap(file, alphabet.dtype, "r", shape=(count,))


def warn_of_unknown(alphabet: Alphabet, text: str, what: str) -> None:
    """Warn of units that the model does not know; it reads each as one unknown unit."""
    unknown = Counter(unit for unit in alphabet.split(text) if alphabet.encode(unit)[0] == UNKNOWN)
    if unknown:
        shown = ", ".join(f"{unit!r}" for unit, _ in unknown.most_common(5))
        warnings.warn(
            f"{what}: {sum(unknown.values())} {alphabet.unit} that the model does not know ({shown}"
            f"{', ...' if len(unknown) > 5 else ''}); it reads each as unknown",
            VisionWarning,
            stacklevel=3,
        )
