"""Questions about coloured shapes, in VQA v2's format."""

import json
from pathlib import Path

import torch

from common.encoder import Encoder
from common.text import Vocabulary
from tests.conftest import COLOURS, TINY_ENCODER, shape_picture
from vqa.config import AnswererConfig
from vqa.model import VqaModel

WORDS = ("what", "color", "is", "the", "shape", "which")


def write_questions(root: Path, people: int = 1) -> Path:
    """24 pictures of train and 8 of val, two questions each."""
    (root / "images").mkdir(parents=True)
    (root / "annotations").mkdir()
    for split, start, count in (("train", 0, 24), ("val", 24, 8)):
        questions, annotations = [], []
        for i in range(start, start + count):
            colour, shape = list(COLOURS)[i % 4], ("square", "circle")[i // 4 % 2]
            shape_picture(colour, shape, seed=i).save(root / "images" / f"image{i}.jpg")
            for k, (text, answer) in enumerate(
                [("what color is it ?", colour), ("which shape is it ?", shape)]
            ):
                questions.append({"question_id": 10 * i + k, "image_id": i, "question": text})
                annotations.append(
                    {
                        "question_id": 10 * i + k,
                        "question_type": text.split()[0],
                        "answer_type": "other",
                        "multiple_choice_answer": answer,
                        "answers": [{"answer": answer, "answer_id": n} for n in range(people)],
                    }
                )
        for name, content in (("questions", questions), ("annotations", annotations)):
            (root / "annotations" / f"{name}_{split}.json").write_text(json.dumps({name: content}))
    return root


def tiny_answerer(
    kind: str = "san", cell: str = "lstm", encoder: str = TINY_ENCODER, size: int = 64, members: int = 1
) -> VqaModel:
    torch.manual_seed(0)
    config = AnswererConfig(kind, cell, 32, 16, 8, 2, 0.0, members)
    answers = [*COLOURS, "square", "circle"]
    return VqaModel(Encoder(encoder, size).freeze(), config, Vocabulary(WORDS), answers).eval()
