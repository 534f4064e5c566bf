"""BLEU and chrF as sacreBLEU computes them (Post 2018, "A call for clarity in reporting BLEU scores")."""

from collections.abc import Sequence
from typing import Any

from sacrebleu.metrics import BLEU, CHRF

_STARTS = (1, 10, 15, 20)
"""Words of a source sentence with which a group of `by_length` begins."""


def bleu(found: Sequence[str], references: Sequence[str]) -> float:
    """Corpus BLEU of detokenised sentences, 0 to 100."""
    return float(BLEU().corpus_score(list(found), [list(references)]).score)


def scores(found: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """`bleu` and `chrf` of a corpus, 0 to 100, and of each the `signature`: how it was computed."""
    report: dict[str, Any] = {}
    signature = {}
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF())):
        report[name] = round(float(metric.corpus_score(list(found), [list(references)]).score), 2)
        signature[name] = str(metric.get_signature())
    return {**report, "signature": signature}


def by_length(
    sources: Sequence[str], found: Sequence[str], references: Sequence[str]
) -> list[dict[str, Any]]:
    """BLEU of groups of sentences with so many words in the source, as Cho et al. 2014 compare them."""
    groups = []
    lengths = [len(source.split()) for source in sources]
    for first, after in zip(_STARTS, (*_STARTS[1:], None), strict=True):
        chosen = [i for i, n in enumerate(lengths) if n >= first and (after is None or n < after)]
        if chosen:
            score = bleu([found[i] for i in chosen], [references[i] for i in chosen])
            words = f"{first}-{after - 1}" if after else f"{first}-"
            groups.append({"words": words, "sentences": len(chosen), "bleu": round(score, 2)})
    return groups
