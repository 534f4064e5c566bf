"""From CTC's columns to text: greedy, or prefix beam search with an optional character language model.

Notation: T steps, K classes (0 is the blank).
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.charset import BLANK, Charset
from common.ngrams import LanguageModel

_IMPOSSIBLE = -math.inf
_OF_DIGITS = 1 / 3  # of the language model's say
_UNLIKELY = 1e-3  # the beam search drops classes of lower probability, and texts below this share of the best


@dataclass(frozen=True)
class Reading:
    """The text of one line."""

    text: str
    confidence: float
    """Geometric mean of the characters' probabilities; 1 for no text."""
    characters: tuple[tuple[str, float, float], ...] = ()
    """Each character with its probability and its position in the line: 0 left end, 1 right end."""

    def __str__(self) -> str:
        return self.text


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
        language_model: adds `weight` times its log-probability, and `bonus`, for each character; of both a
            third for digits, as the figures of a number follow from each other less than letters do.
        weight: of the language model.
        bonus: for each character, against the language model's preference for short texts.

    Raises:
        ValueError: a beam size below 1.
    """
    if beam_size < 1:
        raise ValueError(f"beam size {beam_size}: must be at least 1")
    # text -> probability of its alignments that end in a blank, and of those that do not, language model
    # included, both over that of the best text
    beams: dict[str, tuple[float, float]] = {"": (1.0, 0.0)}
    for step in _candidates(log_probs, charset):
        if len(step) == 1 and not step[0][0]:  # only a blank is probable, as mostly: the beams stay
            beams = {text: (blank + other, 0.0) for text, (blank, other) in beams.items()}
            continue
        following: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        # the best text stays at least as probable as with a blank: what falls short of its share is not tried
        least = _UNLIKELY * math.exp(-bonus) * (0.0 if step[0][0] else step[0][1])
        for text, (blank, other) in beams.items():
            for character, p in step:
                if not character:
                    following[text][0] += (blank + other) * p
                    continue
                extended = (blank + other) * p
                if text.endswith(character):  # without a blank between them the two are one character
                    following[text][1] += other * p
                    extended = blank * p
                if extended <= least:
                    continue
                if language_model is not None:
                    say = _OF_DIGITS if character.isdigit() else 1.0
                    extended *= math.exp(say * (weight * language_model.log_prob(character, text) + bonus))
                following[text + character][1] += extended
        ranked = sorted(following.items(), key=lambda item: sum(item[1]), reverse=True)[:beam_size]
        best = sum(ranked[0][1])
        beams = {
            text: (blank / best, other / best)
            for text, (blank, other) in ranked
            if blank + other > _UNLIKELY * best
        }
    found = greedy(log_probs, charset)
    text = next(iter(beams))
    return found if found.text == text else _reading(_align(log_probs, charset.encode(text), charset))


def _candidates(log_probs: np.ndarray, charset: Charset) -> list[list[tuple[str, float]]]:
    """For each step, the probable characters with their probabilities; the blank is an empty string."""
    floor = np.minimum(math.log(_UNLIKELY), log_probs.max(axis=1, keepdims=True))
    rows, columns = np.nonzero(log_probs >= floor)
    steps: list[list[tuple[str, float]]] = [[] for _ in log_probs]
    probabilities = np.exp(log_probs[rows, columns])
    for row, k, p in zip(rows.tolist(), columns.tolist(), probabilities.tolist(), strict=True):
        steps[row].append((charset.decode([k]), p))
    return steps


def _align(log_probs: np.ndarray, text: Sequence[int], charset: Charset) -> list[tuple[str, float, float]]:
    """Position and probability of each character of `text` in its most probable alignment (Viterbi)."""
    if not text:
        return []
    steps = len(log_probs)
    states = np.full(2 * len(text) + 1, BLANK)  # blank, character, blank, character, ..., blank
    states[1::2] = text
    skips = np.zeros(len(states), dtype=bool)  # over the blank before it, from another character
    skips[3::2] = states[3::2] != states[1:-2:2]
    moves = np.full((3, len(states)), _IMPOSSIBLE)  # by none, one or two states
    backpointers = np.zeros((steps, len(states)), dtype=np.int8)
    score = np.full(len(states), _IMPOSSIBLE)
    score[:2] = log_probs[0, states[:2]]
    for t in range(1, steps):
        moves[0] = score
        moves[1, 1:] = score[:-1]
        moves[2, 2:] = np.where(skips[2:], score[:-2], _IMPOSSIBLE)
        backpointers[t] = moves.argmax(axis=0)
        score = moves.max(axis=0) + log_probs[t, states]
    state = len(states) - 1 - int(score[-2] > score[-1])
    visited: dict[int, list[int]] = defaultdict(list)
    for t in reversed(range(steps)):
        visited[state].append(t)
        state -= int(backpointers[t, state])
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
