"""Pairs of sentences: readers, the data set and batches of sentences that are nearly equally long.

Notation: N pairs, S subwords of a source sentence, T of its translation.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from common.batches import length_batches
from common.distributed import epochs_trained
from common.errors import DataError, UsageError
from common.files import Dropped, file_lines
from common.text import BOS, EOS, pad
from translation.subwords import Subwords, composed

_NOT_UTF8 = 0.1  # share of the lines from which on a file, and not some of its lines, is in another encoding
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_LANGUAGE = re.compile(r"[a-z]{2,3}([-_][A-Za-z]{2,4})?")


@dataclass(frozen=True)
class SentencePair:
    """A sentence and its translation, in NFC, with one space between words."""

    source: str
    target: str


def read_pairs(data: Path, split: str, source: str, target: str) -> list[SentencePair]:
    """Read one part of a parallel corpus and print what was left out and why.

    `data` is a folder with one of, looked for in this order:

    - `SPLIT.SOURCE` and `SPLIT.TARGET`: a sentence a line, line n of the one belongs to line n of the other;
    - `SPLIT.tsv`: a pair a line, with the names of the languages in the first line, or, without them, source
      first and target second. Quotes are text, unless the whole file is quoted as spreadsheets write it.

    Raises:
        UsageError: the folder, this part of it or a language is not there.
        DataError: files of unequal length, another encoding, or nothing is left.
    """
    if not data.is_dir():
        raise UsageError(f"--data {data}: no such folder")
    if source == target:
        raise UsageError(f"--source {source} and --target {target}: must differ")
    dropped = Dropped()
    files = data / f"{split}.{source}", data / f"{split}.{target}"
    table = data / f"{split}.tsv"
    if all(file.is_file() for file in files):
        name = f"{files[0]} and {files[1].name}"
        rows = _read_lines(files, dropped)
    elif table.is_file():
        name = str(table)
        rows = _read_table(table, source, target, dropped)
    else:
        found = sorted({file.suffix[1:] for file in data.glob(f"{split}.*") if file.suffix != ".tsv"})
        holds = f"its {split!r} part is in {', '.join(found)}" if found else f"holds no {split!r} part"
        raise UsageError(
            f"--data {data}: {holds}; expected {files[0].name} and {files[1].name}, or {table.name}"
        )
    pairs = []
    for number, first, second in rows:
        pair = SentencePair(composed(first), composed(second))
        if pair.source and pair.target:
            pairs.append(pair)
        else:
            empty = "both sentences are" if not pair.source and not pair.target else "one sentence is"
            dropped.add(f"{empty} empty", f"line {number}")
    summary = f"{split}: {len(pairs):,} pairs of {source} and {target} from {name}\n{dropped}"
    if not pairs:
        raise DataError(f"nothing is left to use\n{summary}")
    print(summary, flush=True)
    return pairs


def _decoded(file: Path, lines: Sequence[bytes]) -> list[str | None]:
    """Lines as text, None where one is not UTF-8. Raises DataError where many are not."""
    decoded: list[str | None] = []
    for line in lines:
        try:
            decoded.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            decoded.append(None)
    bad = [number for number, text in enumerate(decoded, 1) if text is None]
    if len(bad) > _NOT_UTF8 * len(lines):
        raise DataError(
            f"{file}: {len(bad):,} of {len(lines):,} lines are not UTF-8, the first is line {bad[0]}; "
            "convert the file to UTF-8"
        )
    return decoded


Rows = Iterator[tuple[int, str, str]]
"""Number of a line, source, target."""


def _read_lines(files: tuple[Path, Path], dropped: Dropped) -> Rows:
    lines = [file_lines(file) for file in files]
    if len(lines[0]) != len(lines[1]):
        counts = " and ".join(f"{file} has {len(each):,}" for file, each in zip(files, lines, strict=True))
        raise DataError(f"{counts} lines; line n of the one must belong to line n of the other")
    texts = [_decoded(file, each) for file, each in zip(files, lines, strict=True)]
    for number, (first, second) in enumerate(zip(*texts, strict=True), 1):
        if first is None or second is None:
            dropped.add("line is not UTF-8", f"line {number}")
        else:
            yield number, first, second


def _read_table(file: Path, source: str, target: str, dropped: Dropped) -> Rows:
    numbers, rows = [], []
    for number, text in enumerate(_decoded(file, file_lines(file)), 1):
        if text is None:
            dropped.add("line is not UTF-8", f"line {number}")
        elif text.strip():
            numbers.append(number)
            rows.append(text.split("\t"))
    numbered = list(zip(numbers, _unquoted(rows), strict=True))
    columns = 0, 1
    header = [cell.strip() for cell in numbered[0][1]] if numbered else []
    if {source, target} <= {*header} or (header and all(map(_LANGUAGE.fullmatch, header))):
        for flag, name in (("source", source), ("target", target)):
            if name not in header:
                raise UsageError(f"--{flag} {name}: {file} has the languages {', '.join(header)}")
        columns = header.index(source), header.index(target)
        numbered = numbered[1:]
    else:
        print(f"{file.name}: no names of languages in its first line; read as {source}, {target}", flush=True)
    for number, row in numbered:
        if len(row) <= max(columns):
            dropped.add("line has too few columns", f"line {number}")
        else:
            yield number, row[columns[0]], row[columns[1]]


def _unquoted(rows: list[list[str]]) -> list[list[str]]:
    """Cells without the quotes of a spreadsheet, where those of the whole file are quoted: all cells are, or
    exactly those with a quote in them, which is then doubled. All other quotes are text.
    """
    cells = [cell.strip() for row in rows for cell in row if '"' in cell]
    every = len(cells) == sum(len(row) for row in rows)
    if not cells or not all(_QUOTED.fullmatch(cell) and (every or '""' in cell[1:-1]) for cell in cells):
        return rows
    return [[cell.strip()[1:-1].replace('""', '"') if '"' in cell else cell for cell in row] for row in rows]


class TranslationBatch(NamedTuple):
    """What the model trains on."""

    source: torch.Tensor
    """(N, S), padded"""
    target: torch.Tensor
    """(N, 1 + T) begin, subwords, end, padding"""
    indices: list[int]
    """which pairs of the data set these are"""


class PairDataset(Dataset[tuple[list[int], list[int], int]]):
    """Pairs as numbers of subwords.

    Args:
        pairs: the sentences.
        source: subwords of their language.
        target: those of the other language.
        max_length: longer pairs are left out, and counted; 0 keeps all.
    """

    def __init__(
        self, pairs: Sequence[SentencePair], source: Subwords, target: Subwords, max_length: int = 0
    ) -> None:
        self.pairs: list[SentencePair] = []
        self.tokens: list[tuple[list[int], list[int]]] = []
        for pair in pairs:
            tokens = source.encode(pair.source), target.encode(pair.target)
            if not max_length or max(map(len, tokens)) <= max_length:
                self.pairs.append(pair)
                self.tokens.append(tokens)
        self.left_out = len(pairs) - len(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, i: int) -> tuple[list[int], list[int], int]:
        return *self.tokens[i], i

    def lengths(self) -> list[int]:
        """Subwords of each pair, both sentences together."""
        return [len(source) + len(target) for source, target in self.tokens]


def collate(items: Sequence[tuple[list[int], list[int], int]]) -> TranslationBatch:
    """Pad sentences to the longest."""
    sources, targets, indices = zip(*items, strict=True)
    ended = [[BOS, *target, EOS] for target in targets]
    source, target = (torch.from_numpy(pad(words)[0]) for words in (sources, ended))
    return TranslationBatch(source, target, list(indices))


class LengthBatches(Sampler[list[int]]):
    """Batches of nearly equally long sentences, in random order; each process takes its rows of each.

    Args:
        lengths: of the sentences; each is drawn once an epoch.
        batch_size: rows over all processes.
        seed: of the order.
        shuffle: a new order each epoch. Without it the shortest come first.
        trainer: has the number of the epoch.
    """

    def __init__(
        self, lengths: Sequence[int], batch_size: int, seed: int, *, shuffle: bool, trainer: Any
    ) -> None:
        self.lengths, self.batch_size, self.seed = np.array(lengths), batch_size, seed
        self.shuffle, self.trainer = shuffle, trainer

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng([self.seed, epochs_trained(self.trainer)])
        size = len(self.lengths)
        jitter = random.uniform(-1, 1, size) if self.shuffle else np.zeros(size)
        yield from length_batches(self.lengths + jitter, self.batch_size, random if self.shuffle else None)
