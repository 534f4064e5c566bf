"""Speed of question answering as a ratio against a bare LSTM in the same run.

    python benchmarks/benchmark_vqa.py --report FILE.json

- `answers_over_lstm`: questions/s of the whole network (words, RNN, attention, classifier) on batches of 64
  with what the network keeps of each image cached (`AnswerNetwork.remember`), over those of a
  `torch.nn.LSTM` of the same sizes, one for each member, that reads the same words, embedded beforehand; same
  threads and precision. Bar: 0.5.
- `answered_over_torch`: answers/s of `Answerer.answer_each` on the engine over those on torch, each in its
  best precision: one photo, its questions. Bar: 1.3.
- `with_looks_over_lstm`: the same, but what the network keeps of the images is computed from the encoder's
  features within the measured time, one image for eight questions, as in DAQUAR.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timing import ratios
from torch import nn

from common.cli import command_line, run
from common.search import reorder
from vqa import Answerer


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags."""

    model: str = "daquar"
    """A bundled model, or a model or run folder."""
    batch_size: int = 64
    """Questions at a time."""
    words: int = 12
    """Words a question."""
    batches: int = 20
    """Batches in each measurement."""
    questions_a_picture: int = 8
    """For `with_looks_over_lstm`."""
    repeats: int = 7
    """Measurements; the ratio is the median over pairs that ran side by side."""
    report: Path | None = None
    """JSON file to write."""


def main(config: Config) -> None:
    """Run it and print it."""
    answerer = Answerer.from_pretrained(config.model, engine="torch")
    sizes, encoder = answerer.model.config, answerer.model.encoder
    places = math.prod(encoder.grid)
    images = [i // config.questions_a_picture for i in range(config.batch_size)]
    features = torch.randn(images[-1] + 1, places, encoder.out_channels, dtype=answerer.dtype)
    network = answerer.network.network
    tokens = torch.randint(4, len(answerer.model.vocabulary), (config.batch_size, config.words))
    lengths = torch.full((config.batch_size,), config.words)
    lstms = [
        nn.LSTM(sizes.embedding_size, sizes.hidden_size, batch_first=True).to(answerer.dtype)
        for _ in range(sizes.members)
    ]
    embedded = torch.randn(config.batch_size, config.words, sizes.embedding_size, dtype=answerer.dtype)

    def bare() -> None:
        with torch.inference_mode():
            for _ in range(config.batches):
                for lstm in lstms:
                    lstm(embedded)

    with torch.inference_mode():
        memory = network.remember(features)

    def whole() -> None:
        with torch.inference_mode():
            for _ in range(config.batches):
                network.answer(reorder(memory, images), tokens, lengths)[0].float().argmax(-1)

    def with_remember() -> None:
        with torch.inference_mode():
            for _ in range(config.batches):
                network.answer(reorder(network.remember(features), images), tokens, lengths)[
                    0
                ].float().argmax(-1)

    measured = ratios(bare, whole, config.repeats)
    result: dict[str, Any] = {
        "model": config.model,
        "kind": sizes.kind,
        "members": sizes.members,
        "threads": torch.get_num_threads(),
        "precision": answerer.precision,
        "torch": torch.__version__,
        "command": command_line(),
        "answers_over_lstm": measured,
        "answered_over_torch": over_torch(config, answerer),
        "with_looks_over_lstm": ratios(bare, with_remember, config.repeats),
        "questions_per_second": round(config.batches * config.batch_size / measured["seconds"], 1),
    }
    print(json.dumps(result, indent=1))
    if config.report:
        config.report.write_text(json.dumps(result, indent=1), encoding="utf-8")


def over_torch(config: Config, answerer: Answerer) -> dict[str, float]:
    """Questions about drawn photos, on the engine against torch."""
    engine = Answerer.from_pretrained(config.model, engine="graph")
    random, words = np.random.default_rng(0), answerer.model.vocabulary.to_list()
    coarse = [Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8)) for _ in range(4)]
    photos = [image.resize((640, 480), Image.Resampling.BICUBIC) for image in coarse]
    questions = [" ".join(random.choice(words, 8)) for _ in range(config.questions_a_picture)]

    def asked(of: Answerer) -> Callable[[], object]:
        return lambda: [list(of.answer_each(photo, questions)) for photo in photos]

    return ratios(asked(answerer), asked(engine), config.repeats)


if __name__ == "__main__":
    run(main, Config, __doc__)
