"""Train an answerer from flags: what `scripts/train_vqa.py` calls."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytorch_lightning as pl

from common.cli import command_line, sizes_of
from common.errors import UsageError
from common.folds import FoldFlags, train_folds
from common.loading import FeatureConfig, PartsData
from common.text import Vocabulary, tokenize
from common.training import fit, prepare_run
from vqa.config import AnswererConfig
from vqa.data import (
    IMAGE_TEMPLATE,
    Question,
    QuestionDataset,
    collate,
    most_frequent_answers,
    normalize,
    read_questions,
)
from vqa.model import VqaModel
from vqa.system import VqaSystem


@dataclass(frozen=True, kw_only=True)
class VqaConfig(FoldFlags, AnswererConfig, FeatureConfig):
    """Train an answerer of questions about images.

        visionrnn train vqa --data DIR --out RUN
        visionrnn train vqa --data DIR --out RUN --folds 5

    DIR holds `annotations/questions_{train,val}.json`, `annotations/annotations_{train,val}.json`
    and `images/`. With --folds, a group is the questions about one image.
    """

    data: Path
    """Folder with questions, annotations and images, in VQA v2's format."""
    image_template: str = IMAGE_TEMPLATE
    """Where the image of an id is in --data; for VQA v2 images/COCO_{split}2014_{image_id:012d}.jpg."""
    num_answers: int = 1000
    """Answers that the model can give: the most frequent of train."""
    min_count: int = 1
    """Words rarer than this in the training questions become unknown."""
    label_smoothing: float = 0.1
    """Probability spread over all answers."""
    batch_size: int = 64
    """Questions per step, over all processes together."""
    description: str = ""
    """What the data set is and its terms, for the model card."""


def train(config: VqaConfig) -> None:
    """Train as the flags say. Raises UsageError, DataError, EncoderWeightsError, OSError."""
    config = prepare_run(config)
    parts = {name: read_questions(config.data, name, config.image_template) for name in ("train", "val")}
    everything = [question for part in parts.values() for question in part] if config.folds else ()
    train_folds(
        config,
        parts,
        lambda question: question.image.name,
        lambda of_fold, its_parts: _train(of_fold, its_parts, everything),
        scores=("accuracy",),
        count="num_questions",
        facts=("kind", "cell"),
    )


def _train(config: VqaConfig, parts: dict[str, list[Question]], everything: Sequence[Question] = ()) -> None:
    """Train one model.

    Args:
        config: flags.
        parts: train and val.
        everything: the questions of all folds, whose images share a cache; of no folds, none.
    """
    pl.seed_everything(config.seed, verbose=False)
    if config.limit:
        parts = {name: questions[: config.limit] for name, questions in parts.items()}
    answers = most_frequent_answers(parts["train"], config.num_answers)
    parts["train"] = _answerable(parts, answers)
    vocabulary = Vocabulary.build([tokenize(q.text) for q in parts["train"]], config.min_count)
    print(f"vocabulary: {len(vocabulary):,} words; {len(answers):,} answers", flush=True)
    model = VqaModel(config.frozen_encoder(), sizes_of(AnswererConfig, config), vocabulary, answers)
    model.info = {
        "data": config.description or config.data.resolve().name,
        "questions": len(parts["train"]),
        "command": command_line(),
        "seed": config.seed,
    }
    data = PartsData(partial(_open, config, model, parts, everything), collate, config)
    system = VqaSystem(model, config, config.label_smoothing)
    fit(system, data, config, model=model, monitor="accuracy", report=("num_questions",))


def _open(
    config: VqaConfig, model: VqaModel, parts: dict[str, list[Question]], everything: Sequence[Question]
) -> dict[str, QuestionDataset]:
    """The questions of each part whose image has features."""
    opened = {}
    for name, questions in parts.items():
        part, cached = ("all", everything) if everything else (name, questions)
        store, rows = config.features(model.encoder, part, (question.image for question in cached))
        seen = [question for question in questions if question.image in rows]
        opened[name] = QuestionDataset(seen, store, rows, model.vocabulary, model.answers)
    return opened


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
