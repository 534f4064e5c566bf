"""Score a language model on a part of a text: what `visionrnn evaluate language` calls."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.cli import loaded, waiting
from common.errors import DataError
from common.evaluation import EvaluationFlags, facts, show, write_report
from common.files import check_folder
from language.data import UNKNOWN, Split, encode_part, read_text
from language.metrics import KneserNey, scores, unigram_nats
from language.writer import Writer

_ORDER, _MOST = 5, 2_000_000  # of the n-grams; units that they are counted over at most


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(EvaluationFlags):
    """Score a language model on a part of a text, beside n-grams of its training part.

    visionrnn evaluate language --data FILE --model RUN --report FILE.json
    """

    model: str = "shakespeare"
    """A bundled model, a model or run folder, or user/name on the hub."""
    split: str = "val"
    """val is the share at the end that the model was not trained on; train what is before it; all both."""


def evaluate(config: EvaluationConfig) -> None:
    """Score, print and write the report. Raises UsageError, DataError, ModelError, OSError."""
    check_folder("--report", config.report)
    writer = loaded(Writer.from_pretrained, config)
    alphabet = writer.model.alphabet
    text = read_text(config.data)
    split = Split.of(text.length, writer.model.info.get("val", 0.1))
    first, last = split.part(config.split)
    last = min(last, first + config.limit) if config.limit else last
    codes = encode_part(text, alphabet, first, last)
    characters = last - first
    unknown = int((codes == UNKNOWN).sum())
    if unknown == len(codes):
        raise DataError(f"{config.data}: the model knows none of the {len(codes):,} {alphabet.unit}")
    started = time.perf_counter()
    with waiting(f"reading {characters:,} characters"):
        nats = _total(writer.nats_each(codes))
    seconds = time.perf_counter() - started
    report: dict[str, Any] = {
        **scores(nats, characters),
        "num_characters": characters,
        f"num_{alphabet.unit}": len(codes),
        "num_unknown": unknown,
        "seconds": round(seconds, 2),
    }
    if config.split == "val":
        train = encode_part(text, alphabet, *split.part("train"))[-_MOST:]
        with waiting("counting for the baselines"):
            baselines = {
                "unigram": unigram_nats(train, codes, len(alphabet)),
                "kneser_ney_5": _total(KneserNey(train, len(alphabet), _ORDER).nats_each(codes)),
            }
        report["num_counted"] = len(train)
        report["baselines"] = {name: scores(total, characters) for name, total in baselines.items()}
    sizes = writer.model.sizes
    report |= {
        "unit": alphabet.unit,
        "cell": sizes.cell,
        "layers": sizes.layers,
        "hidden_size": sizes.hidden_size,
        **facts(config, writer),
    }
    show(report)
    write_report(report, config.report)


def _total(pieces: Iterable[np.ndarray]) -> float:
    return sum(float(piece.sum(dtype=np.float64)) for piece in pieces)
