"""Train a language model from flags: what `visionrnn train language` calls."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from torch.utils.data import DataLoader

from common.cli import command_line, sizes_of
from common.errors import DataError, UsageError
from common.training import TrainConfig, fit, prepare_run
from language.config import LanguageSizes
from language.data import Alphabet, Split, encode_part, read_text
from language.model import LanguageModel
from language.streams import Streams
from language.system import LanguageSystem


@dataclass(frozen=True, kw_only=True)
class LanguageConfig(LanguageSizes, TrainConfig):
    """Train a language model.

        visionrnn train language --data FILE --out RUN

    FILE is a text in UTF-8, or a folder of such files; its last tenth (`--val`) is never trained on.
    """

    data: Path
    """A text file, or a folder of text files (UTF-8)."""
    val: float = 0.1
    """Share (or, from 1 on, characters) at the end of the text that is never trained on."""
    min_count: int = 0
    """Characters or words that occur less often are unknown; 0 is 1 for characters and 2 for words."""
    steps: int = 64
    """Characters or words through which the gradient goes back; the state is carried on beyond them."""
    batch_size: int = 32
    """Places of the text that are read side by side, over all processes together."""
    epochs: int = 30
    """Passes over the training part."""
    learning_rate: float = 3e-3
    """Peak of the one-cycle schedule (Smith & Topin 2018)."""
    weight_decay: float = 0.01
    """AdamW's decay."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient; 0 does not clip."""


class TextData(pl.LightningDataModule):
    """Train and val as streams.

    Args:
        parts: codes of `train` and `val`.
        config: streams, steps, seed.

    Raises:
        UsageError: see `Streams`.
    """

    def __init__(self, parts: dict[str, np.ndarray], config: LanguageConfig) -> None:
        super().__init__()
        self.parts, self.config = parts, config

    def _loader(self, name: str, streams: int) -> DataLoader[Any]:
        config, shuffle = self.config, name == "train"
        part = Streams(self.parts[name], streams, config.steps, seed=config.seed, trainer=self.trainer,
                       shuffle=shuffle)  # fmt: skip
        return DataLoader(part, batch_size=None)

    def train_dataloader(self) -> DataLoader[Any]:
        """All streams, each epoch from other places on."""
        world = self.trainer.world_size if self.trainer else 1
        if self.config.batch_size % world:
            raise UsageError(
                f"--batch-size {self.config.batch_size}: must be a multiple of the {world} processes"
            )
        return self._loader("train", self.config.batch_size)

    def val_dataloader(self) -> DataLoader[Any]:
        """As many streams as val has room for."""
        world = self.trainer.world_size if self.trainer else 1
        return self._loader("val", max(world, min(64, len(self.parts["val"]) // (4 * self.config.steps))))


def train(config: LanguageConfig) -> None:
    """Train as the flags say. Raises UsageError, DataError, OSError."""
    for name in ("embedding_size", "hidden_size", "layers", "steps"):
        if getattr(config, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')} {getattr(config, name)}: must be at least 1")
    for name in ("input_dropout", "dropout", "weight_dropout"):
        if not 0 <= getattr(config, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')} {getattr(config, name)}: must lie in [0, 1)")
    config = prepare_run(config)
    pl.seed_everything(config.seed, verbose=False)
    text = read_text(config.data)
    split = Split.of(text.length, config.val)
    least = config.min_count or (1 if config.unit == "characters" else 2)
    alphabet = Alphabet.build(config.unit, text.pieces(0, split.train), least)
    parts = {name: encode_part(text, alphabet, *split.part(name)) for name in ("train", "val")}
    if config.limit:
        parts = {name: codes[: config.limit] for name, codes in parts.items()}
    if len(alphabet.units) < 2:
        raise DataError(
            f"{config.data}: the training part has {len(alphabet.units)} different {config.unit} "
            f"(that occur {least} times); a model needs two"
        )
    print(
        f"{text.length:,} characters in {len(text.files):,} files; {len(alphabet.units):,} different "
        f"{config.unit}; train {len(parts['train']):,}, val {len(parts['val']):,} {config.unit}",
        flush=True,
    )
    model = LanguageModel(sizes_of(LanguageSizes, config), alphabet)
    model.info = {
        "data": config.data.resolve().name,
        "val": config.val,
        "command": command_line(),
        "seed": config.seed,
    }
    data = TextData(parts, config)
    Streams(parts["train"], config.batch_size, config.steps, shuffle=True)  # is there enough text?
    fit(LanguageSystem(model, config), data, config, model=model, monitor="nats", mode="min")
    print(f"best model: {config.out / 'best'}")
