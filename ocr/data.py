"""Batches of text lines that are equally wide."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from common.batches import length_batches
from common.charset import Charset, steps_needed
from common.distributed import epochs_trained
from common.errors import ImageError
from ocr.images import WIDTH_MULTIPLE, LineBatch, LinePreprocess, stack
from ocr.labels import TextLine
from ocr.synthetic import SyntheticLines, distort

_WORDS, _WORD_WIDTH = 0.6, 70.0  # this share of the synthetic lines are words, so many pixels wide


class Draw(NamedTuple):
    """One line of an epoch."""

    row: int
    """Of the labelled line, or -1 for a synthetic one."""
    seed: int
    """Of its distortion or rendering; -1 leaves a labelled line as it is."""
    width: int
    """Pixels that it will roughly have."""


class TextBatch(NamedTuple):
    """What the model trains on."""

    images: LineBatch
    targets: torch.Tensor
    """Classes of all labels, one after the other."""
    lengths: torch.Tensor
    """(N,) characters of each label"""
    folded: torch.Tensor
    """(N,) whether the case of the label is unknown"""
    texts: list[str]
    indices: list[int]


class LineDataset(Dataset[tuple[np.ndarray, str, bool, int] | None]):
    """Draws -> lines.

    Args:
        lines: labelled ones.
        preprocess: of the model.
        synthetic: makes the others.
    """

    def __init__(
        self, lines: Sequence[TextLine], preprocess: LinePreprocess, synthetic: SyntheticLines | None = None
    ) -> None:
        self.lines, self.preprocess, self.synthetic = lines, preprocess, synthetic

    def __getitem__(self, draw: Draw) -> tuple[np.ndarray, str, bool, int] | None:
        """A line, or None with a message where an image turns out to be damaged."""
        if draw.row < 0:
            assert self.synthetic is not None
            pixels, text = self.synthetic.sample(draw.seed, draw.width, self.preprocess.height)
            folded = False
        else:
            line = self.lines[draw.row]
            text, folded = line.text, line.folded
            try:
                pixels = self.preprocess.scale(line.grey())
            except ImageError as error:
                print(f"left out {error}", file=sys.stderr, flush=True)
                return None
            if draw.seed >= 0:
                pixels = distort(np.random.default_rng(draw.seed), pixels)
        min_width = steps_needed(text) * WIDTH_MULTIPLE
        return self.preprocess.normalize(self.preprocess.scale(pixels, min_width)), text, folded, draw.row


class WidthBatches(Sampler[list[Draw]]):
    """Batches of draws that are nearly equally wide, in random order; each process takes its rows of each.

    Args:
        widths: of the labelled lines; each is drawn once an epoch at most.
        batch_size: rows over all processes.
        seed: of everything.
        shuffle: distort, mix with synthetic lines, and shuffle. Without it: every labelled line as it is.
        synthetic: synthetic lines an epoch.
        trainer: has the number of the epoch.
        labelled: draw so many of the labelled lines, others each epoch; 0 is all.
    """

    def __init__(
        self,
        widths: Sequence[int],
        batch_size: int,
        seed: int,
        *,
        shuffle: bool,
        synthetic: int,
        trainer: Any,
        labelled: int = 0,
    ) -> None:
        self.widths, self.batch_size, self.seed = widths, batch_size, seed
        self.labelled = min(labelled, len(widths)) if shuffle and labelled else len(widths)
        self.shuffle, self.synthetic, self.trainer = shuffle, synthetic if shuffle else 0, trainer

    def __len__(self) -> int:
        return -(-(self.labelled + self.synthetic) // self.batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        random = np.random.default_rng([self.seed, epochs_trained(self.trainer)])
        seeds = random.integers(0, 2**31, len(self.widths) + self.synthetic)
        rows = list(range(len(self.widths)))
        if self.labelled < len(self.widths):
            rows = sorted(random.choice(len(self.widths), self.labelled, replace=False).tolist())
        draws = [Draw(i, int(seeds[i]) if self.shuffle else -1, self.widths[i]) for i in rows]
        if self.synthetic:
            mean = max(60.0, float(np.mean(self.widths))) if self.widths else 120.0
            words = random.random(self.synthetic) < _WORDS
            synthetic_widths = random.gamma(2.2, np.where(words, _WORD_WIDTH, mean) / 2.2)
            synthetic_widths = np.clip(synthetic_widths, 14, 640).astype(int)
            draws += [
                Draw(-1, int(s), int(w))
                for s, w in zip(seeds[len(self.widths) :], synthetic_widths, strict=True)
            ]
        jitter = random.uniform(0.95, 1.05, len(draws)) if self.shuffle else np.ones(len(draws))
        widths = [draw.width * j for draw, j in zip(draws, jitter, strict=True)]
        for batch in length_batches(widths, self.batch_size, random if self.shuffle else None):
            yield [draws[i] for i in batch]


def collate(charset: Charset, items: Sequence[tuple[np.ndarray, str, bool, int] | None]) -> TextBatch | None:
    """Stack lines and concatenate their labels; None where no image could be read."""
    good = [item for item in items if item is not None]
    if not good:
        return None
    lines, texts, folded, indices = zip(*good, strict=True)
    classes = [charset.encode(text) for text in texts]
    return TextBatch(
        LineBatch(*map(torch.from_numpy, stack(lines))),
        torch.tensor([k for label in classes for k in label]),
        torch.tensor([len(label) for label in classes]),
        torch.tensor(folded),
        list(texts),
        list(indices),
    )
