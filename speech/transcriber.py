"""What is said in recordings: what a user calls."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.charset import BLANK
from common.ctc import Reading, greedy, prefix_beam_search
from common.ctc_predictor import CtcPredictor
from common.engine import Precision
from common.errors import UsageError
from common.predictor import results
from speech.config import STRIDE
from speech.features import HOP, MARGIN, FrameStream, LogMel, stack, with_margins
from speech.on_graphs import OnGraphs
from speech.sound import SoundError, sound_blocks

if TYPE_CHECKING:
    from speech.model import SpeechModel

BEAM_SIZE = 16
"""Of transcribing by default."""
WEIGHT, BONUS = 0.4, 1.0
"""Of the n-grams, and for each character; chosen on the val part of the German corpus."""
_LONGEST, _SHORTEST = 2000, 800  # frames: a longer recording is cut at its quietest place between the two
_QUIET = 15  # frames that a quiet place is measured over
_SILENT = 2e-4  # amplitude that no sample of a silent recording exceeds, -74 dB
_AHEAD = 4  # batches of pieces that are read and sorted by length at a time
_STEP = STRIDE * HOP  # seconds
_PAUSE = 1.2  # seconds without a character that end a word of a stream


@dataclass(frozen=True)
class Word:
    """A word that was said."""

    text: str
    start: float
    """Seconds since the start of the recording, to about a tenth."""
    end: float
    confidence: float
    """Geometric mean of the characters' probabilities."""


@dataclass(frozen=True)
class Transcript:
    """What is said in a recording; `str(transcript)` is its text."""

    words: tuple[Word, ...]
    seconds: float
    """Of the recording."""
    characters: tuple[tuple[str, float], ...] = ()
    """Each character, spaces included, with its second."""

    @property
    def text(self) -> str:
        """The words."""
        return " ".join(word.text for word in self.words)

    @property
    def confidence(self) -> float:
        """Geometric mean over the characters of the words; 1 for no word."""
        weights = [len(word.text) for word in self.words]
        logs = [math.log(max(word.confidence, 1e-12)) for word in self.words]
        return math.exp(sum(w * x for w, x in zip(weights, logs, strict=True)) / max(1, sum(weights)))

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class _Piece:
    """A part of a recording that goes through the network at once."""

    frames: np.ndarray
    start: int
    """Its first frame."""
    last: bool
    silent: bool = False


class Transcriber(CtcPredictor["SpeechModel | OnGraphs"]):
    """Writes down what is said, with a trained model.

    Args:
        model: from training or `SpeechModel.from_pretrained`.
        device: auto, cpu or cuda.
        precision: auto (bf16 where the hardware has it), bf16 or fp32.

    Example:
        >>> transcriber = Transcriber.from_pretrained("digits")  # doctest: +SKIP
        >>> print(transcriber.transcribe(["call.wav"])[0])  # doctest: +SKIP
    """

    graph_class = OnGraphs

    def __init__(
        self, model: "SpeechModel | OnGraphs", device: str = "auto", precision: Precision = "auto"
    ) -> None:
        super().__init__(model, device, precision)
        self.mel = LogMel(model.config.sample_rate, model.config.bands)

    @classmethod
    def torch_class(cls) -> "type[SpeechModel]":
        """See `Predictor.torch_class`."""
        from speech.model import SpeechModel

        return SpeechModel

    def transcribe(
        self,
        recordings: Sequence[str | Path | np.ndarray],
        *,
        beam_size: int = BEAM_SIZE,
        batch_size: int = 8,
    ) -> list[Transcript]:
        """Write down recordings.

        One that is longer than 20 seconds is cut at quiet places; a few pieces at a time are in memory.

        Args:
            recordings: paths of sound or video files, `-` for standard input, or samples between -1 and 1 as
                float arrays (S,) at the model's rate, `transcriber.mel.rate`.
            beam_size: texts kept by the beam search, which the model's n-grams guide; 1 is greedy decoding.
            batch_size: pieces of recordings at a time.

        Raises:
            SoundError: a recording cannot be read; `transcribe_each` goes on instead.
            UsageError: a beam or batch size below 1.
        """
        if isinstance(recordings, str | Path):
            raise TypeError(f"transcribe() takes a list of recordings: transcribe([{str(recordings)!r}])")
        return results(self.transcribe_each(recordings, beam_size=beam_size, batch_size=batch_size))

    def transcribe_each(
        self,
        recordings: Iterable[str | Path | np.ndarray],
        *,
        beam_size: int = BEAM_SIZE,
        batch_size: int = 8,
    ) -> Iterator[Transcript | SoundError]:
        """As `transcribe`, one result after the other, in order; an unreadable recording gives its error.

        Args:
            recordings: as `transcribe`, read as they are needed.
            beam_size: as `transcribe`.
            batch_size: as `transcribe`.
        """
        for name, value in (("beam size", beam_size), ("batch size", batch_size)):
            if value < 1:
                raise UsageError(f"{name} {value}: must be at least 1")
        parts = self._parts(recordings)
        places: list[tuple[int, int]] = []
        heard: list[Reading] = []
        while some := list(islice(parts, batch_size * _AHEAD)):
            found = iter(self._read([p for p in some if isinstance(p, _Piece)], beam_size, batch_size))
            for part in some:
                if isinstance(part, SoundError):
                    places, heard = [], []
                    yield part
                    continue
                places.append((part.start, len(part.frames)))
                heard.append(next(found))
                if part.last:
                    yield _transcript(places, heard)
                    places, heard = [], []

    def stream(self, recording: str | Path | Iterable[np.ndarray]) -> Iterator[Word]:
        """The words of a recording of any length as they are said, in constant memory.

        Decoding is greedy. A word comes once the sound behind it was read: `look_ahead` steps of 40 ms.

        Args:
            recording: a path, `-` for standard input, or blocks of samples as `transcribe` takes them.

        Raises:
            SoundError: it cannot be read.
            UsageError: the model is bidirectional, or runs on the engine (load it with engine="torch").
        """
        if isinstance(self.model, OnGraphs):
            raise UsageError('a stream runs on torch: load the model with engine="torch"')
        from speech.on_torch import StreamOnTorch

        network = StreamOnTorch(self.network)
        blocks = sound_blocks(recording, self.mel.rate) if isinstance(recording, str | Path) else recording
        return self._stream(network, blocks)

    def _stream(self, network: Any, blocks: Iterable[np.ndarray]) -> Iterator[Word]:
        sound, speller = FrameStream(self.mel), _Speller(self.model.charset)
        for block in _seconds(blocks, self.mel.rate):
            yield from speller.push(network.push(sound.push(block)))
        yield from speller.push(network.push(sound.end()))
        yield from speller.push(network.end())
        yield from speller.end()

    def spectrogram(self, recording: str | Path | np.ndarray) -> np.ndarray:
        """The log-mel spectrogram of a recording (F, B), a frame every 10 ms. Raises SoundError."""
        return self.mel.of_blocks(self._blocks(recording))

    def _blocks(self, recording: str | Path | np.ndarray) -> Iterable[np.ndarray]:
        if not isinstance(recording, np.ndarray):
            return sound_blocks(recording, self.mel.rate)
        if recording.ndim != 1 or not np.issubdtype(recording.dtype, np.floating):
            raise UsageError(
                f"samples of type {recording.dtype} and shape {recording.shape}: expected floats (S,) "
                f"between -1 and 1, {self.mel.rate:,} a second"
            )
        if not len(recording):
            raise SoundError("the samples: there is not one")
        return [np.clip(np.nan_to_num(recording.astype(np.float32)), -1, 1)]

    def _parts(self, recordings: Iterable[str | Path | np.ndarray]) -> Iterator[_Piece | SoundError]:
        """The pieces of each recording in order; an error in place of those of one that cannot be read."""
        for recording in recordings:
            try:
                yield from self._pieces(recording)
            except SoundError as error:
                yield error

    def _pieces(self, recording: str | Path | np.ndarray) -> Iterator[_Piece]:
        """The parts of a recording, each at most 20 seconds long."""
        sound = FrameStream(self.mel)
        waiting = np.zeros((0, self.mel.bands), np.float32)
        start, loudest = 0, 0.0
        for block in _seconds(self._blocks(recording), self.mel.rate):
            loudest = max(loudest, float(np.abs(block).max()))
            waiting = np.concatenate([waiting, sound.push(block)])
            while len(waiting) > _LONGEST:
                cut = _quietest(waiting[:_LONGEST])
                yield _Piece(waiting[:cut], start, False, loudest < _SILENT)
                waiting, start, loudest = waiting[cut:], start + cut, float(np.abs(block).max())
        yield _Piece(np.concatenate([waiting, sound.end()]), start, True, loudest < _SILENT)

    def _read(self, pieces: Sequence[_Piece], beam_size: int, batch_size: int) -> list[Reading]:
        """Pieces -> what is said in them, in batches of equally long ones."""
        order = sorted(
            (i for i, piece in enumerate(pieces) if not piece.silent), key=lambda i: len(pieces[i].frames)
        )
        found: dict[int, Reading] = {}
        for first in range(0, len(order), batch_size):
            chosen = order[first : first + batch_size]
            frames, lengths = stack([with_margins(pieces[i].frames) for i in chosen])
            log_probs, steps = self.network.log_probs(frames, lengths)
            for i, row, length in zip(chosen, log_probs, steps.tolist(), strict=True):
                found[i] = self._decode(row[:length], beam_size)
        return [found.get(i, Reading("", 1.0)) for i in range(len(pieces))]

    def _decode(self, row: np.ndarray, beam_size: int) -> Reading:
        charset = self.model.charset
        if beam_size == 1:
            return greedy(row, charset)
        model = self.model.language_model
        return prefix_beam_search(
            row, charset, beam_size, language_model=model, weight=WEIGHT, bonus=BONUS if model else 0.0
        )


def _seconds(blocks: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """The same samples in blocks of about a second."""
    some: list[np.ndarray] = []
    for block in blocks:
        for start in range(0, len(block), rate):
            some.append(block[start : start + rate])
            if sum(map(len, some)) >= rate:
                yield np.concatenate(some)
                some = []
    if some:
        yield np.concatenate(some)


def _quietest(frames: np.ndarray) -> int:
    """The frame in whose neighbourhood the least is heard, not too near the start."""
    level = np.convolve(frames.mean(axis=1), np.ones(_QUIET) / _QUIET, "same")
    last = len(frames) - _QUIET
    return _SHORTEST + int(level[_SHORTEST:last].argmin())


def _transcript(places: Sequence[tuple[int, int]], readings: Sequence[Reading]) -> Transcript:
    """Characters in seconds of the recording, and the words that they spell.

    Args:
        places: first frame of each piece, and how many it has.
        readings: what is said in each.
    """
    seconds = sum(places[-1]) * HOP
    characters: list[tuple[str, float, float]] = []
    for (start, count), reading in zip(places, readings, strict=True):
        steps = -(-(count + 2 * MARGIN) // STRIDE)
        first = (start - MARGIN) * HOP
        if characters and reading.characters:
            characters.append((" ", 1.0, first))
        characters += [(c, p, first + place * steps * _STEP) for c, p, place in reading.characters]
    words = tuple(_words(characters, seconds))
    # CTC may put a character into the margin around a piece
    timed = tuple((c, round(float(min(max(t, 0.0), seconds)), 3)) for c, _, t in characters)
    return Transcript(words, round(seconds, 2), timed)


def _words(characters: Iterable[tuple[str, float, float]], seconds: float) -> Iterator[Word]:
    """Words of characters with probability and second."""
    word: list[tuple[str, float, float]] = []
    for character in chain(characters, [(" ", 1.0, 0.0)]):
        if character[0] != " ":
            word.append(character)
        elif word:
            yield _word(word, seconds)
            word = []


def _word(characters: Sequence[tuple[str, float, float]], seconds: float) -> Word:
    text = "".join(c for c, _, _ in characters)
    start = max(0.0, characters[0][2] - _STEP)
    end = min(seconds, max(characters[-1][2] + _STEP, start))
    logs = [math.log(max(p, 1e-12)) for _, p, _ in characters]
    return Word(text, round(min(start, end), 2), round(end, 2), round(math.exp(sum(logs) / len(logs)), 4))


class _Speller:
    """Greedy decoding of steps that come in parts: words as they end."""

    def __init__(self, charset: Any) -> None:
        self.charset = charset
        self._before, self._step = BLANK, 0
        self._word: list[tuple[str, float, float]] = []

    def push(self, log_probs: np.ndarray) -> Iterator[Word]:
        """The next steps (T, K) -> the words that end in them."""
        for row in log_probs:
            best = int(row.argmax())
            if best not in (BLANK, self._before):
                character = self.charset.decode([best])
                if character == " ":
                    yield from self.end()
                else:
                    self._word.append((character, float(np.exp(row[best])), (self._step + 0.5) * _STEP))
            self._before = best
            self._step += 1
            if self._word and (self._step + 0.5) * _STEP - self._word[-1][2] > _PAUSE:
                yield from self.end()

    def end(self) -> Iterator[Word]:
        """The last word."""
        if self._word:
            yield _word(self._word, math.inf)
            self._word = []
