"""Train a captioner from flags: what `scripts/train_captioning.py` calls."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from captioning.data import CaptionDataset, CaptionedImage, Pictures, collate, read_captions
from captioning.model import CaptionModel, DecoderConfig, DecoderKind
from captioning.self_critical import Baseline, SelfCriticalSystem
from captioning.system import CaptioningSystem
from common.cli import command_line
from common.errors import UsageError
from common.features import FeatureFlags, cached_features
from common.loading import PartsData
from common.recurrent import CellKind
from common.text import Vocabulary, tokenize
from common.training import TrainConfig, fit, prepare_run


@dataclass(frozen=True, kw_only=True)
class CaptioningConfig(FeatureFlags, TrainConfig):
    """Flags of captioning."""

    data: Path
    """Folder with the pictures and captions of train and val."""
    decoder: DecoderKind = "show_attend_tell"
    """show_attend_tell, att2in and updown look at places of the picture for each word; show_tell sees it
    once, at the start."""
    cell: CellKind = "lstm"
    """lstm, gru or rnn."""
    hidden_size: int = 512
    """Units of the RNN."""
    embedding_size: int = 256
    """Units of a word."""
    dropout: float = 0.5
    """On words, grid and output."""
    label_smoothing: float = 0.1
    """Probability spread over all words."""
    min_count: int = 5
    """Words rarer than this in the training captions become unknown."""
    max_length: int = 20
    """Most words of a caption, in training and in captions made."""
    init_from: Path | None = None
    """Model or run folder to start from; its decoder, sizes, words and encoder replace the flags."""
    finetune_encoder: bool = False
    """Also train the encoder; best after the decoder, with --init-from. Its features are then not cached."""
    encoder_rate: float = 0.1
    """With --finetune-encoder: its learning rate, relative to the decoder's."""
    scheduled_sampling: float = 0.0
    """Share of its own words that the decoder reads at the end of training; grows from 0 evenly."""
    self_critical: bool = False
    """Train on CIDEr-D of sampled captions (SCST); start from a model with --init-from."""
    baseline: Baseline = "mean"
    """With --self-critical: mean (of the image's other samples) or greedy."""
    samples: int = 5
    """With --self-critical: captions drawn an image."""
    description: str = ""
    """What the data set is and its terms, for the model card."""


def train(config: CaptioningConfig) -> None:
    """Train as the flags say. Raises UsageError, DataError, EncoderWeightsError, OSError."""
    if not config.data.is_dir():
        raise UsageError(f"--data {config.data}: no such folder")
    _check(config)
    config = prepare_run(config)
    pl.seed_everything(config.seed, verbose=False)
    parts = {name: read_captions(config.data, name) for name in ("train", "val")}
    if config.limit:
        parts = {name: images[: config.limit] for name, images in parts.items()}
    model = _model(config, parts["train"])
    model.info = {
        "data": config.description or config.data.resolve().name,
        "images": len(parts["train"]),
        "captions": sum(len(image.captions) for image in parts["train"]),
        "command": command_line(),
        "seed": config.seed,
    }
    data = PartsData(partial(_open, config, model, parts), collate, config)
    options: Any = (model, config, parts["val"], config.label_smoothing)
    rates: Any = {"scheduled_sampling": config.scheduled_sampling, "encoder_rate": config.encoder_rate}
    if config.self_critical:
        system: CaptioningSystem = SelfCriticalSystem(
            parts["train"], config.baseline, config.samples, *options, **rates
        )
    else:
        system = CaptioningSystem(*options, **rates)
    report = ("bleu_4", *(("reward",) if config.self_critical else ()), "num_images")
    fit(system, data, config, model=model, monitor="cider_d", report=report)
    if isinstance(system, SelfCriticalSystem) and system.step_seconds:
        print(f"rewards took {system.reward_seconds / system.step_seconds:.1%} of the training steps' time")
    print(f"best model: {config.out / 'best'}")


def _check(config: CaptioningConfig) -> None:
    if config.self_critical and config.init_from is None:
        raise UsageError("--self-critical starts from a trained model; name it with --init-from")
    if config.samples < 2:
        raise UsageError(f"--samples {config.samples}: must be at least 2")
    if not 0 <= config.scheduled_sampling <= 1:
        raise UsageError(f"--scheduled-sampling {config.scheduled_sampling}: must lie between 0 and 1")
    if config.decoder == "att2in" and config.cell != "lstm":
        raise UsageError(f"--decoder att2in is an LSTM; --cell {config.cell} does not go with it")


def _model(config: CaptioningConfig, train: list[CaptionedImage]) -> CaptionModel:
    if config.init_from is not None:
        model = CaptionModel.from_pretrained(config.init_from).train()
        encoder = model.encoder
    else:
        encoder = config.frozen_encoder()
        sizes = DecoderConfig(
            config.decoder, config.cell, config.hidden_size, config.embedding_size, dropout=config.dropout
        )
        model = CaptionModel(encoder, sizes, _vocabulary(train, config.min_count), config.max_length)
    if config.finetune_encoder:
        encoder.unfreeze()
    return model


def _open(
    config: CaptioningConfig, model: CaptionModel, parts: dict[str, list[CaptionedImage]]
) -> dict[str, CaptionDataset]:
    """Each part with the features of a frozen encoder, or with the pictures for one that is trained."""
    opened = {}
    for name, images in parts.items():
        paths = [image.path for image in images]
        if model.encoder.frozen:
            folder = config.features_folder(config.data) / name
            store, found, errors = cached_features(
                paths, model.encoder, folder, workers=config.workers, device=config.device
            )
            rows = [(i, found[i][0]) for i in range(len(images)) if i in found]
            features: Any = store
        else:
            features = Pictures(paths, model.encoder.preprocess)
            unreadable = features.errors(config.workers)
            rows = [(i, i) for i in range(len(images)) if i not in unreadable]
            errors = list(map(str, unreadable.values()))
        for error in errors:
            print(f"  {name}: left out {error}", flush=True)
        chosen, numbers = [images[i] for i, _ in rows], dict(enumerate(row for _, row in rows))
        opened[name] = CaptionDataset(chosen, features, numbers, model.vocabulary, model.max_length)
    return opened


def _vocabulary(images: list[CaptionedImage], min_count: int) -> Vocabulary:
    captions = [tokenize(caption) for image in images for caption in image.captions]
    vocabulary = Vocabulary.build(captions, min_count)
    words = sum(len(caption) for caption in captions)
    unknown = words - sum(1 for caption in captions for i in vocabulary.encode(caption) if i != 3)
    print(
        f"vocabulary: {len(vocabulary):,} words that occur at least {min_count} times; "
        f"{unknown:,} of {words:,} words of train ({unknown / words:.1%}) are unknown",
        flush=True,
    )
    if len(vocabulary) <= 4:
        raise UsageError(f"--min-count {min_count}: no word occurs so often; lower it")
    return vocabulary
