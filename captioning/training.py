"""Train a captioner from flags: what `scripts/train_captioning.py` calls."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl

from captioning.data import CaptionData, CaptionedImage, read_captions
from captioning.model import CaptionModel, DecoderConfig, DecoderKind
from captioning.system import CaptioningSystem
from common.cli import command_line
from common.encoder import DEFAULT_ENCODER, Encoder
from common.errors import UsageError
from common.features import cache_directory
from common.recurrent import CellKind
from common.text import Vocabulary, tokenize
from common.training import TrainConfig, fit, prepare_run


@dataclass(frozen=True, kw_only=True)
class CaptioningConfig(TrainConfig):
    """Flags of captioning."""

    data: Path
    """Folder with the pictures and captions of train and val."""
    decoder: DecoderKind = "show_attend_tell"
    """show_attend_tell looks at places of the picture for each word; show_tell sees it once, at the start."""
    cell: CellKind = "lstm"
    """lstm, gru or rnn."""
    encoder: str = DEFAULT_ENCODER
    """Any convolutional backbone of timm; it stays frozen."""
    encoder_weights: str | None = None
    """File with the encoder's weights (safetensors, or a checkpoint that torch reads with weights_only)."""
    image_size: int = 0
    """Side of the encoder's input in pixels; 0 is the backbone's own."""
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
    cache: Path | None = None
    """Folder for the encoder's features; by default under ~/.cache/visionrnn."""
    description: str = ""
    """What the data set is and its terms, for the model card."""


def train(config: CaptioningConfig) -> None:
    """Train as the flags say. Raises UsageError, DataError, EncoderWeightsError, OSError."""
    if not config.data.is_dir():
        raise UsageError(f"--data {config.data}: no such folder")
    config = prepare_run(config)
    pl.seed_everything(config.seed, verbose=False)
    parts = {name: read_captions(config.data, name) for name in ("train", "val")}
    if config.limit:
        parts = {name: images[: config.limit] for name, images in parts.items()}
    vocabulary = _vocabulary(parts["train"], config.min_count)
    encoder = Encoder.pretrained(config.encoder, config.image_size, config.encoder_weights).freeze()
    sizes = DecoderConfig(
        config.decoder, config.cell, config.hidden_size, config.embedding_size, dropout=config.dropout
    )
    model = CaptionModel(encoder, sizes, vocabulary, config.max_length)
    model.info = {
        "data": config.description or config.data.resolve().name,
        "images": len(parts["train"]),
        "captions": sum(len(image.captions) for image in parts["train"]),
        "command": command_line(),
        "seed": config.seed,
    }
    name = hashlib.sha256(str(config.data.resolve()).encode()).hexdigest()[:16]
    data = CaptionData(
        parts,
        vocabulary,
        encoder,
        config.cache or cache_directory() / "features" / name,
        batch_size=config.batch_size,
        workers=config.workers,
        max_length=config.max_length,
        seed=config.seed,
        device=config.device,
    )
    system = CaptioningSystem(model, config, parts["val"], config.label_smoothing)
    fit(system, data, config, model=model, monitor="cider_d", report=("bleu_4", "num_images"))
    print(f"best model: {config.out / 'best'}")


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
