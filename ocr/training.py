"""Train a recognizer from flags: what `scripts/train_ocr.py` calls."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from torch.utils.data import DataLoader

from common.charset import PRINTABLE, Charset, composed
from common.cli import command_line, sizes_of
from common.errors import UsageError
from common.loading import PartsData
from common.ngrams import CharacterNgrams
from common.training import TrainConfig, fit, prepare_run
from ocr.data import LineDataset, WidthBatches, collate
from ocr.labels import TextLine, fit_labels, read_lines
from ocr.model import Recognizer, RecognizerConfig
from ocr.phrases import TextSource, read_words
from ocr.synthetic import SyntheticLines, find_fonts
from ocr.system import OcrSystem

_GENERAL = 55_000  # words or phrases of --words that the n-grams are counted over, besides the labels


@dataclass(frozen=True, kw_only=True)
class OcrConfig(RecognizerConfig, TrainConfig):
    """Train a recognizer of text lines.

        visionrnn train ocr --data DIR [DIR ...] --out RUN [--synthetic 20000]

    DIR holds `labels.tsv` (file, text) or is an LMDB folder of the deep-text-recognition benchmark.
    """

    data: tuple[Path, ...]
    """Folders with labels.tsv, or LMDB folders; one named twice is drawn twice as often."""
    val_last: tuple[str, ...] = ()
    """What of each folder is val and never trained on: its last rows or groups, as 300rows or 40groups, or a
    fold of the groups, as 2of5groups. A group is the part of a file name before the last underscore. By
    default a tenth of the rows, and none where there is a --val."""
    val: tuple[Path, ...] = ()
    """Folders that are val as a whole. Scores of val are means over the folders."""
    labelled: int = 0
    """Labelled lines an epoch, drawn at random; 0 is all of them."""
    charset: str = PRINTABLE
    """Every character that the model can read; printable ASCII by default."""
    synthetic: int = 0
    """Synthetic lines an epoch, besides the labelled ones."""
    fonts: Path | None = None
    """Folder of fonts for them; the system's by default. An eighth of the font families is never used: see
    `draw_synthetic_text.py --part val`."""
    words: Path | None = None
    """Text file of words or phrases, one per line, for the synthetic lines and the language model, besides
    the labels'; by default the system's dictionary for the synthetic lines alone."""
    init_from: Path | None = None
    """Model or run folder to start from; its sizes and charset replace the flags."""
    learning_rate: float = 2e-3
    """Peak of the one-cycle schedule (Smith & Topin 2018)."""
    batch_size: int = 64
    """Lines per step, over all processes together."""
    description: str = ""
    """What the data set is and its terms, for the model card."""


def train(config: OcrConfig) -> None:
    """Train as the flags say. Raises UsageError, DataError, ModelError, OSError."""
    for name, folders in (("data", config.data), ("val", config.val)):
        for folder in folders:
            if not folder.is_dir():
                raise UsageError(f"--{name} {folder}: no such folder")
    if config.val_last and len(config.val_last) != len(config.data):
        raise UsageError(
            f"--val-last: {len(config.val_last)} values for {len(config.data)} folders of --data"
        )
    config = prepare_run(config)
    pl.seed_everything(config.seed, verbose=False)
    model = _model(config)
    parts = _read_parts(config, model)
    if config.limit:
        parts = {name: lines[: config.limit] for name, lines in parts.items()}
    labels = [line.text for line in parts["train"]]
    words = read_words(config.words) if config.words or config.synthetic else []
    chosen = np.random.default_rng(config.seed).permutation(len(words) if config.words else 0)[:_GENERAL]
    model.language_model = CharacterNgrams.of(labels + [words[i] for i in chosen], model.charset)
    synthetic = None
    if config.synthetic:
        words += [word for line in parts["train"] for word in line.text.split()]
        synthetic = SyntheticLines(find_fonts(config.fonts, "train"), TextSource(model.charset, words))
        print(
            f"synthetic lines: {len(synthetic.fonts):,} fonts, {len(synthetic.source.words):,} words",
            flush=True,
        )
    names = dict.fromkeys(folder.resolve().name for folder in config.data)
    model.info = {
        "data": config.description or ", ".join(names),
        "lines": len(parts["train"]),
        "synthetic_lines_an_epoch": config.synthetic,
        "command": command_line(),
        "seed": config.seed,
    }
    datasets = {name: LineDataset(lines, model.preprocess, synthetic) for name, lines in parts.items()}
    data = OcrData(lambda: datasets, partial(collate, model.charset), config)
    per_folder = dict.fromkeys(f"case_insensitive_{line.folder}" for line in parts["val"])
    report = ("cer", *(per_folder if len(per_folder) > 1 else ()), "num_lines")
    system = OcrSystem(model, config, parts["val"])
    kept: Any = system.average.module
    fit(system, data, config, model=kept, monitor="case_insensitive", report=report)
    print(f"best model: {config.out / 'best'}")


class OcrData(PartsData):
    """Batches of lines that are nearly equally wide; in train distorted, and mixed with synthetic ones."""

    def train_dataloader(self) -> DataLoader[Any]:
        """Labelled and synthetic lines, distorted, shuffled."""
        return self._lines("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Each line once, as it is."""
        return self._lines("val", shuffle=False)

    def _lines(self, name: str, *, shuffle: bool) -> DataLoader[Any]:
        config: Any = self.config
        part: LineDataset = self.datasets[name]
        sampler = WidthBatches(
            [part.preprocess.width(*line.size) for line in part.lines],
            config.batch_size,
            config.seed,
            shuffle=shuffle,
            synthetic=config.synthetic,
            trainer=self.trainer,
            labelled=config.labelled,
        )
        return DataLoader(
            part,
            batch_sampler=sampler,
            num_workers=config.workers,
            collate_fn=self.collate,
            persistent_workers=config.workers > 0,
        )


def _model(config: OcrConfig) -> Recognizer:
    if config.init_from is not None:
        return Recognizer.from_pretrained(config.init_from).train()
    return Recognizer(sizes_of(RecognizerConfig, config), Charset(composed(config.charset)))


def _read_parts(config: OcrConfig, model: Recognizer) -> dict[str, list[TextLine]]:
    train: list[TextLine] = []
    val: dict[Path, list[TextLine]] = {}
    for i, folder in enumerate(config.data):
        if config.val and not config.val_last:
            train += read_lines(folder)
            continue
        everything = read_lines(folder) if not config.val_last else []
        last = config.val_last[i] if config.val_last else f"{max(1, len(everything) // 10)}rows"
        train += read_lines(folder, last, first=True)
        val[folder] = val.get(folder) or read_lines(folder, last)
    val |= {folder: read_lines(folder) for folder in config.val}
    parts = {"train": train, "val": [line for lines in val.values() for line in lines]}
    for name, lines in parts.items():
        parts[name] = fit_labels(lines, model.charset, model.preprocess)
        print(f"{name}: {len(parts[name]):,} lines", flush=True)
    return parts
