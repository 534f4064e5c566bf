"""Train a translation model from flags: what `visionrnn train translation` calls."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from common.cli import command_line, sizes_of
from common.errors import DataError
from common.loading import PartsData
from common.schema import Range
from common.training import TrainConfig, fit, prepare_run
from translation.config import TranslationConfig
from translation.data import LengthBatches, PairDataset, SentencePair, collate, read_pairs
from translation.model import StoredSubwords, TranslationModel
from translation.subwords import words_of
from translation.system import TranslationSystem

_KNOWN = 50_000  # words, the most frequent ones, that a model remembers having read


@dataclass(frozen=True, kw_only=True)
class TranslationTraining(TranslationConfig, TrainConfig):
    """Train a translation model on pairs of sentences.

        visionrnn train translation --data DIR --source en --target de --out RUN

    DIR holds `{train,val}.en` and `{train,val}.de`, where line n of the one belongs to line n of the other,
    or `train.tsv` and `val.tsv` with the names of the languages in the first line.
    """

    data: Path
    """Folder with {train,val}.SOURCE and {train,val}.TARGET, a sentence a line, or {train,val}.tsv."""
    source: str
    """Language to translate from, as the files are named: en."""
    target: str
    """Language to translate to."""
    subwords: Annotated[int, Range(1, 1_000_000)] = 4000
    """Subwords of each language, at most."""
    max_length: Annotated[int, Range(1, 100_000)] = 100
    """Most subwords of a sentence; longer pairs are left out of train."""
    label_smoothing: Annotated[float, Range(0, 1)] = 0.1
    """Probability spread over all subwords."""
    batch_size: Annotated[int, Range(1)] = 96
    """Pairs per step, over all processes together."""
    learning_rate: float = 2e-3
    """Peak of the one-cycle schedule (Smith & Topin 2018)."""
    description: str = ""
    """What the data set is and its terms, for the model card."""


def train(config: TranslationTraining) -> None:
    """Train as the flags say. Raises UsageError, DataError, OSError."""
    config = prepare_run(config)
    pl.seed_everything(config.seed, verbose=False)
    parts = {name: read_pairs(config.data, name, config.source, config.target) for name in ("train", "val")}
    parts["train"] = without_copies(parts["train"], parts["val"])
    if config.limit:
        parts = {name: pairs[: config.limit] for name, pairs in parts.items()}
    source, target = (
        StoredSubwords.build((getattr(pair, side) for pair in parts["train"]), config.subwords)
        for side in ("source", "target")
    )
    words = Counter(word for pair in parts["train"] for word in words_of(pair.source))
    known = tuple(sorted(words, key=lambda word: (-words[word], word))[:_KNOWN])
    sizes = sizes_of(TranslationConfig, config)
    languages = config.source, config.target
    model = TranslationModel(sizes, (source, target), languages, config.max_length, known)
    datasets = {
        "train": PairDataset(parts["train"], source, target, config.max_length),
        "val": PairDataset(parts["val"], source, target),
    }
    train_set = datasets["train"]
    if train_set.left_out:
        print(f"train: left out {train_set.left_out:,} pairs longer than {config.max_length} subwords")
    if not len(train_set):
        raise DataError(f"--max-length {config.max_length}: no pair of train is so short")
    lengths = sum(train_set.lengths()) / len(train_set)
    print(f"subwords: {len(source):,} and {len(target):,}, {lengths:.1f} a pair", flush=True)
    model.info = {
        "data": config.description or config.data.resolve().name,
        "pairs": len(train_set),
        "command": command_line(),
        "seed": config.seed,
    }
    system = TranslationSystem(model, config, datasets["val"].pairs, config.label_smoothing)
    data = TranslationData(lambda: datasets, collate, config)
    fit(system, data, config, model=model, monitor="bleu", report=("num_pairs",))
    print(f"best model: {config.out / 'best'}")


class TranslationData(PartsData):
    """Batches of sentences that are nearly equally long."""

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled."""
        return self._pairs("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Each pair once."""
        return self._pairs("val", shuffle=False)

    def _pairs(self, name: str, *, shuffle: bool) -> DataLoader[Any]:
        config: Any = self.config
        part: PairDataset = self.datasets[name]
        batches = LengthBatches(
            part.lengths(), config.batch_size, config.seed, shuffle=shuffle, trainer=self.trainer
        )
        return DataLoader(
            part,
            batch_sampler=batches,
            num_workers=config.workers,
            collate_fn=self.collate,
            persistent_workers=config.workers > 0,
        )


def without_copies(train: Sequence[SentencePair], val: Sequence[SentencePair]) -> list[SentencePair]:
    """Leave out of train what val has too, whatever its case: a sentence that was learnt by heart is no test.

    Raises:
        DataError: nothing is left.
    """
    known = {pair.source.casefold() for pair in val}
    kept = [pair for pair in train if pair.source.casefold() not in known]
    copies = len(train) - len(kept)
    if copies:
        example = next(pair.source for pair in train if pair.source.casefold() in known)
        print(f"train: left out {copies:,} pairs whose source sentence val has too, e.g. {example!r}")
    if not kept:
        raise DataError("train: val has each of its sentences; give val sentences of its own")
    return kept
