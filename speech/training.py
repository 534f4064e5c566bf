"""Train a speech recognizer from flags: what `visionrnn train speech` calls."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from common.charset import Charset, composed
from common.cli import command_line, sizes_of
from common.errors import DataError
from common.files import cache_folder
from common.loading import PartsData
from common.ngrams import CharacterNgrams
from common.schema import Range
from common.training import TrainConfig, fit, prepare_run
from speech.config import SpeechConfig
from speech.data import (
    Clip,
    Spectrograms,
    SpeechBatches,
    SpeechDataset,
    alphabet,
    batches_of,
    fitting,
    hours,
    read_clips,
    spectrograms,
)
from speech.model import SpeechModel
from speech.system import SpeechSystem

_MEASURED = 2_000  # clips, spread over the training part, that the scale of the spectrograms is measured on
_LEAST_SPREAD = 0.5


@dataclass(frozen=True, kw_only=True)
class SpeechTraining(SpeechConfig, TrainConfig):
    """Train a speech recognizer on clips with transcripts.

        visionrnn train speech --data DIR --out RUN

    DIR holds `train.tsv` and `val.tsv` (file, text, speaker), Common Voice's tables, LJSpeech's
    `metadata.csv` or LibriSpeech's folders.
    """

    data: Path
    """Folder of the corpus."""
    extra: tuple[Path, ...] = ()
    """Folders whose train part is trained on as well."""
    charset: str = ""
    """Every character that the model can spell; by default those of the training texts. Clips with others are
    left out of train."""
    join: Annotated[int, Range(1, 100)] = 1
    """Train on one to so many clips of a speaker, joined with pauses: strings of words from single words."""
    repeat: Annotated[int, Range(1, 1000)] = 1
    """Times that each clip is drawn in an epoch."""
    max_seconds: float = 20.0
    """Longer clips are left out of train."""
    cache: Path | None = None
    """Folder for the spectrograms; by default under ~/.cache/visionrnn."""
    batch_size: Annotated[int, Range(1)] = 16
    """Clips per step, over all processes together."""
    learning_rate: float = 1e-3
    """Peak of the one-cycle schedule (Smith & Topin 2018)."""
    description: str = ""
    """What the data set is and its terms, for the model card."""


def train(config: SpeechTraining) -> None:
    """Train as the flags say. Raises UsageError, DataError, SoundError, OSError."""
    config = prepare_run(config)
    torch.set_flush_denormal(True)  # CTC's gradients become so small that a CPU is several times slower
    pl.seed_everything(config.seed, verbose=False)
    clips = {part: read_clips(config.data, part) for part in ("train", "val")}
    for folder in config.extra:
        clips["train"] += read_clips(folder, "train")
    if config.limit:
        clips = {part: some[: config.limit] for part, some in clips.items()}
    stores = {}
    for part, some in clips.items():
        clips[part], stores[part] = spectrograms(
            some, config.sample_rate, config.bands, _cache(config), config.workers
        )
    charset = Charset(composed(config.charset) or alphabet(clips["train"]))
    chosen, dropped = fitting(clips["train"], charset, config.max_seconds)
    if not chosen:
        raise DataError(f"train: nothing is left to use\n{dropped}")
    model = SpeechModel(sizes_of(SpeechConfig, config), charset)
    mean, spread = _scale(stores["train"], chosen)
    model.fit_scale(torch.from_numpy(mean), torch.from_numpy(spread))
    sets = {
        "train": SpeechDataset(
            clips["train"], stores["train"], mean, config.sample_rate, chosen, join=config.join > 1
        ),
        "val": SpeechDataset(clips["val"], stores["val"], mean, config.sample_rate),
    }
    used = sets["train"].clips
    texts = [clip.text for clip in used]
    model.language_model = CharacterNgrams.of(_texts(used, config.join), charset)
    print(f"train: {hours(used)}\n{dropped}\nval: {hours(clips['val'])}")
    print(f"alphabet: {len(charset.characters)} characters {charset.characters!r}")
    unknown = charset.unknown("".join(clip.text for clip in clips["val"]))
    if unknown:
        print(f"val: has characters outside the alphabet, which count as errors: {unknown!r}")
    model.info = {
        "data": config.description or config.data.resolve().name,
        "clips": len(texts),
        "hours": round(sum(clip.seconds for clip in used) / 3600, 2),
        "speakers": len({clip.speaker for clip in used}),
        "command": command_line(),
        "seed": config.seed,
    }
    data = SpeechData(lambda: sets, batches_of(charset), config)
    system = SpeechSystem(model, config, [clip.text for clip in clips["val"]])
    kept: Any = system.average.module
    fit(system, data, config, model=kept, monitor="cer", mode="min", report=("exact", "wer", "num_clips"))
    print(f"best model: {config.out / 'best'}")


class SpeechData(PartsData):
    """Batches of clips that are nearly equally long; in train changed, and perhaps joined."""

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled."""
        return self._clips("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Each clip once, as it is."""
        return self._clips("val", shuffle=False)

    def _clips(self, name: str, *, shuffle: bool) -> DataLoader[Any]:
        config: Any = self.config
        part: SpeechDataset = self.datasets[name]
        batches = SpeechBatches(
            part.clips,
            config.batch_size,
            config.seed,
            shuffle=shuffle,
            trainer=self.trainer,
            join=config.join,
            repeat=config.repeat,
        )
        return DataLoader(
            part,
            batch_sampler=batches,
            num_workers=config.workers,
            collate_fn=self.collate,
            persistent_workers=config.workers > 0,
        )


def _texts(clips: list[Clip], join: int) -> list[str]:
    """What the language model is counted over: the texts; where clips are joined, any of them in a row."""
    texts = [clip.text for clip in clips]
    if join == 1:
        return texts
    random = np.random.default_rng(0)
    order = random.permutation(len(texts)).tolist()
    return [" ".join(texts[i] for i in order[k : k + join]) for k in range(0, len(order), join)]


def _scale(store: Spectrograms, chosen: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each band (B,)."""
    some = chosen[:: max(1, len(chosen) // _MEASURED)]
    frames = np.concatenate([store[i] for i in some])
    return frames.mean(axis=0), np.maximum(frames.std(axis=0), _LEAST_SPREAD)


def _cache(config: SpeechTraining) -> Path:
    name = hashlib.sha256(str(config.data.resolve()).encode()).hexdigest()[:16]
    return config.cache or cache_folder() / "speech" / name
