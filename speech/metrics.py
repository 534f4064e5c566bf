"""Scores of transcripts."""

from collections.abc import Sequence

from torchmetrics.functional.text import char_error_rate, word_error_rate


def score_clips(found: Sequence[str], texts: Sequence[str]) -> dict[str, float]:
    """Scores x 100: `exact`, share of the clips; `cer` and `wer`, edits over characters or words.

    Edits are summed over all clips and divided once. Raises ValueError where there is no clip.
    """
    if not found:
        raise ValueError("no clips to score")
    same = sum(a == b for a, b in zip(found, texts, strict=True))
    return {
        "exact": 100 * same / len(found),
        "cer": 100 * float(char_error_rate(list(found), list(texts))),
        "wer": 100 * float(word_error_rate(list(found), list(texts))),
    }
