"""What of a recognizer and of a finder of lines becomes a graph."""

import numpy as np
import torch
from torch import nn

from common.ctc_on_torch import Reading
from common.export import Traced
from ocr.finder import LineFinder
from ocr.images import stack
from ocr.model import Recognizer

_PAGES = ((96, 64), (64, 128), (160, 96))
_WIDTHS = ((96, 60, 32), (48, 160), (200, 64, 120, 16))  # of lines, padded to the widest


def graphs(model: Recognizer) -> dict[str, Traced]:
    """The graph of a model, with lines of many widths to trace and to compare."""
    random, height = np.random.default_rng(0), model.config.height
    inputs = []
    for widths in _WIDTHS:
        strokes = [np.repeat(random.integers(0, 2, (height, w // 4)), 4, axis=1) for w in widths]
        lines, ends = stack([model.preprocess((60 + 180 * each).astype(np.uint8)) for each in strokes])
        inputs.append((torch.from_numpy(lines), torch.from_numpy(ends)))
    return {"read": Traced(Reading(model), inputs)}


def finder_graphs(model: LineFinder) -> dict[str, Traced]:
    """The graph of a finder of lines, with pages of many sizes."""
    random = np.random.default_rng(0)
    pages = [torch.from_numpy(random.integers(0, 256, (1, *size), np.uint8)) for size in _PAGES]
    return {"find": Traced(_Chances(model), [(page,) for page in pages])}


class _Chances(nn.Module):
    """Pages uint8 (1, H, W) -> probabilities of kernels, sizes: (1, 2, H / 2, W / 2)."""

    def __init__(self, model: LineFinder) -> None:
        super().__init__()
        self.model = model

    def forward(self, pages: torch.Tensor) -> torch.Tensor:
        """See the class."""
        values = self.model(pages)
        return torch.cat([values[:, :1].sigmoid(), values[:, 1:]], dim=1)
