"""`visionrnn read`: what the command does with its flags."""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, TypedDict

import tyro

from common.cli import loaded, print_error, print_json, print_row, progress
from common.ctc import Reading
from common.errors import ImageError, UsageError
from common.files import as_text, find_files, names_in
from common.images import IMAGE_SUFFIXES, ImageSource, blamed_on
from common.ngrams import CharacterNgrams, LanguageModel
from common.scale import ScaleFlags, run_on_ray
from ocr.documents import open_pages
from ocr.found import AUTO, NONE
from ocr.hocr import HEAD, TAIL, page_element
from ocr.phrases import read_words
from ocr.reader import BEAM_SIZE, Page, TextReader, Word

_SUFFIXES = IMAGE_SUFFIXES | {".pdf"}


@dataclass(frozen=True, kw_only=True)
class Config(ScaleFlags):
    """Read the text of pages, or of images of one line each.

        visionrnn read receipt.jpg
        visionrnn read --line WORDS_FOLDER --json

    Prints the text of each page, below a line `==> NAME <==` where there are several; with `--line`, path,
    tab and text. An image or page that cannot be read is reported on stderr, the others are read all the
    same, and the exit code is 1.
    """

    paths: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Images, PDF files, patterns or folders. Of a TIFF or PDF each page is read."""
    line: bool = False
    """Each image is one line or word, not a page."""
    model: str = "english"
    """A bundled model, a model or run folder, or hub:user/name."""
    finder: str = AUTO
    """Model that finds the lines of pages: auto (the bundled one), none (their ink alone), or a name."""
    beam_size: int = BEAM_SIZE
    """Texts kept by the beam search, which the model's language model of characters guides; 1 is greedy
    decoding: faster, less often right."""
    words: Path | None = None
    """Text file of words or sentences that the language model learns besides."""
    min_confidence: float = 0.4
    """Lines of a page that were read with less confidence are left out."""
    password: str | None = None
    """Opens protected PDF files."""
    format: Literal["text", "json", "hocr"] = "text"
    """text; json, an object per page or line, with boxes and confidences of lines and words; or hocr, one
    document of all pages."""
    json: bool = False
    """The same as --format json."""
    out: str | None = None
    """Folder for a PNG of each page with frames around its lines and their text next to it; with --engine ray
    the table."""
    overlay: Path | None = None
    """Also draw one page with frames around its lines and their text next to it, as PNG."""
    batch_size: int = 32
    """Lines at a time."""
    workers: int = 2
    """Threads that read images of lines."""


class WordRow(TypedDict):
    """JSON values of a word."""

    text: str
    confidence: float
    box: tuple[float, ...]
    polygon: tuple[tuple[float, ...], ...]


class LineRow(WordRow):
    """JSON values of a line of a page."""

    row: int
    words: list[WordRow]


class PageRow(TypedDict):
    """JSON values of a page."""

    path: str
    text: str
    angle: float
    lines: list[LineRow]


class Character(TypedDict):
    """JSON values of a character."""

    character: str
    confidence: float
    position: float


class ReadingRow(TypedDict):
    """JSON values of an image of one line."""

    path: str
    text: str
    confidence: float
    characters: list[Character]


def main(config: Config) -> int:
    """Read each image; 1 if one could not be read."""
    if config.words is not None and config.beam_size == 1:
        raise UsageError("--words needs a beam: give a --beam-size above 1")
    if config.format == "hocr" and (config.line or config.json or config.engine == "ray"):
        raise UsageError("--format hocr describes pages: leave --line, --json and --engine ray out")
    if config.engine == "ray":
        return run_on_ray(__name__, config, _SUFFIXES, "pictures", without=("overlay",))
    paths, failed = find_files(config.paths, _SUFFIXES, "pictures")
    if config.overlay is not None and (config.line or len(paths) != 1):
        raise UsageError("--overlay draws one page: give one path, and no --line")
    if config.out is not None and config.line:
        raise UsageError("--out draws pages, and --line was given")
    names_in(config.out, paths, ("overlay",))
    pages = each(config, load(config), paths)
    if config.format == "hocr":
        print(HEAD, flush=True)
    number = 0
    for name, found in progress(pages, len(paths), "pictures"):
        if isinstance(found, ImageError):
            print_error(found)
            failed = True
        elif config.json or config.format == "json":
            print_json({**plain(name, found), **as_text(written(config, name))})
        elif config.format == "hocr" and isinstance(found, Page):
            print(page_element(name, number, found), flush=True)
            number += 1
        elif config.line:
            print_row(name, found.text)
        else:
            if len(paths) > 1 or name != str(paths[0]):
                print_row(f"==> {name} <==")
            print(found.text, flush=True)
    if config.format == "hocr":
        print(TAIL, flush=True)
    return int(failed)


def load(config: Config) -> tuple[TextReader, LanguageModel | None]:
    """The reader of the flags, and the language model if it is not the reader's own."""
    finder = NONE if config.line else config.finder
    reader = loaded(partial(TextReader.from_pretrained, finder=finder), config)
    if config.words is None:
        return reader, None
    charset, base = reader.model.charset, reader.model.language_model
    return reader, CharacterNgrams.of(read_words(config.words), charset, base=base)


def each(
    config: Config, predictor: tuple[TextReader, LanguageModel | None], paths: Sequence[Path]
) -> Iterator[tuple[str, Page | Reading | ImageError]]:
    """The name of each page, or image of a line, with its text."""
    return (read_lines if config.line else read_pages)(config, predictor[0], paths, predictor[1])


def read_lines(
    config: Config, reader: TextReader, paths: Sequence[Path], model: LanguageModel | None
) -> Iterator[tuple[str, Reading | ImageError]]:
    """The name of each image, or page of a TIFF or PDF, with its text."""
    names: deque[str] = deque()

    def images() -> Iterator[ImageSource | ImageError]:
        for path in paths:
            for name, image in _pages(path, config.password):
                names.append(name)
                yield image

    for found in reader.read_lines_each(
        images(),
        beam_size=config.beam_size,
        language_model=model,
        batch_size=config.batch_size,
        workers=config.workers,
    ):
        yield names.popleft(), found


def read_pages(
    config: Config, reader: TextReader, paths: Sequence[Path], model: LanguageModel | None
) -> Iterator[tuple[str, Page | ImageError]]:
    """The name of each page with its text; draws the overlay."""
    for name, image in (page for path in paths for page in _pages(path, config.password)):
        if isinstance(image, ImageError):
            yield name, image
            continue
        try:
            with blamed_on(name):
                page = reader.read(
                    image,
                    beam_size=config.beam_size,
                    language_model=model,
                    min_confidence=config.min_confidence,
                    batch_size=config.batch_size,
                )
        except ImageError as error:
            yield name, error
            continue
        files = list(written(config, name).values())
        if config.overlay is not None and name in (str(paths[0]), f"{paths[0]}#1"):
            files.append(config.overlay)
        for file in files:
            from ocr.drawing import draw_page

            draw_page(image, page, file)
        yield name, page


def written(config: Config, name: str) -> dict[str, Path]:
    """The overlay of a page in the folder of --out; NAME#2 becomes NAME-2.overlay.png."""
    if config.out is None:
        return {}
    document, _, number = name.rpartition("#") if re.search(r"#\d+$", name) else (name, "", "")
    return {"overlay": Path(config.out) / f"{Path(document).stem}{number and '-'}{number}.overlay.png"}


def _pages(path: Path, password: str | None) -> Iterator[tuple[str, ImageSource | ImageError]]:
    try:
        yield from open_pages(path, password)
    except ImageError as error:
        yield str(path), error


def _place(word: Word) -> WordRow:
    """JSON values of a word or line."""
    return {
        "text": word.text,
        "confidence": round(word.confidence, 4),
        "box": word.box,
        "polygon": word.polygon,
    }


def plain(name: str, found: Page | Reading) -> PageRow | ReadingRow:
    """JSON values of a page or line."""
    if isinstance(found, Page):
        lines: list[LineRow] = [
            {**_place(line), "row": line.row, "words": [_place(word) for word in line.words]}
            for line in found.lines
        ]
        return {"path": name, "text": found.text, "angle": round(found.angle, 2), "lines": lines}
    characters: list[Character] = [
        {"character": c, "confidence": round(p, 4), "position": round(x, 4)} for c, p, x in found.characters
    ]
    return {
        "path": name,
        "text": found.text,
        "confidence": round(found.confidence, 4),
        "characters": characters,
    }


def row_type(config: Config) -> type[PageRow] | type[ReadingRow]:
    """What `plain` gives."""
    return ReadingRow if config.line else PageRow
