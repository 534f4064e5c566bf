"""Draw a page of synthetic lines with their texts, to see what `train_ocr.py --synthetic` trains on.

    python scripts/draw_synthetic_text.py --out sheet.png [--fonts DIR] [--words FILE]
    python scripts/draw_synthetic_text.py --out FOLDER --lines 1000 --kind scene --part val
    python scripts/draw_synthetic_text.py --out FOLDER --pages 20

With `--lines` it writes a folder of labelled lines. With the fonts of `--part val`, which no training uses,
it is a val for `train_ocr.py --val` and `evaluate_ocr.py`. With `--pages` it draws what
`train_line_finder.py --drawn` trains on, with a frame around each line.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.charset import PRINTABLE, Charset
from common.cli import run
from ocr.drawn_pages import DrawnPages, write_pages
from ocr.phrases import Kind, TextSource, read_words
from ocr.synthetic import SyntheticLines, find_fonts, labelled_folder, sample_sheet


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags."""

    out: Path
    """PNG file to write, or with --lines or --pages the folder."""
    lines: int = 0
    """Number of labelled lines to write, each as a file, rather than a page that shows some."""
    pages: int = 0
    """Number of whole pages to draw, each as a file, with frames around their lines."""
    kind: Kind | None = None
    """document, form or scene; all by default."""
    part: Literal["", "train", "val"] = ""
    """Fonts of an eighth of the families (val) or of the others (train); all by default."""
    fonts: Path | None = None
    """Folder of fonts; the system's by default."""
    words: Path | None = None
    """Text file of words, one per line; by default the system's dictionary."""
    charset: str = PRINTABLE
    """Every character that may appear; printable ASCII by default."""
    seed: int = 0
    """Of the samples."""


def main(config: Config) -> None:
    """Write the page or the folder."""
    source = TextSource(Charset(config.charset), read_words(config.words))
    lines = SyntheticLines(find_fonts(config.fonts, config.part), source, config.kind)
    if config.pages:
        write_pages(DrawnPages(lines), config.out, config.pages, config.seed)
    elif config.lines:
        labelled_folder(lines, config.out, config.lines, config.seed)
    else:
        sample_sheet(lines, config.out, config.seed)


if __name__ == "__main__":
    run(main, Config, __doc__)
