"""Draw a page of synthetic lines with their texts, to see what `train_ocr.py --synthetic` trains on.

python scripts/draw_synthetic_text.py --out sheet.png [--fonts DIR] [--words FILE]
"""

from dataclasses import dataclass
from pathlib import Path

from common.cli import run
from ocr.charset import PRINTABLE, Charset
from ocr.phrases import TextSource, read_words
from ocr.synthetic import SyntheticLines, find_fonts, sample_sheet


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags."""

    out: Path
    """PNG file to write."""
    fonts: Path | None = None
    """Folder of fonts; the system's by default."""
    words: Path | None = None
    """Text file of words, one per line; by default the system's dictionary."""
    charset: str = PRINTABLE
    """Every character that may appear; printable ASCII by default."""
    seed: int = 0
    """Of the samples."""


def main(config: Config) -> None:
    """Write the page."""
    source = TextSource(Charset(config.charset), read_words(config.words))
    sample_sheet(SyntheticLines(find_fonts(config.fonts), source), config.out, config.seed)


if __name__ == "__main__":
    run(main, Config, __doc__)
