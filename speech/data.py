"""Clips with their transcripts: readers, cached spectrograms, the data set and its batches.

Notation: N clips, F frames, B bands.
"""

import csv
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from common.batches import length_batches
from common.charset import Charset, steps_needed
from common.cli import waiting
from common.distributed import epochs_trained
from common.errors import DataError, UsageError
from common.files import Dropped, locked, read_text, write_aside
from common.threads import ahead
from speech.augmentation import Mel, distorted, joined, masked, recorded
from speech.config import STRIDE
from speech.features import MARGIN, VERSION, LogMel, stack, with_margins
from speech.sound import SoundError, sound_blocks
from speech.text import RULE, has_digits, normalized

_PARTS = {"val": 0, "test": 1}  # of twenty parts, where a corpus has no parts of its own
_LIBRI = {"val": "dev"}  # how LibriSpeech calls the parts
_PAUSE_FRAMES = 30  # of a pause between joined clips, about
_NOTHING = 0.01  # share of what is drawn that is noise without speech
_NAMES = {
    "file": ("file", "path", "audio", "wav", "filename"),
    "text": ("text", "sentence", "transcript", "transcription"),
    "speaker": ("speaker", "client_id", "speaker_id"),
}
"""Of columns: ours, those of Common Voice and others."""


@dataclass(frozen=True)
class Clip:
    """A recording of a few words."""

    path: Path
    text: str
    """As `speech.text.normalized` gives it."""
    speaker: str
    seconds: float = 0.0
    """Known once its spectrogram is there."""


def read_clips(data: Path, split: str, *, digits: bool = False) -> list[Clip]:
    """Read one part of a corpus and print what was left out and why.

    `data` is a folder with one of, looked for in this order:

    - `SPLIT.tsv`: a table with the columns `file`, `text` and perhaps `speaker`, or Common Voice's `path`,
      `sentence`, `client_id`, whose files lie in `clips/`;
    - `metadata.csv` of LJSpeech, `ID|text|text with numbers as words`, whose files are `wavs/ID.wav`; it has
      no parts, so that one clip of twenty, by its ID, is val and another one test;
    - LibriSpeech's folders `SPLIT*/SPEAKER/CHAPTER/*.trans.txt`; its `dev` is val.

    Args:
        data: the folder.
        split: the part.
        digits: keep texts with digits, which no recognizer spells, for scoring.

    Raises:
        UsageError: the folder or this part of it is not there.
        DataError: the file is damaged, or nothing is left.
    """
    if not data.is_dir():
        raise UsageError(f"--data {data}: no such folder")
    dropped = Dropped()
    table, metadata = data / f"{split}.tsv", data / "metadata.csv"
    folders = sorted(
        f for f in data.iterdir() if f.is_dir() and f.name.startswith((split, _LIBRI.get(split, split)))
    )
    if table.is_file():
        name, rows = str(table), _read_table(table, dropped)
    elif metadata.is_file():
        name, rows = str(metadata), _read_metadata(metadata, split, dropped)
        print(
            f"{metadata}: has no parts; one clip of twenty, by its ID, is val, another one test", flush=True
        )
    elif any(next(f.glob("*/*/*.trans.txt"), None) for f in folders):
        name, rows = ", ".join(map(str, folders)), _read_libri(folders, dropped)
    else:
        found = ", ".join(sorted(f.name for f in data.glob("*.tsv"))) or "no table"
        raise UsageError(
            f"--data {data}: holds no {split!r} part ({found}); expected {table.name}, metadata.csv "
            f"as in LJSpeech, or folders {split}*/ as in LibriSpeech"
        )
    clips: list[Clip] = []
    seen: set[Path] = set()
    example = None
    for path, text, speaker in rows:
        plain = normalized(text)
        if not plain:
            dropped.add("text without a word", f"{path.name}: {text!r}")
        elif has_digits(plain) and not digits:
            dropped.add("text with digits, which are read as words", f"{path.name}: {text!r}")
        elif path in seen:
            dropped.add("file that occurs twice", path.name)
        elif not path.is_file():
            dropped.add("no such file", path)
        else:
            seen.add(path)
            clips.append(Clip(path, plain, speaker))
            example = example if example and example[0] != example[1] else (text, plain)
    summary = f"{split}: {len(clips):,} clips from {name}\n{dropped}"
    if not clips:
        raise DataError(f"nothing is left to use\n{summary}")
    speakers = len({clip.speaker for clip in clips})
    rule = RULE if digits else f"{RULE}; those with digits left out"
    print(f"{summary}\n  speakers: {speakers:,}\n  texts: {rule}", flush=True)
    if example:
        print(f"  {example[0]!r} is read as {example[1]!r}", flush=True)
    return clips


Rows = Iterator[tuple[Path, str, str]]
"""File, text, speaker."""


def _read_table(file: Path, dropped: Dropped) -> Rows:
    lines = read_text(file).splitlines()
    header = [cell.strip().lower() for cell in lines[0].split("\t")] if lines else []
    columns = {
        ours: next((header.index(n) for n in names if n in header), -1) for ours, names in _NAMES.items()
    }
    if columns["file"] < 0 or columns["text"] < 0:
        raise DataError(
            f"{file}: its first line is {lines[0][:80] if lines else ''!r}; expected the names of columns, "
            "file and text (or path and sentence), with tabs between them"
        )
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        cells = line.split("\t")
        if len(cells) <= max(columns["file"], columns["text"]):
            dropped.add("line has too few columns", f"line {number}")
            continue
        path = file.parent / cells[columns["file"]].strip()
        if not path.is_file() and (file.parent / "clips" / path.name).is_file():
            path = file.parent / "clips" / path.name
        known = 0 <= columns["speaker"] < len(cells)
        yield path, cells[columns["text"]], cells[columns["speaker"]].strip() if known else ""


def _read_metadata(file: Path, split: str, dropped: Dropped) -> Rows:
    lines = read_text(file).splitlines()
    for number, row in enumerate(csv.reader(lines, delimiter="|", quoting=csv.QUOTE_NONE), 1):
        if len(row) < 2:
            if row:
                dropped.add("line has too few columns", f"line {number}")
            continue
        part = zlib.crc32(row[0].encode()) % 20
        if part == _PARTS[split] if split in _PARTS else part >= len(_PARTS):
            yield file.parent / "wavs" / f"{row[0]}.wav", row[-1], file.parent.name


def _read_libri(folders: Sequence[Path], dropped: Dropped) -> Rows:
    for folder in folders:
        for file in sorted(folder.glob("*/*/*.trans.txt")):
            for number, line in enumerate(read_text(file).splitlines(), 1):
                name, _, text = line.partition(" ")
                if not text:
                    dropped.add("line has no text", f"{file.name}, line {number}")
                    continue
                yield file.parent / f"{name}.flac", text, file.parent.parent.name


def alphabet(clips: Sequence[Clip]) -> str:
    """The characters of all texts, the space first."""
    return "".join(sorted({" ", *(c for clip in clips for c in clip.text)}))


class Spectrograms:
    """Log-mel spectrograms of clips, half precision, in a mapped file. Safe to send to DataLoader workers.

    Args:
        file: of the cache.
        ends: frame at which each ends.
        bands: B.
    """

    def __init__(self, file: Path, ends: Sequence[int], bands: int) -> None:
        self.file, self.ends, self.bands = file, ends, bands
        self._open()

    def _open(self) -> None:
        self._frames = np.memmap(self.file, np.float16, "r", shape=(self.ends[-1], self.bands))

    def __getitem__(self, i: int) -> np.ndarray:
        """float32 (F, B)."""
        return np.array(self._frames[self.ends[i - 1] if i else 0 : self.ends[i]], np.float32)

    def __len__(self) -> int:
        return len(self.ends)

    def __getstate__(self) -> dict[str, Any]:
        return {"file": self.file, "ends": self.ends, "bands": self.bands}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()


def spectrograms(
    clips: Sequence[Clip], rate: int, bands: int, folder: Path, workers: int
) -> tuple[list[Clip], Spectrograms]:
    """Spectrograms of the clips that can be read, from the cache in `folder` where it has them.

    Prints what cannot be read. A file that changed its size or time is read again, and so is all of the part.

    Raises:
        SoundError: none can be read.
    """
    facts = [[str(clip.path.resolve()), *_stat(clip.path)] for clip in clips]
    key = hashlib.sha256(json.dumps([VERSION, rate, bands, facts]).encode()).hexdigest()[:24]
    folder.mkdir(parents=True, exist_ok=True)
    index, file = folder / f"{key}.json", folder / f"{key}.f16"
    with locked(folder, wait=True):
        found = _read_index(index, file, len(clips), bands)
        if found is None:
            with waiting(f"computing the spectrograms of {len(clips):,} clips"):
                found = _compute(clips, LogMel(rate, bands), file, workers)
            if found["ends"]:  # where nothing can be read, the machine may be at fault: look again next time
                with write_aside(index) as aside:
                    aside.write_text(json.dumps(found), encoding="utf-8")
    errors = {int(i): message for i, message in found["errors"].items()}
    for message in errors.values():
        print(f"  left out {message}", flush=True)
    if len(errors) == len(clips):
        raise SoundError(f"none of the {len(clips):,} clips could be read; first: {found['errors']['0']}")
    good = [clip for i, clip in enumerate(clips) if i not in errors]
    ends = found["ends"]
    lengths = np.diff([0, *ends]).tolist()
    timed = [replace(clip, seconds=n / 100) for clip, n in zip(good, lengths, strict=True)]
    return timed, Spectrograms(file, ends, bands)


def _compute(clips: Sequence[Clip], mel: LogMel, file: Path, workers: int) -> dict[str, Any]:
    ends: list[int] = []
    errors: dict[str, str] = {}

    def read(clip: Clip) -> np.ndarray:
        return mel.of_blocks(sound_blocks(clip.path, mel.rate))

    with write_aside(file) as aside, aside.open("wb") as out:
        for i, frames in enumerate(ahead(read, clips, workers, 2 * workers)):
            if isinstance(frames, Exception):
                errors[str(i)] = str(frames)
            else:
                out.write(frames.astype(np.float16).tobytes())
                ends.append((ends[-1] if ends else 0) + len(frames))
    return {"ends": ends, "errors": errors}


def _read_index(index: Path, file: Path, count: int, bands: int) -> dict[str, Any] | None:
    """What a cache says of itself, None where it is missing or damaged."""
    try:
        found: dict[str, Any] = json.loads(index.read_text(encoding="utf-8"))
        ends = found["ends"]
        whole = len(ends) + len(found["errors"]) == count
        size = 2 * bands * (ends[-1] if ends else 0)
        return found if whole and file.stat().st_size == size else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _stat(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def fitting(clips: Sequence[Clip], charset: Charset, longest: float) -> tuple[list[int], Dropped]:
    """Positions of the clips that can be trained on, and what was left out."""
    dropped = Dropped()
    kept = []
    for i, clip in enumerate(clips):
        unknown = charset.unknown(clip.text)
        steps = (round(100 * clip.seconds) + 2 * MARGIN) // STRIDE
        if unknown:
            dropped.add("text with characters outside the alphabet", f"{clip.path.name}: {unknown!r}")
        elif steps < steps_needed(clip.text):
            dropped.add(
                "clip too short for its text", f"{clip.path.name}: {clip.seconds:.2f} s, {clip.text!r}"
            )
        elif clip.seconds > longest:
            dropped.add(f"clip longer than {longest:g} seconds", clip.path.name)
        else:
            kept.append(i)
    return kept, dropped


class Draw(NamedTuple):
    """One sample of an epoch."""

    rows: tuple[int, ...]
    """Clips that are joined; none is noise without speech."""
    seed: int
    """Of what is changed; -1 leaves a single clip as it is."""
    frames: int
    """That it will roughly have."""


class SpeechBatch(NamedTuple):
    """What the model trains on."""

    frames: torch.Tensor
    """(N, F, B)"""
    lengths: torch.Tensor
    """(N,) frames of each clip"""
    targets: torch.Tensor
    """Classes of all texts, one after the other."""
    target_lengths: torch.Tensor
    """(N,)"""
    indices: list[int]


class SpeechDataset(Dataset[tuple[np.ndarray, str, int]]):
    """Draws -> spectrograms.

    Args:
        clips: those of `spectrograms`.
        store: theirs.
        mean: (B,) of the training part, which masks are set to.
        rate: samples a second.
        chosen: the clips that are used, by position; None is all.
        join: put pauses before, between and behind the clips of a draw, also where it is one.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        store: Spectrograms,
        mean: np.ndarray,
        rate: int,
        chosen: Sequence[int] | None = None,
        join: bool = False,
    ) -> None:
        self.chosen = list(range(len(clips)) if chosen is None else chosen)
        self.clips = [clips[i] for i in self.chosen]
        self.store, self.mean, self.mel, self.join = store, mean, Mel(rate, store.bands), join

    def __len__(self) -> int:
        return len(self.clips)

    def frames(self, row: int) -> np.ndarray:
        """The spectrogram of a clip as it is used."""
        return with_margins(self.store[self.chosen[row]])

    def __getitem__(self, draw: Draw) -> tuple[np.ndarray, str, int]:
        text = " ".join(self.clips[row].text for row in draw.rows)
        if draw.seed < 0:
            return self.frames(draw.rows[0]), text, draw.rows[0]
        random = np.random.default_rng(draw.seed)
        frames = (
            self.frames(draw.rows[0])
            if draw.rows and not self.join
            else joined([self.store[self.chosen[row]] for row in draw.rows], draw.frames, self.mel, random)
        )
        if draw.rows:
            changed = distorted(frames, self.mel, random)
            enough = STRIDE * (steps_needed(text) + 1)
            frames = changed if len(changed) >= enough else frames
        return masked(recorded(frames, self.mel, random), self.mean, random), text, -1


class SpeechBatches(Sampler[list[Draw]]):
    """Batches of draws that are nearly equally long, in random order; each process takes its rows of each.

    In the first epoch the short ones come first (SortaGrad, Amodei et al. 2016, section 3.3).

    Args:
        clips: each is drawn once an epoch, `repeat` times over.
        batch_size: rows over all processes.
        seed: of everything.
        shuffle: change and shuffle. Without it: every clip as it is.
        trainer: has the number of the epoch.
        join: one to so many clips of a speaker are joined.
        repeat: see `clips`.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        batch_size: int,
        seed: int,
        *,
        shuffle: bool,
        trainer: Any,
        join: int = 1,
        repeat: int = 1,
    ) -> None:
        self.frames = [round(100 * clip.seconds) for clip in clips]
        speakers: dict[str, list[int]] = {}
        for i, clip in enumerate(clips):
            speakers.setdefault(clip.speaker, []).append(i)
        self.speakers = list(speakers.values())
        self.batch_size, self.seed, self.shuffle, self.trainer = batch_size, seed, shuffle, trainer
        self.join, self.repeat = (join, repeat) if shuffle else (1, 1)

    def __len__(self) -> int:
        return -(-len(self._draws(self._random())) // self.batch_size)

    def _random(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, epochs_trained(self.trainer)])

    def _draws(self, random: np.random.Generator) -> list[Draw]:
        """What an epoch draws; as many in each epoch."""
        if not self.shuffle:
            return [Draw((i,), -1, frames) for i, frames in enumerate(self.frames)]
        groups: list[tuple[int, ...]] = []
        sizes = np.arange(1, self.join + 1)
        for rows in self.speakers:
            order = np.concatenate([random.permutation(rows) for _ in range(self.repeat)]).tolist()
            drawn = np.resize(
                sizes, max(1, int(len(order) / sizes.mean()))
            )  # together not more than there are
            ends = np.cumsum(random.permutation(drawn)).tolist()
            groups += [
                tuple(order[end - size : end]) for end, size in zip(ends, np.diff([0, *ends]), strict=True)
            ]
        frames = [sum(self.frames[i] + _PAUSE_FRAMES for i in rows) for rows in groups]
        empty = round(_NOTHING * len(groups))
        groups += [()] * empty
        frames += [int(random.choice(frames)) for _ in range(empty)]
        seeds = random.integers(0, 2**31, len(groups)).tolist()
        return [Draw(*each) for each in zip(groups, seeds, frames, strict=True)]

    def __iter__(self) -> Iterator[list[Draw]]:
        random = self._random()
        draws = self._draws(random)
        if not self.shuffle:
            lengths: Any = [draw.frames for draw in draws]
        else:
            lengths = np.array([draw.frames for draw in draws]) * random.uniform(0.9, 1.1, len(draws))
        first = self.shuffle and epochs_trained(self.trainer) == 0
        for batch in length_batches(
            lengths, self.batch_size, random if self.shuffle else None, shortest_first=first
        ):
            yield [draws[i] for i in batch]


def collate(charset: Charset, items: Sequence[tuple[np.ndarray, str, int]]) -> SpeechBatch:
    """Stack clips and concatenate their texts; characters that are not in the alphabet are left out."""
    clips, texts, indices = zip(*items, strict=True)
    frames, lengths = stack(clips)
    classes = [charset.encode("".join(c for c in text if not charset.unknown(c))) for text in texts]
    return SpeechBatch(
        torch.from_numpy(frames),
        torch.from_numpy(lengths),
        torch.tensor([k for text in classes for k in text], dtype=torch.long),
        torch.tensor([len(text) for text in classes]),
        list(indices),
    )


def batches_of(charset: Charset) -> Any:
    """`collate` for an alphabet."""
    return partial(collate, charset)


def hours(clips: Sequence[Clip]) -> str:
    """How much sound there is, and whose."""
    seconds = sum(clip.seconds for clip in clips)
    speakers = Counter(clip.speaker for clip in clips)
    return f"{len(clips):,} clips, {seconds / 3600:.2f} hours, {len(speakers):,} speakers"
