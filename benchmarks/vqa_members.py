"""What several members gain: the fold models of trainings that differ in their seed, alone and together.

    python benchmarks/vqa_members.py --data DAQUAR --runs RUN RUN --report FILE.json

Each RUN is of `visionrnn train vqa --folds N` with the same flags but for `--seed`. Members that are trained
in one model (`--members`) learn as each would alone, so this is what such a model scores in the same folds.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from common.cli import command_line, run
from common.errors import DataError, UsageError
from common.files import load_json
from vqa.data import IMAGE_TEMPLATE, Question, QuestionDataset, collate, read_questions
from vqa.metrics import score_answers
from vqa.model import VqaModel
from vqa.training import VqaConfig


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags."""

    data: Path
    """The data set of the trainings."""
    runs: tuple[Path, ...]
    """Run folders with folds."""
    batch_size: int = 64
    """Questions at a time."""
    report: Path | None = None
    """JSON file to write."""


def main(config: Config) -> None:
    """Run it and print it."""
    folds = [load_json(folder / "folds.json")["folds"] for folder in config.runs]
    if any([fold["groups"] for fold in of_run] != [fold["groups"] for fold in folds[0]] for of_run in folds):
        raise UsageError("--runs: their folds differ")
    parts = ("train", "val")
    questions = [q for part in parts for q in read_questions(config.data, part, IMAGE_TEMPLATE)]
    rows = []
    for number, fold in enumerate(folds[0], 1):
        images = set(fold["groups"])
        held = [question for question in questions if question.image.name in images]
        rows.append(_of_fold(config, number, held, questions))
        print(json.dumps(rows[-1]), flush=True)
    total = sum(row["num_questions"] for row in rows)

    def over_all(scores: list[float]) -> float:
        pairs = zip(scores, rows, strict=True)
        return round(sum(score * row["num_questions"] for score, row in pairs) / total, 2)

    alone = [over_all([row["alone"][i] for row in rows]) for i in range(len(config.runs))]
    result = {
        "accuracy": over_all([row["accuracy"] for row in rows]),
        "alone": alone,
        "members": len(config.runs),
        "num_questions": total,
        "folds": rows,
        "commands": [load_json(folder / "folds.json")["command"] for folder in config.runs],
        "command": command_line(),
    }
    print(json.dumps({name: result[name] for name in ("accuracy", "alone", "num_questions")}))
    if config.report:
        config.report.write_text(json.dumps(result, indent=1), encoding="utf-8")


def _of_fold(config: Config, number: int, held: list[Question], questions: list[Question]) -> dict[str, Any]:
    """Scores of the models of a fold, alone and together, on the questions that it held out."""
    each, answers = [], []
    for folder in config.runs:
        model = VqaModel.from_pretrained(folder / f"fold-{number}" / "best").eval()
        sizes = model.encoder.preprocess.height
        flags = VqaConfig(out=folder, data=config.data, encoder=model.encoder.name, image_size=sizes)
        store, rows = flags.features(model.encoder, "all", (question.image for question in questions))
        dataset = QuestionDataset(held, store, rows, model.vocabulary, model.answers)
        each.append(_probabilities(model, dataset, config.batch_size))
        answers.append(model.answers)
    if any(of_one != answers[0] for of_one in answers):
        raise DataError(f"fold {number}: the models have different answers")

    def accuracy(probabilities: torch.Tensor) -> float:
        given = [answers[0][i] for i in probabilities.argmax(dim=1).tolist()]
        scores: Any = score_answers(given, held)
        return round(float(scores["accuracy"]), 2)

    return {
        "accuracy": accuracy(torch.stack(each).mean(dim=0)),
        "alone": [accuracy(of_one) for of_one in each],
        "num_questions": len(held),
    }


@torch.inference_mode()
def _probabilities(model: VqaModel, dataset: QuestionDataset, batch_size: int) -> torch.Tensor:
    """(Q, A)."""
    found = []
    for start in range(0, len(dataset), batch_size):
        batch = collate([dataset[i] for i in range(start, min(start + batch_size, len(dataset)))])
        logits, _ = model.network(batch.features.float(), batch.tokens, batch.lengths)
        found.append(logits.softmax(dim=-1))
    return torch.cat(found)


if __name__ == "__main__":
    run(main, Config, __doc__)
