"""Scores of recognized lines and pages."""

import re
from collections import Counter
from collections.abc import Sequence

from torchmetrics.functional.text import char_error_rate

_OTHER = re.compile(r"[^0-9a-z]")


def score_lines(predictions: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
    """Scores x 100 over lines, each a share of all lines but `cer`.

    `exact`; `case_insensitive`; `alphanumeric` (case-insensitive, 0-9 and a-z alone); `cer`, edits over
    characters of the labels, case-insensitive, summed over all lines and divided once.

    Raises:
        ValueError: no line, or another number of labels.
    """
    if not predictions:
        raise ValueError("no lines to score")
    pairs = list(zip(predictions, labels, strict=True))
    lower = [(text.lower(), label.lower()) for text, label in pairs]
    plain = [(_OTHER.sub("", text), _OTHER.sub("", label)) for text, label in lower]
    shares = {
        name: 100 * sum(a == b for a, b in compared) / len(compared)
        for name, compared in (("exact", pairs), ("case_insensitive", lower), ("alphanumeric", plain))
    }
    return {
        **shares,
        "cer": 100 * float(char_error_rate([text for text, _ in lower], [label for _, label in lower])),
    }


def bag_of_words_f1(prediction: str, label: str) -> float:
    """F1 of the words of a page, in any order, each as often as it occurs; case-insensitive; 0 to 1."""
    predicted, expected = Counter(prediction.lower().split()), Counter(label.lower().split())
    hits = sum((predicted & expected).values())
    total = predicted.total() + expected.total()
    return 2 * hits / total if total else 1.0
