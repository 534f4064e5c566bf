"""Speed of translation, each as a ratio against a named baseline in the same run.

    python benchmarks/benchmark_translation.py --report FILE.json

Without --model it measures an untrained model of the default sizes.

- `training_over_lstm`: subwords/s of a training step of the decoder and its loss, from what was read on, over
  those of a plain `torch.nn.LSTM` with embedding and classifier of the same sizes, no attention. Bar: 0.5.
- `feeding_over_lstm`: the same with input feeding, step by step.
- `translated_over_torch`: with --model, sentences/s of `translate` (beam 5) on the engine over those on
  torch, each in its best precision. Bar: 1.3.
- `batched_over_single`: sentences/s of beam search (beam 5) on 32 sentences at a time over one at a time.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import ratios
from torch import nn
from torch.nn import functional as F

from common.cli import command_line, run
from common.device import Precision, autocast, pick_precision
from common.loss import output_loss
from common.search import beam_search
from common.text import EOS
from translation import Translator
from translation.config import TranslationConfig
from translation.model import TranslationModel, TranslationNetwork

_PAIRS, _SOURCE, _TARGET = 96, 15, 17  # a batch of Multi30k in subwords


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags."""

    model: str | None = None
    """A bundled model, or a model or run folder, whose sizes are measured; None is the default sizes."""
    subwords: int = 4000
    """Without --model: subwords of each language."""
    precision: Precision = "fp32"
    """auto (bf16 where the hardware has it), bf16 or fp32; the same for both sides of a ratio."""
    repeats: int = 7
    """Measurements; the ratio is the median over pairs that ran side by side."""
    report: Path | None = None
    """JSON file to write."""


def training_over_lstm(
    sizes: TranslationConfig, subwords: int, precision: Any, repeats: int
) -> dict[str, float]:
    """Subwords/s of a training step of the decoder over those of `nn.LSTM` and a classifier, sizes alike."""
    network = TranslationNetwork(sizes, subwords, subwords)
    source = torch.randint(4, subwords, (_PAIRS, _SOURCE))
    tokens = torch.randint(4, subwords, (_PAIRS, _TARGET))
    with torch.no_grad():
        memory = network.remember(source)
    plain = nn.LSTM(sizes.embedding_size, sizes.hidden_size, batch_first=True)
    embedding = nn.Embedding(subwords, sizes.embedding_size)
    classify = nn.Linear(sizes.hidden_size, subwords)

    def attending() -> None:
        with autocast(torch.device("cpu"), precision):
            output = network.unroll(memory, tokens)[0].flatten(0, 1)
            weights = network.embedding.weight, network.output_bias
            loss = output_loss(output, *weights, tokens.flatten(), smoothing=0.1)
        loss.backward()

    def bare() -> None:
        with autocast(torch.device("cpu"), precision):
            logits = classify(plain(embedding(tokens))[0]).flatten(0, 1)
            loss = F.cross_entropy(logits, tokens.flatten(), label_smoothing=0.1)
        loss.backward()

    return ratios(bare, attending, repeats)


def batched_over_single(
    sizes: TranslationConfig, subwords: int, precision: Any, repeats: int
) -> dict[str, float]:
    """Sentences/s of beam search in batches over those one by one, of the same network."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    network = TranslationNetwork(sizes, subwords, subwords).eval().to(dtype)
    with torch.no_grad():
        network.output_bias[EOS] = -1e4  # all translations have the full length
    source = torch.randint(4, subwords, (32, _SOURCE))

    def translate(*batches: torch.Tensor) -> None:
        for batch in batches:
            with torch.inference_mode():
                memory = network.remember(batch)
                state = network.init_state(memory)
                beam_search(network.step, state, memory, beam_size=5, max_length=_TARGET)

    return ratios(lambda: translate(*source.split(1)), lambda: translate(source), repeats)


def over_torch(model: str, repeats: int) -> dict[str, float]:
    """128 sentences of words that the model knows."""
    engine, torch_ = (Translator.from_pretrained(model, engine=name) for name in ("graph", "torch"))
    random, words = np.random.default_rng(0), engine.model.words[:400]
    sentences = [" ".join(random.choice(words, random.integers(6, 16))) + "." for _ in range(128)]
    return ratios(lambda: torch_.translate(sentences), lambda: engine.translate(sentences), repeats)


def main(config: Config) -> None:
    """Run all, print and write them."""
    sizes, subwords = TranslationConfig(), config.subwords
    if config.model is not None:
        model = TranslationModel.from_pretrained(config.model)
        sizes, subwords = model.config, model.sizes[1]
    precision = pick_precision(config.precision, torch.device("cpu"))
    flags = subwords, precision, config.repeats
    result: dict[str, Any] = {
        "model": config.model or "untrained",
        "sizes": asdict(sizes),
        "subwords": subwords,
        "threads": torch.get_num_threads(),
        "precision": precision,
        "torch": torch.__version__,
        "training_over_lstm": training_over_lstm(replace(sizes, input_feeding=False), *flags),
        "feeding_over_lstm": training_over_lstm(replace(sizes, input_feeding=True), *flags),
        "batched_over_single": batched_over_single(sizes, *flags),
        "command": command_line(),
    }
    if config.model is not None:
        result["translated_over_torch"] = over_torch(config.model, config.repeats)
    print(json.dumps(result, indent=1))
    if config.report:
        config.report.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    run(main, Config, __doc__)
