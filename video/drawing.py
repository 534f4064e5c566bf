"""Images of what a classifier found: probabilities over time, with thumbnails."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from common.drawing import plain
from video.classifier import Window

_THUMBNAILS = 8
_LINES = 5


class Timeline:
    """Collects windows and draws them; of a long recording only some thumbnails are kept.

    Args:
        labels: of the model.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = labels
        self.spans: list[tuple[float, float]] = []
        self.probabilities: list[np.ndarray] = []
        self._thumbnails: dict[int, Image.Image] = {}
        self._step = 1

    def add(self, window: Window) -> None:
        """Take the next window."""
        number = len(self.spans)
        self.spans.append((window.start, window.end))
        self.probabilities.append(np.array(window.probabilities, dtype=np.float32))
        if number % self._step == 0:
            self._thumbnails[number] = window.thumbnail
        if len(self._thumbnails) > 2 * _THUMBNAILS:
            self._step *= 2
            self._thumbnails = {n: p for n, p in self._thumbnails.items() if n % self._step == 0}

    def draw(self, title: str, out: Path) -> None:
        """Write a PNG: thumbnails above the curves of the labels that were ever likely.

        Raises:
            OSError: `out` cannot be written.
        """
        values = np.stack(self.probabilities)
        middles = [(start + end) / 2 for start, end in self.spans]
        likely = sorted(range(len(self.labels)), key=lambda k: -float(values[:, k].max()))[:_LINES]
        picked = list(self._thumbnails)
        picked = [
            picked[i] for i in np.unique(np.linspace(0, len(picked) - 1, _THUMBNAILS).round().astype(int))
        ]
        figure = Figure(figsize=(10, 4), layout="constrained")
        figure.suptitle(plain(title))
        panels: Any = figure.subfigures(2, 1, height_ratios=(1, 2.4))
        axes = panels[0].subplots(1, len(picked), squeeze=False)[0]
        for axis, number in zip(axes, picked, strict=True):
            axis.imshow(self._thumbnails[number])
            axis.set_title(f"{middles[number]:.1f} s", fontsize=9)
            axis.set_axis_off()
        curves = panels[1].subplots()
        for k in likely:
            curves.plot(middles, values[:, k], marker="o", markersize=3, label=plain(self.labels[k]))
        curves.set(xlabel="seconds (middle of the window)", ylabel="probability", ylim=(0, 1.02))
        curves.grid(alpha=0.3)
        curves.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        figure.savefig(out, dpi=110, format="png")
