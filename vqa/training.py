"""Train an answerer from flags: what `scripts/train_vqa.py` calls."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl

from common.cli import command_line
from common.encoder import DEFAULT_ENCODER, Encoder
from common.errors import UsageError
from common.features import cache_directory
from common.recurrent import CellKind
from common.text import Vocabulary, tokenize
from common.training import TrainConfig, fit, prepare_run
from vqa.data import (
    IMAGE_TEMPLATE,
    Question,
    VqaData,
    most_frequent_answers,
    normalize,
    read_questions,
)
from vqa.model import AnswererConfig, AnswererKind, VqaModel
from vqa.system import VqaSystem


@dataclass(frozen=True, kw_only=True)
class VqaConfig(TrainConfig):
    """Flags of visual question answering."""

    data: Path
    """Folder with questions, annotations and pictures, in VQA v2's format."""
    image_template: str = IMAGE_TEMPLATE
    """Where the picture of an id is in --data; for VQA v2 images/COCO_{split}2014_{image_id:012d}.jpg."""
    kind: AnswererKind = "san"
    """san (stacked attention), lstm_q_i (pooled picture), or a control: question_only, image_only."""
    cell: CellKind = "lstm"
    """lstm, gru or rnn; reads the question."""
    encoder: str = DEFAULT_ENCODER
    """Any convolutional backbone of timm; it stays frozen."""
    encoder_weights: str | None = None
    """File with the encoder's weights (safetensors, or a checkpoint that torch reads with weights_only)."""
    image_size: int = 0
    """Side of the encoder's input in pixels; 0 is the backbone's own."""
    num_answers: int = 1000
    """Answers that the model can give: the most frequent of train."""
    min_count: int = 1
    """Words rarer than this in the training questions become unknown."""
    hidden_size: int = 512
    """Units of the RNN."""
    embedding_size: int = 256
    """Units of a word."""
    attention_size: int = 256
    """Units of an attention layer."""
    hops: int = 2
    """Attention layers of san."""
    dropout: float = 0.5
    """On words, picture and output."""
    label_smoothing: float = 0.1
    """Probability spread over all answers."""
    batch_size: int = 64
    """Questions a step, over all processes together."""
    cache: Path | None = None
    """Folder for the encoder's features; by default under ~/.cache/visionrnn."""
    description: str = ""
    """What the data set is and its terms, for the model card."""


def train(config: VqaConfig) -> None:
    """Train as the flags say. Raises UsageError, DataError, EncoderWeightsError, OSError."""
    config = prepare_run(config)
    pl.seed_everything(config.seed, verbose=False)
    parts = {name: read_questions(config.data, name, config.image_template) for name in ("train", "val")}
    if config.limit:
        parts = {name: questions[: config.limit] for name, questions in parts.items()}
    answers = most_frequent_answers(parts["train"], config.num_answers)
    parts["train"] = _answerable(parts, answers)
    vocabulary = Vocabulary.build([tokenize(q.text) for q in parts["train"]], config.min_count)
    print(f"vocabulary: {len(vocabulary):,} words; {len(answers):,} answers", flush=True)
    encoder = Encoder.pretrained(config.encoder, config.image_size, config.encoder_weights).freeze()
    sizes = AnswererConfig(
        config.kind,
        config.cell,
        config.hidden_size,
        config.embedding_size,
        config.attention_size,
        config.hops,
        config.dropout,
    )
    model = VqaModel(encoder, sizes, vocabulary, answers)
    model.info = {
        "data": config.description or config.data.resolve().name,
        "questions": len(parts["train"]),
        "command": command_line(),
        "seed": config.seed,
    }
    name = hashlib.sha256(str(config.data.resolve()).encode()).hexdigest()[:16]
    data = VqaData(
        parts,
        vocabulary,
        answers,
        encoder,
        config.cache or cache_directory() / "features" / name,
        batch_size=config.batch_size,
        workers=config.workers,
        seed=config.seed,
        device=config.device,
    )
    system = VqaSystem(model, config, config.label_smoothing)
    fit(system, data, config, model=model, monitor="accuracy", report=("num_questions",))
    print(f"best model: {config.out / 'best'}")


def _answerable(parts: dict[str, list[Question]], answers: list[str]) -> list[Question]:
    """The training questions that the model can answer; prints how many of each part it cannot."""
    known = set(answers)
    can = {
        name: [q for q in questions if any(normalize(a) in known for a in q.answers)]
        for name, questions in parts.items()
    }
    lost = {name: len(questions) - len(can[name]) for name, questions in parts.items()}
    print(
        f"{len(answers):,} answers; without one of them are {lost['train']:,} of {len(parts['train']):,} "
        f"questions of train, not trained on, and {lost['val']:,} of {len(parts['val']):,} of val, all wrong",
        flush=True,
    )
    if not can["train"]:
        raise UsageError(f"--num-answers {len(answers)}: no question can be answered; raise it")
    return can["train"]
