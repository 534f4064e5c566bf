"""From CTC's columns to text: greedy, or prefix beam search with an optional character language model.

Notation: T steps, K classes (0 is the blank).
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from ocr.charset import BLANK, Charset

_IMPOSSIBLE = -math.inf
_KEPT_CLASSES = 20  # of each step, in the beam search; the others are less likely than any text that matters


@dataclass(frozen=True)
class Reading:
    """The text of one line."""

    text: str
    confidence: float
    """Geometric mean of the characters' probabilities; 1 for no text."""
    characters: tuple[tuple[str, float, float], ...] = ()
    """Each character with its probability and its place in the line: 0 left end, 1 right end."""

    def __str__(self) -> str:
        return self.text


class LanguageModel(Protocol):
    """What the beam search asks of a language model."""

    def log_prob(self, character: str, before: str) -> float:
        """Natural logarithm of the probability of `character` after the text `before`."""


class CharacterNgrams:
    """An n-gram model over characters, interpolated after Witten & Bell 1991 (NLTK's).

    Args:
        lines: the text to learn from; a line is a word of a list or a sentence.
        charset: its characters are the vocabulary; others are left out.
        order: n.
    """

    def __init__(self, lines: Iterable[str], charset: Charset, order: int = 4) -> None:
        from nltk.lm import WittenBellInterpolated
        from nltk.lm.preprocessing import padded_everygram_pipeline

        self.order = order
        texts = [[c for c in line.rstrip("\n") if not charset.unknown(c)] for line in lines]
        ngrams, _ = padded_everygram_pipeline(order, [text for text in texts if text])
        self._model = WittenBellInterpolated(order)
        self._model.fit(ngrams, [*charset.characters, "<s>", "</s>"])
        self._score = lru_cache(maxsize=200_000)(self._model.score)

    def log_prob(self, character: str, before: str) -> float:
        """Natural logarithm of the probability of `character` after the text `before`."""
        context = ("<s>",) * (self.order - 1) + tuple(before[-self.order :])
        return math.log(max(self._score(character, context[-(self.order - 1) :]), 1e-12))


def greedy(log_probs: np.ndarray, charset: Charset) -> Reading:
    """The most probable class of each step, repeats merged, blanks dropped (Graves et al. 2006, eq. 4).

    Args:
        log_probs: (T, K) of one line.
        charset: gives classes their characters.
    """
    best = log_probs.argmax(axis=1)
    starts = np.flatnonzero((best != BLANK) & (best != np.concatenate([[BLANK], best[:-1]])))
    found = []
    for start in starts:
        end = start
        while end + 1 < len(best) and best[end + 1] == best[start]:
            end += 1
        peak = float(np.exp(log_probs[start : end + 1, best[start]].max()))
        found.append((charset.decode([best[start]]), peak, (start + end + 1) / 2 / len(best)))
    return _reading(found)


def prefix_beam_search(
    log_probs: np.ndarray,
    charset: Charset,
    beam_size: int,
    *,
    language_model: LanguageModel | None = None,
    weight: float = 0.3,
    bonus: float = 0.5,
) -> Reading:
    """The most probable text, summed over all its alignments (Hannun et al. 2014, algorithm 1).

    Args:
        log_probs: (T, K) of one line.
        charset: gives classes their characters.
        beam_size: texts kept at each step.
        language_model: adds `weight` times its log-probability, and `bonus`, for each character.
        weight: of the language model.
        bonus: for each character, against the language model's liking for short texts.

    Raises:
        ValueError: a beam size below 1.
    """
    if beam_size < 1:
        raise ValueError(f"beam size {beam_size}: must be at least 1")
    steps = len(log_probs)
    # text as classes -> log-probability of the alignments that end in a blank, and of those that do not
    beams: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, _IMPOSSIBLE)}
    prior: dict[tuple[int, ...], float] = {(): 0.0}
    for step in range(steps):
        row = log_probs[step]
        kept = np.argsort(-row)[:_KEPT_CLASSES]
        following: dict[tuple[int, ...], list[float]] = defaultdict(lambda: [_IMPOSSIBLE, _IMPOSSIBLE])
        for text, (blank, other) in beams.items():
            both = _add(blank, other)
            for k in map(int, kept):
                p = float(row[k])
                if k == BLANK:
                    following[text][0] = _add(following[text][0], both + p)
                    continue
                longer = (*text, k)
                if text and text[-1] == k:  # without a blank between them the two are one character
                    following[text][1] = _add(following[text][1], other + p)
                    grown = blank + p
                else:
                    grown = both + p
                if longer not in prior:
                    prior[longer] = prior[text] + _prior(charset, text, k, language_model, weight, bonus)
                following[longer][1] = _add(following[longer][1], grown)
        ranked = sorted(following, key=lambda text: _add(*following[text]) + prior[text], reverse=True)
        beams = {text: (following[text][0], following[text][1]) for text in ranked[:beam_size]}
    best = max(beams, key=lambda text: _add(*beams[text]) + prior[text])
    return _reading(_place(log_probs, best, charset))


def _prior(
    charset: Charset, text: Sequence[int], k: int, model: LanguageModel | None, weight: float, bonus: float
) -> float:
    if model is None:
        return 0.0
    return weight * model.log_prob(charset.decode([k]), charset.decode(text)) + bonus


def _add(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    high, low = (a, b) if a > b else (b, a)
    return high if low == _IMPOSSIBLE else high + math.log1p(math.exp(low - high))


def _place(log_probs: np.ndarray, text: Sequence[int], charset: Charset) -> list[tuple[str, float, float]]:
    """Each character of `text` where the most probable alignment has it (Viterbi)."""
    if not text:
        return []
    steps = len(log_probs)
    states = [BLANK]  # blank, character, blank, character, ..., blank
    for k in text:
        states += [k, BLANK]
    score = np.full((steps, len(states)), _IMPOSSIBLE)
    came = np.zeros((steps, len(states)), dtype=int)
    score[0, :2] = log_probs[0, states[:2]]
    for t in range(1, steps):
        for s, k in enumerate(states):
            sources = [s, *([s - 1] if s else [])]
            if s > 1 and k not in (BLANK, states[s - 2]):
                sources.append(s - 2)
            came[t, s] = max(sources, key=lambda source: score[t - 1, source])
            score[t, s] = score[t - 1, came[t, s]] + log_probs[t, k]
    state = len(states) - 1 - int(score[-1, -2] > score[-1, -1])
    visited: dict[int, list[int]] = defaultdict(list)
    for t in reversed(range(steps)):
        visited[state].append(t)
        state = int(came[t, state])
    found = []
    for i, k in enumerate(text):
        at = visited[2 * i + 1]
        peak = float(np.exp(log_probs[at, k].max()))
        found.append((charset.decode([k]), peak, (min(at) + max(at) + 1) / 2 / steps))
    return found


def _reading(found: Sequence[tuple[str, float, float]]) -> Reading:
    logs = [math.log(max(probability, 1e-12)) for _, probability, _ in found]
    confidence = math.exp(sum(logs) / len(logs)) if logs else 1.0
    return Reading("".join(character for character, _, _ in found), confidence, tuple(found))
