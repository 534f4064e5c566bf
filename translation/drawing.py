"""Drawing of the soft alignment of two sentences."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from common.drawing import plain


def draw_alignment(words: Sequence[str], source_words: Sequence[str], weights: np.ndarray, out: Path) -> None:
    """Write a PNG: a row a word of the translation, a column a source word (Bahdanau et al. 2015, figure 3).

    Args:
        words: of the translation.
        source_words: of the sentence.
        weights: (words, source words); white is 1, black 0.
        out: file to write.

    Raises:
        OSError: `out` cannot be written.
    """
    size = 1.6 + 0.34 * len(source_words), 1.6 + 0.34 * len(words)
    figure = Figure(figsize=size, layout="constrained")
    axis = figure.subplots()
    axis.imshow(weights, cmap="gray", vmin=0, vmax=1)
    axis.xaxis.tick_top()
    axis.set_xticks(range(len(source_words)), [plain(word) for word in source_words], rotation=90)
    axis.set_yticks(range(len(words)), [plain(word) for word in words])
    figure.savefig(out, dpi=110, format="png")
