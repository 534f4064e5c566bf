"""Where the words of a line stand: CTC tells about where each character is, the ink where a word ends."""

import math
from typing import NamedTuple

import cv2
import numpy as np

from common.ctc import Reading


class Span(NamedTuple):
    """A word in the crop of its line."""

    text: str
    confidence: float
    """Geometric mean of its characters' probabilities."""
    start: float
    """Pixels from the left end of the crop."""
    end: float


def find_words(reading: Reading, crop: np.ndarray) -> list[Span]:
    """The words of a line, which spaces part.

    Args:
        reading: of the crop.
        crop: dark text on light paper, uint8 (H, W).
    """
    words: list[list[tuple[float, float]]] = []
    texts: list[str] = []
    inside = False
    for character, probability, position in reading.characters:
        if character.isspace():
            inside = False
            continue
        if not inside:
            words.append([])
            texts.append("")
        inside = True
        words[-1].append((position * crop.shape[1], max(probability, 1e-12)))
        texts[-1] += character
    if not words:
        return []
    _, ink = cv2.threshold(crop, 0, 255, cv2.THRESH_BINARY_INV + cv2.THRESH_OTSU)
    empty = ink.max(axis=0) == 0
    found = []
    start = _gap(empty, -1, words[0][0][0])[1]
    for i, (text, places) in enumerate(zip(texts, words, strict=True)):
        following = words[i + 1][0][0] if i + 1 < len(words) else float(len(empty))
        end, next_start = _gap(empty, places[-1][0], following)
        confidence = math.exp(sum(math.log(p) for _, p in places) / len(places))
        found.append(Span(text, confidence, float(start), float(max(end, start + 1))))
        start = next_start
    return found


def _gap(empty: np.ndarray, left: float, right: float) -> tuple[int, int]:
    """The widest run of empty columns between two characters at `left` and `right`, else the middle.

    At an end of the line, where no character stands beyond, it is the run that reaches it.
    """
    first, last = max(0, math.ceil(left)), min(len(empty), math.floor(right))
    edges = np.flatnonzero(np.diff(np.r_[False, empty[first:last], False].astype(np.int8))) + first
    runs = list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
    if left < 0:
        return runs[0] if runs and runs[0][0] == 0 else (0, 0)
    if right >= len(empty):
        return runs[-1] if runs and runs[-1][1] == len(empty) else (len(empty), len(empty))
    if not runs:
        middle = round((left + right) / 2)
        return middle, middle
    return max(runs, key=lambda run: run[1] - run[0])
