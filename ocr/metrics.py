"""Scores of lines and pages that were read."""

import re
from collections import Counter
from collections.abc import Sequence

from torchmetrics.functional.text import char_error_rate

_OTHER = re.compile(r"[^0-9a-z]")


def score_lines(read: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
    """Scores x 100 over lines, each a share of all lines but `cer`.

    `exact`; `case_insensitive`; `alphanumeric` (case-insensitive, 0-9 and a-z alone); `cer`, edits over
    characters of the labels, case-insensitive, summed over all lines and divided once.

    Raises:
        ValueError: no line, or another number of labels.
    """
    if not read:
        raise ValueError("no lines to score")
    pairs = list(zip(read, labels, strict=True))
    lower = [(r.lower(), label.lower()) for r, label in pairs]
    plain = [(_OTHER.sub("", r), _OTHER.sub("", label)) for r, label in lower]
    shares = {
        name: 100 * sum(a == b for a, b in compared) / len(compared)
        for name, compared in (("exact", pairs), ("case_insensitive", lower), ("alphanumeric", plain))
    }
    return {
        **shares,
        "cer": 100 * float(char_error_rate([r for r, _ in lower], [label for _, label in lower])),
    }


def bag_of_words_f1(read: str, label: str) -> float:
    """F1 of the words of a page, in any order, each as often as it stands there; case-insensitive; 0 to 1."""
    found, expected = Counter(read.lower().split()), Counter(label.lower().split())
    hits = sum((found & expected).values())
    total = found.total() + expected.total()
    return 2 * hits / total if total else 1.0
