"""`visionrnn translate`: what the command does with its flags."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

import tyro

from common.cli import loaded, print_error, print_json, print_row
from common.errors import UsageError
from common.files import check_folder, file_lines
from common.predictor import UseFlags
from translation import Translation, Translator


@dataclass(frozen=True, kw_only=True)
class Config(UseFlags):
    """Translate text, one sentence a line.

        echo "A man rides a horse." | visionrnn translate
        visionrnn translate letter.txt --model multi30k-en-fr --json

    Prints one line for each line of the files, or of stdin where none is named. A file or line that cannot be
    read is reported on stderr, the others are translated all the same, and the exit code is 1; such a line
    and an empty one give an empty line.
    """

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Text files; none reads stdin."""
    model: tuple[str, ...] = ("multi30k-en-de",)
    """A bundled model, a model or run folder, or hub:user/name; several are averaged."""
    beam_size: int = 5
    """Beams; 1 is greedy search."""
    n_best: int = 1
    """Translations a line, best first, at most --beam-size; more than 1 prints the line's number, a tab, the
    translation, a tab and its log-probability."""
    length_penalty: float = 1.0
    """0 ranks translations by probability, 1 by mean log-probability a subword."""
    json: bool = False
    """Print one JSON object a line, with log-probabilities and the words that the model never read."""
    attention: Path | None = None
    """Also draw which words of a single line each word of its translation was made from, as PNG."""
    batch_size: int = 64
    """Lines at a time; 1 answers each line of stdin at once."""


@dataclass(frozen=True)
class Line:
    """A line of the input."""

    path: str
    number: int
    text: str


def read(paths: tuple[Path, ...], failed: list[str]) -> Iterator[Line]:
    """Lines of the files or of stdin; what cannot be read is reported, and noted in `failed`."""

    def report(error: str) -> None:
        print_error(error)
        failed.append(error)

    for path in paths or (Path("-"),):
        name = "stdin" if not paths else str(path)
        try:
            lines = file_lines(path) if paths else (line.rstrip(b"\r\n") for line in sys.stdin.buffer)
            for number, line in enumerate(lines, 1):
                try:
                    text = line.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
                except UnicodeDecodeError:
                    report(f"{name}, line {number}: not UTF-8; convert it to UTF-8")
                    text = ""
                yield Line(name, number, text)
        except OSError as error:
            report(f"{path}: {error.strerror}")


def main(config: Config) -> int:
    """Translate each line; 1 if something could not be read."""
    if not 1 <= config.n_best <= config.beam_size:
        raise UsageError(f"--n-best {config.n_best}: must lie between 1 and --beam-size, {config.beam_size}")
    if config.batch_size < 1:
        raise UsageError(f"--batch-size {config.batch_size}: must be at least 1")
    check_folder("--attention", config.attention)
    translator = loaded(Translator.from_pretrained, config)
    failed: list[str] = []
    lines = read(config.paths, failed)
    if config.attention is not None:
        every = list(lines)
        if len(every) != 1:
            raise UsageError(f"--attention draws one line, and {len(every)} were given")
        lines = iter(every)
    while batch := list(islice(lines, config.batch_size)):
        found = translator.translate(
            [line.text for line in batch],
            batch_size=config.batch_size,
            beam_size=config.beam_size,
            n_best=config.n_best,
            length_penalty=config.length_penalty,
        )
        for line, translation in zip(batch, found, strict=True):
            show(line, translation, config)
            if config.attention is not None:
                draw(translator, line.text, translation, config.attention)
    return int(bool(failed))


def show(line: Line, translation: Translation, config: Config) -> None:
    """Print one line's translations."""
    ranked = (translation, *translation.alternatives)
    if config.json:
        best = [
            {"translation": t.text, "log_prob": round(t.log_prob, 4), "score": round(t.score, 4)}
            for t in ranked
        ]
        print_json(
            {"path": line.path, "line": line.number, "source": line.text, **best[0],
             "unknown_words": translation.unknown_words, "n_best": best}
        )  # fmt: skip
    elif config.n_best > 1:
        for t in ranked:
            print_row(line.number, t.text, f"{t.log_prob:.4f}")
    else:
        print_row(translation.text)


def draw(translator: Translator, text: str, translation: Translation, out: Path) -> None:
    """Write the picture of the soft alignment."""
    from translation.drawing import draw_alignment

    try:
        words, source_words, weights = translator.attention(text, translation.text)
    except ValueError as error:
        raise UsageError(f"--attention: {error}") from None
    draw_alignment(words, source_words, weights, out)
