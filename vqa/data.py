"""Questions about images: the VQA v2 reader, the data set and its batches.

Notation: Q questions, T words, L grid places, C channels, A answers.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.data import Dataset

from common.errors import DataError, UsageError
from common.features import FeatureStore
from common.files import Dropped, load_json
from common.text import Vocabulary, pad, tokenize

IMAGE_TEMPLATE = "images/image{image_id}.jpg"
_QUESTIONS = ("annotations/questions_{split}.json", "v2_OpenEnded_mscoco_{split}2014_questions.json")
_ANNOTATIONS = ("annotations/annotations_{split}.json", "v2_mscoco_{split}2014_annotations.json")


@dataclass(frozen=True)
class Question:
    """One question about one image, with the answers that people gave."""

    question_id: int
    image: Path
    text: str
    answers: tuple[str, ...]
    question_type: str
    answer_type: str


def read_questions(data: Path, split: str, image_template: str = IMAGE_TEMPLATE) -> list[Question]:
    """Read one part of a set in VQA v2's format, and print what was dropped and why.

    `data` holds `annotations/questions_SPLIT.json` and `annotations/annotations_SPLIT.json`, or the files of
    VQA v2 under their own names.

    Args:
        data: the folder.
        split: train, val, ...
        image_template: where the image of an id is, in `data`; a format of `image_id` and `split`.

    Raises:
        UsageError: the folder or this part of it is not there, or the template is invalid.
        DataError: a file cannot be read, or nothing is left of it.
    """
    if not data.is_dir():
        raise UsageError(f"--data {data}: no such folder")
    files = [
        next((file for name in names if (file := data / name.format(split=split)).is_file()), None)
        for names in (_QUESTIONS, _ANNOTATIONS)
    ]
    if files[0] is None or files[1] is None:
        expected = " and ".join(names[0].format(split=split) for names in (_QUESTIONS, _ANNOTATIONS))
        raise UsageError(
            f"--data {data}: holds no {split!r} part; expected {expected}, or VQA v2's own names"
        )
    try:
        image_template.format(image_id=0, split=split)
    except (LookupError, ValueError):
        raise UsageError(
            f"--image-template {image_template!r}: expected a path with {{image_id}} and perhaps {{split}}"
        ) from None
    questions, annotations = load_json(files[0]), load_json(files[1])
    dropped = Dropped()
    found: list[Question] = []
    try:
        answered = _by_id(annotations["annotations"], "answers", dropped)
        by_id = _by_id(questions["questions"], "question", dropped)
        for question_id in answered.keys() - by_id.keys():
            dropped.add("answers to a question that is not there", question_id)
        for question_id, item in by_id.items():
            if question_id not in answered:
                dropped.add("question without answers", question_id)
                continue
            annotation = answered[question_id]
            if annotation is None or item is None:  # given twice; already counted
                continue
            given = annotation.get("answers") or [{"answer": annotation["multiple_choice_answer"]}]
            answers = [_text(answer["answer"]) for answer in given]
            for _ in range(answers.count("")):
                dropped.add("answer is empty", f"question {question_id}")
            question = Question(
                question_id,
                data / image_template.format(image_id=item["image_id"], split=split),
                _text(item["question"]),
                tuple(answer for answer in answers if answer),
                str(annotation.get("question_type", "")),
                str(annotation.get("answer_type", "")),
            )
            if reason := _unusable(question):
                dropped.add(reason, question_id)
            else:
                found.append(question)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{files[0]}, {files[1].name}: not VQA v2's format, {error!r} is missing or wrong"
        ) from None
    images = len({question.image for question in found})
    summary = f"{split}: {len(found):,} questions on {images:,} images from {files[0]}\n{dropped}"
    if not found:
        raise DataError(f"nothing is left to use\n{summary}")
    print(summary, flush=True)
    return found


def _by_id(items: Iterable[Any], what: str, dropped: Dropped) -> dict[Any, Any]:
    """Questions, or their answers, by question id; None where an id occurs twice with other content."""
    found: defaultdict[Any, list[Any]] = defaultdict(list)
    for item in items:
        of_id = found[item["question_id"]]
        if item in of_id:
            dropped.add(f"{what} given twice", f"question id {item['question_id']}")
        else:
            of_id.append(item)
    for question_id, of_id in found.items():
        for _ in of_id if len(of_id) > 1 else ():
            dropped.add(f"question id given twice, with another {what}", question_id)
    return {question_id: of_id[0] if len(of_id) == 1 else None for question_id, of_id in found.items()}


def _text(value: object) -> str:
    """A text, or a number as text; empty for other values (null, NaN, a list) and invisible characters."""
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value != value:
        return ""
    text = str(value)
    return text if any(c.isprintable() and not c.isspace() for c in text) else ""


def _unusable(question: Question) -> str:
    if not tokenize(question.text):
        return "question without words"
    if not question.answers:
        return "question is left without answers"
    if not question.image.is_file():
        return f"picture is missing ({question.image.name}); --image-template says where pictures are"
    return ""


def most_frequent_answers(questions: Sequence[Question], count: int) -> list[str]:
    """The `count` most frequent answers; a question counts once, by the answer most people gave."""
    counts = Counter(majority(question) for question in questions)
    return [answer for answer, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:count]]


def majority(question: Question) -> str:
    """The answer that most people gave; ties go to the first one."""
    return Counter(normalize(answer) for answer in question.answers).most_common(1)[0][0]


def normalize(answer: str) -> str:
    """Lower case, single spaces."""
    return " ".join(answer.lower().split())


class QuestionBatch(NamedTuple):
    """What the model trains on."""

    features: torch.Tensor
    """(Q, L, C)"""
    tokens: torch.Tensor
    """(Q, T) words, then padding"""
    lengths: torch.Tensor
    """(Q,)"""
    targets: torch.Tensor
    """(Q, A) share of people who gave each answer; rows of 0 where none is among the A"""
    rows: list[int]
    """Position of each question in the data set."""


class QuestionDataset(Dataset[tuple[torch.Tensor, list[int], torch.Tensor, int]]):
    """Features, words and answers of each question.

    Args:
        questions: those whose image has features.
        features: grids of the images.
        rows: image -> row of `features`.
        vocabulary: gives words their numbers.
        answers: the A answers that the model can give.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        features: FeatureStore,
        rows: dict[Path, int],
        vocabulary: Vocabulary,
        answers: Sequence[str],
    ) -> None:
        self.questions, self.features, self.rows = questions, features, rows
        self.tokens = [vocabulary.encode(tokenize(question.text)) for question in questions]
        self.ids = {answer: i for i, answer in enumerate(answers)}

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, list[int], torch.Tensor, int]:
        question = self.questions[i]
        target = torch.zeros(len(self.ids))
        known = [self.ids[a] for answer in question.answers if (a := normalize(answer)) in self.ids]
        for answer in known:
            target[answer] += 1 / len(known)
        return self.features[self.rows[question.image]], self.tokens[i], target, i


def collate(items: Sequence[tuple[torch.Tensor, list[int], torch.Tensor, int]]) -> QuestionBatch:
    """Stack features and targets; pad questions to the longest."""
    features, words, targets, rows = zip(*items, strict=True)
    tokens, lengths = map(torch.from_numpy, pad(words))
    return QuestionBatch(torch.stack(features), tokens, lengths, torch.stack(targets), list(rows))
