"""Text of lines and pages: what a user calls."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from typing_extensions import Self

from common.ctc import Reading, greedy, prefix_beam_search
from common.ctc_predictor import CtcPredictor
from common.engine import Engine, Precision
from common.errors import ImageError, UsageError
from common.images import ImageSource, blamed_on
from common.ngrams import LanguageModel
from common.predictor import results
from common.threads import ahead
from ocr.found import (
    AUTO,
    SETTLED,
    Finder,
    LineImage,
    better,
    found_lines,
    groups,
    ink_lines,
    is_sure,
    load_finder,
)
from ocr.images import grey, stack
from ocr.on_graphs import OnGraphs
from ocr.page import Layout, find_lines, reading_order
from ocr.words import Span, find_words

if TYPE_CHECKING:
    from ocr.model import Recognizer

_AHEAD = 8  # batches that are read from disk and sorted by width at a time
_PROBED = 16  # lines that tell whether a page stands upright: its longest
_UPRIGHT = 0.95  # confidence above which text stands upright; upside down it is below
_LEVEL = 0.75  # confidence above which text does not lie sideways
_MARGIN = 0.08  # by so much turned text is read with more confidence if the page is to be turned
_LEAST_TURNED = 5  # characters: less text is not turned
_TEXT = 0.6  # below this confidence of its longest lines a page holds no text, but for lines that are sure
_HOPELESS = 0.8  # share of the confidence asked for, below which greedy decoding leaves nothing to search for
_UNSURE = 0.8  # confidence below which a line is read again, squeezed and stretched, for a vote
_WIDTHS = (0.85, 1.2)
BEAM_SIZE = 6
"""Of reading by default."""


@dataclass(frozen=True)
class Word:
    """A word of a line."""

    text: str
    confidence: float
    """Geometric mean of the characters' probabilities."""
    polygon: tuple[tuple[float, float], ...]
    """Its corners in pixels of the page as given, from the upper left clockwise."""

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 around the polygon."""
        x, y = zip(*self.polygon, strict=True)
        return min(x), min(y), max(x), max(y)


@dataclass(frozen=True)
class Line(Word):
    """A line of a page."""

    row: int
    """Lines that stand side by side share their row."""
    words: tuple[Word, ...] = ()
    """What spaces part, from the left."""


@dataclass(frozen=True)
class Page:
    """What stands on a page; `str(page)` is its text."""

    lines: tuple[Line, ...]
    """In reading order."""
    angle: float
    """Degrees by which it was turned counter-clockwise to be read."""
    size: tuple[int, int] = (0, 0)
    """Width and height in pixels of the page as given."""

    @property
    def text(self) -> str:
        """The lines, those of one row side by side."""
        rows: dict[int, list[str]] = {}
        for line in self.lines:
            rows.setdefault(line.row, []).append(line.text)
        return "\n".join("  ".join(row) for row in rows.values())

    def __str__(self) -> str:
        return self.text


class TextReader(CtcPredictor["Recognizer | OnGraphs"]):
    """Reads text with a trained model.

    Args:
        model: from training or `Recognizer.from_pretrained`.
        device: auto, cpu or cuda.
        precision: auto (bf16 where the hardware has it), bf16 or fp32.
        finder: finds the lines of pages; without it they are found by their ink alone.

    Example:
        >>> reader = TextReader.from_pretrained("english")  # doctest: +SKIP
        >>> print(reader.read("receipt.jpg"))  # doctest: +SKIP
    """

    graph_class = OnGraphs

    def __init__(
        self, model: Any, device: str = "auto", precision: Precision = "auto", finder: Finder | None = None
    ) -> None:
        super().__init__(model, device, precision)
        self.finder = finder

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        device: str = "auto",
        precision: Precision = "auto",
        *,
        engine: Engine = "auto",
        revision: str | None = None,
        finder: str | Path = AUTO,
    ) -> Self:
        """Load a model as `Predictor.from_pretrained`, and a finder of lines.

        Args:
            name: of the recognizer.
            device: auto, cpu, or cuda, which needs torch.
            precision: auto (bf16 where the hardware has it), bf16 or fp32.
            engine: auto takes the graphs where there are some and no GPU is asked for; graph or torch.
            revision: of the recognizer on the hub.
            finder: auto (the bundled one), none, or the name of a model.

        Raises:
            ModelError: a model cannot be loaded, or not on this engine.
        """
        model = cls.load(name, device, precision, engine, revision)
        return cls(model, device, precision, load_finder(finder, device, precision, engine))

    @classmethod
    def torch_class(cls) -> "type[Recognizer]":
        """See `Predictor.torch_class`."""
        from ocr.model import Recognizer

        return Recognizer

    def read(
        self,
        page: ImageSource,
        *,
        beam_size: int = BEAM_SIZE,
        language_model: LanguageModel | None = None,
        min_confidence: float = 0.4,
        batch_size: int = 32,
    ) -> Page:
        """Read a page: straighten it, find its lines, read each.

        Args:
            page: path or Pillow image.
            beam_size: texts kept by the beam search, `common.ctc.prefix_beam_search`; 1 is greedy decoding.
            language_model: for the beam search, in place of the model's own.
            min_confidence: lines read with less are left out; stains and drawings give such lines.
            batch_size: lines at a time.

        Raises:
            ImageError: the page cannot be read.
            UsageError: a beam size below 1, or a language model without a beam.
        """
        _check(beam_size, language_model, batch_size)
        pixels = grey(page)
        layout, probed = self._upright(pixels)
        lines, rows = ink_lines(layout), layout.rows
        rest = [i for i in range(len(lines)) if i not in probed.log_probs]
        others = self._recognize([lines[i].pixels for i in rest], batch_size)
        by_position = probed.log_probs | dict(zip(rest, others, strict=True))
        log_probs = [by_position[i] for i in range(len(lines))]
        if self.finder is not None:
            found = found_lines(self.finder, pixels, layout)
            lines, log_probs = self._best(lines, log_probs, found, min_confidence, batch_size)
            order, rows = reading_order([line.box for line in lines])
            lines, log_probs = [lines[i] for i in order], [log_probs[i] for i in order]
        readings = [greedy(scores, self.model.charset) for scores in log_probs]
        if beam_size > 1:
            hopeful = [i for i, r in enumerate(readings) if r.confidence >= _HOPELESS * min_confidence]
            crops, scores = [lines[i].pixels for i in hopeful], [log_probs[i] for i in hopeful]
            searched = self._decoded(crops, scores, beam_size, language_model, batch_size)
            for i, reading in zip(hopeful, searched, strict=True):
                readings[i] = reading
        read = [
            _line(layout, line, row, reading)
            for line, row, reading in zip(lines, rows, readings, strict=True)
            if reading.text.strip() and reading.confidence >= min_confidence
        ]
        if self.finder is None and probed.confidence < _TEXT:
            read = [x for x in read if is_sure(x)]
        return Page(tuple(read), layout.angle, layout.size)

    def _best(
        self,
        ink: Sequence[LineImage],
        log_probs: Sequence[np.ndarray],
        found: Sequence[LineImage],
        least: float,
        batch_size: int,
    ) -> tuple[list[LineImage], list[np.ndarray]]:
        """Of lines of ink, with their log-probabilities, and lines found, those that read the text better."""
        charset = self.model.charset
        readings = [greedy(row, charset) for row in log_probs]
        chosen: list[tuple[LineImage, np.ndarray]] = []
        open_groups = []
        for here, there in groups(ink, found):
            settled = len(here) == len(there) == 1 and readings[here[0]].confidence >= SETTLED
            settled |= any(ink[i].closed_up for i in here)  # only ink knows the cells of a field
            if settled or (not there and is_sure(readings[here[0]])):
                chosen += [(ink[i], log_probs[i]) for i in here]
            elif there:
                open_groups.append((here, there))
        needed = [j for _, there in open_groups for j in there]
        read = dict(zip(needed, self._recognize([found[j].pixels for j in needed], batch_size), strict=True))
        for here, there in open_groups:
            ours, theirs = [readings[i] for i in here], [greedy(read[j], charset) for j in there]
            if better(ours, theirs, least):
                chosen += [(ink[i], log_probs[i]) for i in here]
            elif here or is_sure(theirs[0]):
                chosen += [(found[j], read[j]) for j in there]
        return [line for line, _ in chosen], [row for _, row in chosen]

    def _upright(self, page: np.ndarray) -> tuple[Layout, "_Probe"]:
        """The lines of a grey page, turned so that its text stands upright, and how surely they are text.

        Of the four ways in which it may lie, the one whose longest lines are read with the most confidence.
        Text of few characters reads as well the other way round ("NO", "69"): such a page stays.
        """
        layout = find_lines(page)
        probe = self._probe(layout)
        if probe.confidence >= _UPRIGHT or not layout.boxes:
            return layout, probe
        ways = {0: probe, 2: self._probe(layout, head=True)}
        if max(way.confidence for way in ways.values()) < _LEVEL:
            side = find_lines(page, 1)
            ways |= {1: self._probe(side), 3: self._probe(side, head=True)}
        quarters = max(ways, key=lambda q: ways[q].confidence if ways[q].characters >= _LEAST_TURNED else 0.0)
        if ways[quarters].confidence <= max(_TEXT, probe.confidence + _MARGIN):
            return layout, probe
        layout = find_lines(page, quarters)
        return layout, self._probe(layout)

    def _probe(self, layout: Layout, head: bool = False) -> "_Probe":
        """The longest lines of a page, read greedily; with `head` as if it stood on its head."""
        ratios = [(x1 - x0) / (y1 - y0) for x0, y0, x1, y1 in layout.boxes]
        longest = sorted(range(len(ratios)), key=ratios.__getitem__)[-_PROBED:]
        crops = [layout.crop(layout.boxes[i]) for i in longest]
        found = self._recognize([np.rot90(crop, 2) for crop in crops] if head else crops, _PROBED)
        readings = [greedy(row, self.model.charset) for row in found]
        texts = [(len(reading.text), reading.confidence) for reading in readings if reading.text.strip()]
        characters = sum(length for length, _ in texts)
        confidence = sum(length * sure for length, sure in texts) / max(1, characters)
        return _Probe(dict(zip(longest, found, strict=True)), characters, confidence)

    def read_lines(
        self,
        lines: Sequence[ImageSource | np.ndarray],
        *,
        beam_size: int = BEAM_SIZE,
        language_model: LanguageModel | None = None,
        batch_size: int = 32,
    ) -> list[Reading]:
        """Read pictures of one line or word each: paths, Pillow images, or grey uint8 arrays (H, W).

        Raises:
            ImageError: a picture cannot be read; `read_lines_each` goes on instead.
            UsageError: as `read`.
        """
        if isinstance(lines, str | Path):
            raise TypeError(f"read_lines() takes a list of pictures: read_lines([{str(lines)!r}])")
        found = self.read_lines_each(
            lines, beam_size=beam_size, language_model=language_model, batch_size=batch_size
        )
        return results(found)

    def read_lines_each(
        self,
        lines: Iterable[ImageSource | np.ndarray | ImageError],
        *,
        beam_size: int = BEAM_SIZE,
        language_model: LanguageModel | None = None,
        batch_size: int = 32,
        workers: int = 0,
    ) -> Iterator[Reading | ImageError]:
        """As `read_lines`, one result after the other, in order; an unreadable picture gives its error.

        Args:
            lines: as `read_lines`, read as they are needed; an error among them is given back in its place.
            beam_size: as `read`.
            language_model: as `read`.
            batch_size: lines at a time.
            workers: threads that read pictures; 0 reads them in this one.
        """
        _check(beam_size, language_model, batch_size)

        def load(source: ImageSource | np.ndarray | ImageError) -> np.ndarray:
            if isinstance(source, ImageError):
                raise source
            with blamed_on(source if isinstance(source, str | os.PathLike) else "the picture"):
                return self.model.preprocess.scale(grey(source))  # small, while large ones are read

        loaded = ahead(load, lines, workers, 2 * workers)
        while some := list(islice(loaded, batch_size * _AHEAD)):
            good = [line for line in some if not isinstance(line, ImageError)]
            found = iter(self._read(good, beam_size, language_model, batch_size))
            for line in some:
                yield line if isinstance(line, ImageError) else next(found)

    def _read(
        self,
        lines: Sequence[np.ndarray],
        beam_size: int,
        language_model: LanguageModel | None,
        batch_size: int,
    ) -> list[Reading]:
        """Grey lines -> readings, in batches of equally wide lines."""
        _check(beam_size, language_model, batch_size)
        rows = self._recognize(lines, batch_size)
        return self._decoded(lines, rows, beam_size, language_model, batch_size)

    def _decoded(
        self,
        lines: Sequence[np.ndarray],
        log_probs: Sequence[np.ndarray],
        beam_size: int,
        language_model: LanguageModel | None,
        batch_size: int,
    ) -> list[Reading]:
        """Readings of grey lines whose log-probabilities are known.

        With a beam, an unsure line is read again at other widths, and the text wins that has the most
        confidence over all of them: letters that are set too tight or too wide for one are not for another.
        """
        readings = [self._decode(row, beam_size, language_model) for row in log_probs]
        if beam_size == 1:
            return readings
        unsure = [i for i, reading in enumerate(readings) if reading.confidence < _UNSURE]
        again = [self.model.preprocess.stretched(lines[i], factor) for i in unsure for factor in _WIDTHS]
        found = (self._decode(row, beam_size, language_model) for row in self._recognize(again, batch_size))
        for i in unsure:
            readings[i] = _most_agreed([readings[i], *islice(found, len(_WIDTHS))])
        return readings

    def _recognize(self, lines: Sequence[np.ndarray], batch_size: int) -> list[np.ndarray]:
        """Grey lines -> log-probabilities (T, classes) of each, in batches of equally wide lines."""
        ready = [self.model.preprocess(line) for line in lines]
        order = sorted(range(len(ready)), key=lambda i: ready[i].shape[1])
        found: dict[int, np.ndarray] = {}
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            images, widths = stack([ready[i] for i in chosen])
            log_probs, steps = self.network.log_probs(images, widths)
            for i, row, length in zip(chosen, log_probs, steps.tolist(), strict=True):
                found[i] = row[:length]
        return [found[i] for i in range(len(ready))]

    def _decode(self, row: np.ndarray, beam_size: int, language_model: LanguageModel | None) -> Reading:
        if beam_size == 1:
            return greedy(row, self.model.charset)
        if language_model is None:
            language_model = self.model.language_model
        return prefix_beam_search(row, self.model.charset, beam_size, language_model=language_model)


def _most_agreed(readings: Sequence[Reading]) -> Reading:
    """Of several readings of a line, the surest of those that agree on the text with the most confidence.

    It is no surer than the first, of the line as it is: what only looks like text differs each time.
    """
    votes: dict[str, float] = {}
    for reading in readings:
        votes[reading.text] = votes.get(reading.text, 0.0) + reading.confidence
    best = max(readings, key=lambda reading: (votes[reading.text], reading.confidence))
    return replace(best, confidence=min(best.confidence, readings[0].confidence))


def _line(layout: Layout, line: LineImage, row: int, reading: Reading) -> Line:
    text, width = reading.text.strip(), float(line.pixels.shape[1])
    spans = find_words(reading, line.pixels)
    if line.closed_up:
        spans = [Span(text, reading.confidence, 0.0, width)]
    words = tuple(
        Word(
            word.text,
            word.confidence,
            tuple(layout.placed(line.part(round(word.start), round(word.end)))),
        )
        for word in spans
    )
    return Line(text, reading.confidence, tuple(layout.placed(line.corners)), row, words)


class _Probe(NamedTuple):
    """What the longest lines of a page say."""

    log_probs: dict[int, np.ndarray]
    """Of the lines read, by position."""
    characters: int
    confidence: float
    """Mean over their characters."""


def _check(beam_size: int, language_model: LanguageModel | None, batch_size: int) -> None:
    if beam_size < 1 or batch_size < 1:
        raise UsageError(f"beam size {beam_size}, batch size {batch_size}: must be at least 1")
    if language_model is not None and beam_size == 1:
        raise UsageError("a language model needs a beam: give a --beam-size above 1")
