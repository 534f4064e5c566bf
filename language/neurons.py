"""What single cells of a language model know of a text (Karpathy, Johnson & Fei-Fei 2015), and a page of it.

Notation: N characters, C cells of all layers, P properties.
"""

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.files import write_aside
from language.data import BEGIN
from language.writer import Writer

_STREAMS, _WARM_UP = 32, 100
_QUOTED = re.compile(r'"[^"]{0,2000}"|\u201c[^\u201d]{0,2000}\u201d|\u00ab[^\u00bb]{0,2000}\u00bb')
_PAGE = Path(__file__).with_name("neurons.html")
_LEVELS = 255  # of an activation: -127 to 127 stands for -1 to 1


@dataclass(frozen=True)
class Probe:
    """How well one cell tells one property of the character that was just read."""

    cell: int
    """Its number over all layers."""
    score: float
    """On text that it was not fitted on: balanced accuracy for yes or no, R squared for a number."""


def properties(text: str) -> dict[str, np.ndarray]:
    """What is true at each character (N,): bool for yes or no, float for a number.

    `inside quotes` is true from an opening double quote up to the closing one; `line position` counts the
    characters since the line began; `indentation` is the number of blanks that it begins with.
    """
    characters = np.array(list(text))
    quoted = np.zeros(len(text), bool)
    for match in _QUOTED.finditer(text):
        quoted[match.start() : match.end() - 1] = True
    places = np.arange(len(text))
    ends = characters == "\n"
    begins = np.concatenate([[0], np.maximum.accumulate(np.where(ends, places + 1, 0))[:-1]])
    blank = (characters == " ") | (characters == "\t")
    other = np.where(blank, len(text), places)
    first = np.minimum.accumulate(other[::-1])[::-1]  # the next character that is no blank
    indentation = first[np.minimum(begins, len(text) - 1)] - begins
    return {
        "inside quotes": quoted,
        "line position": (places - begins).astype(float),
        "capitals": np.array([character.isupper() for character in text], bool),
        "indentation": np.minimum(indentation, places - begins + 1).astype(float),
    }


def activations(writer: Writer, text: str) -> np.ndarray:
    """Activations (N, C) after each unit of a text, in steps of 1/127: tanh of an LSTM's memory, else hidden.

    Long texts are read as several streams, each of which reads a little before its part first.
    """
    codes = np.concatenate([[BEGIN], writer.model.alphabet.encode(text)])
    count = len(codes) - 1
    streams = min(_STREAMS, max(1, count // (4 * _WARM_UP)))
    length, warm = -(-count // streams), _WARM_UP if streams > 1 else 0
    places = np.arange(streams)[:, None] * length + np.arange(-warm, length + 1)
    inputs = codes[np.clip(places, 0, count)]
    state, found = writer.network.start(streams), []
    for time in range(inputs.shape[1]):
        if time == warm:  # the text begins here
            state = [[part * (np.arange(streams) > 0)[:, None] for part in layer] for layer in state]
        _, state = writer.network.step(inputs[:, time], state)
        if time > warm:
            cells = [np.tanh(memory) if memory.size else hidden for hidden, memory in state]
            found.append(np.rint(127 * np.concatenate(cells, axis=1)).astype(np.int8))
    return np.stack(found, axis=1).reshape(streams * length, -1)[:count]


def fit_probes(train: tuple[np.ndarray, np.ndarray], val: tuple[np.ndarray, np.ndarray]) -> list[Probe]:
    """One probe a cell, the best first; none where the property does not vary in both parts.

    Yes or no is told by a threshold, which is fitted on train, as is which side of it is yes. A number is
    told by a straight line.

    Args:
        train: activations (N, C) as `activations` gives them, and the property (N,).
        val: the same of the text to score on.
    """
    if np.ptp(train[1].astype(float)) == 0 or np.ptp(val[1].astype(float)) == 0:
        return []
    scores = _thresholds(train, val) if train[1].dtype == bool else _lines(train, val)
    return [Probe(int(cell), float(scores[cell])) for cell in np.argsort(-scores, kind="stable")]


def _thresholds(train: tuple[np.ndarray, np.ndarray], val: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Balanced accuracies (C,) on val."""
    cells = np.arange(train[0].shape[1])
    # share of the yes minus that of the no at or below each level: its peak is the best threshold
    above = -_shares(*train)  # C, levels
    best = np.abs(above).argmax(axis=1)
    sign = np.sign(above[cells, best])
    return np.asarray(0.5 + 0.5 * sign * -_shares(*val)[cells, best])


def _shares(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Share of the yes at or below each level minus that of the no (C, levels)."""
    cells = values.shape[1]
    shares = []
    for side in (truth, ~truth):
        counts = np.zeros((cells, _LEVELS))
        for cell, column in enumerate(values[side].T):
            counts[cell] = np.bincount(column.astype(np.int64) + 127, minlength=_LEVELS)
        shares.append(counts.cumsum(axis=1) / side.sum())
    return np.asarray(shares[0] - shares[1])


def _lines(train: tuple[np.ndarray, np.ndarray], val: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """R squared (C,) on val of a line through the points of train."""
    values, truth = train[0].astype(np.float32), train[1].astype(np.float32)
    mean = values.mean(axis=0)
    variance = np.maximum(np.square(values - mean).mean(axis=0), 1e-6)
    slope = (truth - truth.mean()) @ (values - mean) / len(truth) / variance
    residual = val[1].astype(np.float32)[:, None] - truth.mean() - slope * (val[0] - mean)
    return np.asarray(1 - np.square(residual).mean(axis=0) / val[1].var())


def write_page(
    writer: Writer, train: str, val: str, file: Path, *, shown: int = 2000, name: str = ""
) -> dict[str, list[Probe]]:
    """Write a self-contained page: the beginning of val, coloured by the activation of the cell one clicks.

    Args:
        writer: the model.
        train: text to fit the probes on.
        val: text to score them on.
        file: HTML to write.
        shown: characters of val on the page.
        name: of the model, for the heading.

    Returns:
        the probes of each property, the best cell first.

    Raises:
        OSError: the file cannot be written.
    """
    parts = [(activations(writer, text), properties(text)) for text in (train, val)]
    probes = {kind: fit_probes(*((values, known[kind]) for values, known in parts)) for kind in parts[0][1]}
    values, known = parts[1]
    sizes = writer.model.sizes.widths
    page = {
        "text": val[:shown],
        "cells": values.shape[1],
        "sizes": sizes,
        "activations": base64.b64encode(np.ascontiguousarray(values[:shown].T).tobytes()).decode(),
        "probes": {
            kind: {
                "measure": "balanced accuracy" if known[kind].dtype == bool else "R\u00b2",
                "best": [[probe.cell, round(probe.score, 3)] for probe in found[:20]],
            }
            for kind, found in probes.items()
        },
        "name": name,
        "counts": [len(train), len(val)],
    }
    text = _PAGE.read_text(encoding="utf-8").replace("DATA", json.dumps(page).replace("<", "\\u003c"))
    with write_aside(file) as aside:
        aside.write_text(text, encoding="utf-8")
    return probes
