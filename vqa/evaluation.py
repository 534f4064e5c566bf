"""Score an answerer and baselines without the image: what `scripts/evaluate_vqa.py` calls."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.cli import loaded, progress
from common.errors import ImageError, UsageError
from common.evaluation import EvaluationFlags, facts, left_out, show, write_report
from common.files import check_folder
from common.images import read_batches
from common.search import reorder
from common.text import tokenize
from vqa.answerer import Answerer
from vqa.data import IMAGE_TEMPLATE, Question, normalize, read_questions
from vqa.metrics import equal, score_answers, score_sets
from vqa.on_graphs import OnGraphs
from vqa.wordnet import HOW, find_similarity


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(EvaluationFlags):
    """Score an answerer and, for comparison, a model without the image and the most frequent answer.

    visionrnn evaluate vqa --data DIR --split val --model NAME --report FILE.json
    """

    data: Path
    """Folder with questions, annotations and images, in VQA v2's format."""
    image_template: str = IMAGE_TEMPLATE
    """Where the image of an id is in --data; for VQA v2 images/COCO_{split}2014_{image_id:012d}.jpg."""
    model: str = "daquar"
    """A bundled model, a model or run folder, or hub:user/name."""
    question_only: str | None = None
    """The control of kind question_only to compare with; by default the bundled MODEL-question-only."""
    batch_size: int = 64
    """Images, and questions, at a time."""
    workers: int = 2
    """Threads that read images."""


def evaluate(config: EvaluationConfig) -> int:
    """Answer, score, print and write the report; 1 if an image could not be read."""
    check_folder("--report", config.report)
    answerer = loaded(Answerer.from_pretrained, config)
    control = _control(config)
    questions = read_questions(config.data, config.split, config.image_template)
    questions = questions[: config.limit] if config.limit else questions
    started = time.monotonic()
    memory, rows, errors = _remember_images(answerer, questions, config)
    answered = [question for question in questions if question.image in rows]
    answers = _answers(answerer, answered, memory, rows, config.batch_size)
    seconds = time.monotonic() - started
    left_out(errors)
    known = set(answerer.model.answers)
    prior = answerer.model.answers[0]  # they are sorted by how frequent they are in train
    report: dict[str, Any] = score_answers(answers, answered)
    report["accuracy"] = round(report["accuracy"], 2)
    report["prior_accuracy"] = _accuracy([prior] * len(answered), answered)
    if control is not None:
        size = control.model.encoder.preprocess
        nothing = control.remember(np.zeros((1, 3, size.height, size.width), np.float32))  # it keeps nothing
        control_answers = _answers(control, answered, nothing, dict.fromkeys(rows, 0), config.batch_size)
        report["question_only_accuracy"] = _accuracy(control_answers, answered)
    if all(len(question.answers) == 1 for question in answered):
        report["set_accuracy"] = round(score_sets(answers, answered, equal), 2)
        if (similarity := find_similarity()) is None:
            print(f"no WordNet here, so wups_0_9 is left out of the report; {HOW}", flush=True)
        else:
            report["wups_0_9"] = round(score_sets(answers, answered, similarity), 2)
            if control is not None:
                report["question_only_wups_0_9"] = round(score_sets(control_answers, answered, similarity), 2)
    report |= {
        "num_questions": len(answered),
        "num_unanswerable": sum(not any(normalize(a) in known for a in q.answers) for q in answered),
        "num_unreadable": len(errors),
        "seconds": round(seconds, 2),
        **facts(config, answerer),
        "kind": answerer.model.config.kind,
        "cell": answerer.model.config.cell,
    }
    show(report, 22)
    report["answers"] = [
        {"question_id": q.question_id, "question": q.text, "answer": a, "given": list(q.answers)}
        for q, a in zip(answered, answers, strict=True)
    ]
    write_report(report, config.report)
    return 1 if errors else 0


def _control(config: EvaluationConfig) -> Answerer | None:
    name = config.question_only or f"{config.model}-question-only"
    if config.question_only is None and name not in OnGraphs.bundled():
        print("no --question-only MODEL given, so its accuracy is left out of the report", flush=True)
        return None
    control = Answerer.from_pretrained(name, config.device, config.precision)
    if control.model.config.kind != "question_only":
        raise UsageError(f"--question-only {name}: a model of kind {control.model.config.kind}")
    return control


def _remember_images(
    answerer: Answerer, questions: Sequence[Question], config: EvaluationConfig
) -> tuple[Any, dict[Path, int], list[ImageError]]:
    """What the network keeps of each image, encoded once; the row of each that can be read."""
    paths = list(dict.fromkeys(question.image for question in questions))
    memories: list[Any] = []
    rows: dict[Path, int] = {}
    errors: list[ImageError] = []
    each = read_batches(list(paths), answerer.model.encoder.preprocess, config.batch_size, config.workers)
    for batch in progress(each, math.ceil(len(paths) / config.batch_size), "batches", silent=True):
        errors += batch.errors.values()
        if batch.indices:
            memories.append(answerer.remember(batch.images))
            rows |= {paths[i]: len(rows) + n for n, i in enumerate(batch.indices)}
    if not memories:
        raise ImageError("none of the pictures could be read")
    return answerer.network.join(memories), rows, errors


def _answers(
    answerer: Answerer,
    questions: Sequence[Question],
    memory: Any,
    rows: dict[Path, int],
    batch_size: int,
) -> list[str]:
    answers: list[str] = []
    starts = range(0, len(questions), batch_size)
    for start in progress(starts, len(starts), "batches", silent=True):
        chosen = questions[start : start + batch_size]
        of_questions = reorder(memory, [rows[question.image] for question in chosen])
        predicted = answerer.answer_rows(
            of_questions, [tokenize(question.text) for question in chosen], top=1
        )
        answers += [answer.text for answer in predicted]
    return answers


def _accuracy(answers: Sequence[str], questions: Sequence[Question]) -> float:
    return round(float(str(score_answers(answers, questions)["accuracy"])), 2)
