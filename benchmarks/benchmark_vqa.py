"""Speed of question answering as a ratio against a bare LSTM in the same run.

    python benchmarks/benchmark_vqa.py --report FILE.json

- `answers_over_lstm`: questions/s of the whole network (words, RNN, attention, classifier) on batches of 64
  with what the network keeps of each image cached (`AnswerNetwork.remember`), over those of a
  `torch.nn.LSTM` of the same sizes that reads the same words, embedded beforehand; same threads and
  precision. Bar: 0.5.
- `with_looks_over_lstm`: the same, but what the network keeps of the images is computed from the encoder's
  features within the measured time, one image for eight questions, as in DAQUAR.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timing import ratios
from torch import nn

from common.cli import command_line, run
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
    answerer = Answerer.from_pretrained(config.model)
    sizes, encoder = answerer.model.config, answerer.model.encoder
    places = math.prod(encoder.grid)
    images = [i // config.questions_a_picture for i in range(config.batch_size)]
    features = torch.randn(images[-1] + 1, places, encoder.out_channels, dtype=answerer.dtype)
    network = answerer._network
    tokens = torch.randint(4, len(answerer.model.vocabulary), (config.batch_size, config.words))
    lengths = torch.full((config.batch_size,), config.words)
    lstm = nn.LSTM(sizes.embedding_size, sizes.hidden_size, batch_first=True).to(answerer.dtype)
    embedded = torch.randn(config.batch_size, config.words, sizes.embedding_size, dtype=answerer.dtype)

    def bare() -> None:
        with torch.inference_mode():
            for _ in range(config.batches):
                lstm(embedded)

    with torch.inference_mode():
        memory = network.remember(features)

    def whole() -> None:
        with torch.inference_mode():
            for _ in range(config.batches):
                network.answer(memory.of(images), tokens, lengths)[0].float().argmax(-1)

    def with_remember() -> None:
        with torch.inference_mode():
            for _ in range(config.batches):
                network.answer(network.remember(features).of(images), tokens, lengths)[0].float().argmax(-1)

    measured = ratios(bare, whole, config.repeats)
    result: dict[str, Any] = {
        "model": config.model,
        "kind": sizes.kind,
        "threads": torch.get_num_threads(),
        "precision": answerer.precision,
        "torch": torch.__version__,
        "command": command_line(),
        "answers_over_lstm": measured,
        "with_looks_over_lstm": ratios(bare, with_remember, config.repeats),
        "questions_per_second": round(config.batches * config.batch_size / measured["seconds"], 1),
    }
    print(json.dumps(result, indent=1))
    if config.report:
        config.report.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    run(main, Config, __doc__)
