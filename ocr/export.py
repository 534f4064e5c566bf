"""What of a recognizer becomes a graph."""

import numpy as np
import torch

from common.ctc_on_torch import Reading
from common.export import Traced
from ocr.images import stack
from ocr.model import Recognizer

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
