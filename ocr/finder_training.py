"""Train a finder of lines from flags: what `scripts/train_line_finder.py` calls."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import pytorch_lightning as pl

from common.charset import PRINTABLE, Charset
from common.cli import command_line, sizes_of
from common.encoder import Encoder, EncoderFlags
from common.errors import UsageError
from common.loading import DrawnPartsData
from common.pretrained import parameter_count
from common.schema import Range
from common.training import TrainConfig, fit, prepare_run
from ocr.drawn_pages import DrawnPages
from ocr.finder import FinderConfig, LineFinder
from ocr.finder_data import TrainPages, ValPages, WholePage, collate, read_pages
from ocr.finder_system import FinderSystem
from ocr.line_maps import MULTIPLE
from ocr.phrases import TextSource, read_words
from ocr.synthetic import SyntheticLines, find_fonts


@dataclass(frozen=True, kw_only=True)
class FinderTraining(FinderConfig, EncoderFlags, TrainConfig):
    """Train a finder of the lines of pages.

        python scripts/train_line_finder.py --out RUN [--data DIR ...] [--drawn 3000]

    DIR holds whole pages, NAME.jpg each with its lines in NAME.json, a list of {"box": [x0, y0, x1, y1]}.
    """

    data: tuple[Path, ...] = ()
    """Folders of whole pages with their lines."""
    val_last: Annotated[int, Range(0)] = 0
    """Pages of each folder, its last ones by name, that are val and never trained on."""
    labelled: Annotated[int, Range(0)] = 0
    """Labelled pages an epoch, each as often as the others; 0 is each once."""
    drawn: Annotated[int, Range(0)] = 0
    """Drawn pages an epoch."""
    val_drawn: Annotated[int, Range(0)] = 100
    """Drawn pages of val where there is a --drawn, with fonts that training never uses."""
    fonts: Path | None = None
    """Folder of fonts for them; the system's by default. An eighth of the font families is val's."""
    words: Path | None = None
    """Text file of words or phrases, one per line, for them; by default the system's dictionary."""
    side: Annotated[int, Range(64, 2048, multiple=MULTIPLE)] = 640
    """Pixels of what is seen of a page in training, both ways."""
    encoder_rate: float = 0.3
    """Learning rate of the encoder, relative to the rest."""
    learning_rate: float = 2e-3
    """Peak of the one-cycle schedule (Smith & Topin 2018)."""
    weight_decay: float = 0.01
    """AdamW's decay, of all but norms and biases."""
    batch_size: Annotated[int, Range(1)] = 16
    """Pages per step, over all processes together."""
    init_from: Path | None = None
    """Model or run folder to start from; its network replaces the flags."""
    description: str = ""
    """What the data set is and its terms, for the model card."""


def train(config: FinderTraining) -> None:
    """Train as the flags say. Raises UsageError, DataError, ModelError, EncoderWeightsError, OSError."""
    if not config.data and not config.drawn:
        raise UsageError("nothing to train on: give --data DIR with pages, --drawn N, or both")
    if not (config.data and config.val_last) and not (config.drawn and config.val_drawn):
        raise UsageError("no val: give --val-last N with --data, or --val-drawn N with --drawn")
    config = prepare_run(config)
    pl.seed_everything(config.seed, verbose=False)
    cv2.setNumThreads(1)  # of each loading process
    pages, val = _read_parts(config)
    drawing, val_drawing = (_drawing(config, part) if config.drawn else None for part in ("train", "val"))
    labelled = config.labelled if config.labelled and pages else len(pages)
    drawn_val = config.val_drawn if config.drawn else 0
    datasets = {
        "train": TrainPages(pages, labelled, drawing, config.drawn, config.side),
        "val": ValPages(val, val_drawing, drawn_val, config.side, config.seed),
    }
    model = _model(config)
    print(f"parameters: {parameter_count(model):,}", flush=True)
    names = dict.fromkeys(folder.resolve().name for folder in config.data)
    model.info = {
        "data": config.description or ", ".join([*names, *(["drawn pages"] if config.drawn else [])]),
        "pages": len(pages),
        "drawn_pages_an_epoch": config.drawn,
        "command": command_line(),
        "seed": config.seed,
    }
    parts = [name for name, count in (("labelled", len(val)), ("drawn", drawn_val)) if count]
    report = tuple(f"f1_{name}" for name in parts) if len(parts) > 1 else ()
    system = FinderSystem(model, config, config.encoder_rate)
    kept: Any = system.average.module
    data = DrawnPartsData(lambda: datasets, collate, config)
    fit(system, data, config, model=kept, monitor="f1", report=report)
    print(f"best model: {config.out / 'best'}")


def _read_parts(config: FinderTraining) -> tuple[list[WholePage], list[WholePage]]:
    train: list[WholePage] = []
    val: list[WholePage] = []
    for folder in config.data:
        pages = read_pages(folder)
        if config.val_last >= len(pages):
            raise UsageError(f"--val-last {config.val_last}: {folder} has {len(pages)} pages, none is left")
        first = len(pages) - config.val_last
        train += pages[:first]
        val += pages[first:]
    if config.limit:
        train, val = train[: config.limit], val[: config.limit]
    return train, val


def _drawing(config: FinderTraining, part: Any) -> DrawnPages:
    fonts = find_fonts(config.fonts, part)
    print(f"drawn pages, {part}: {len(fonts):,} fonts", flush=True)
    return DrawnPages(SyntheticLines(fonts, TextSource(Charset(PRINTABLE), read_words(config.words))))


def _model(config: FinderTraining) -> LineFinder:
    if config.init_from is not None:
        return LineFinder.from_pretrained(config.init_from).train()
    encoder = Encoder.pretrained(config.encoder, weights=config.encoder_weights)
    return LineFinder(encoder, sizes_of(FinderConfig, config))
