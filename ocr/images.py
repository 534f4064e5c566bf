"""Lines of text as the recognizer expects them. Notation: H x W pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np

from common.images import ImageSource, load_image

WIDTH_MULTIPLE = 4
"""Every line is first padded to a multiple of this by itself; a batch may pad it further."""
MIN_WIDTH = 16
MAX_WIDTH = 4096
"""A line that would be wider is compressed: 128 times as wide as high, it is no line of text."""
_MIN_CONTRAST = 12.0  # grey levels: less is noise on a blank line, and is not amplified


def grey(source: ImageSource | np.ndarray) -> np.ndarray:
    """One line as uint8 (H, W): an image that `common.images.load_image` reads, or an array already grey."""
    if isinstance(source, np.ndarray):
        return source
    return np.asarray(load_image(source).convert("L"))


@dataclass(frozen=True)
class LinePreprocess:
    """Scales a grey line to `height`, keeps its aspect ratio, normalises by its own mean and spread."""

    height: int = 32

    def width(self, width: int, height: int) -> int:
        """Pixels that a line of `width` x `height` has after scaling, before padding."""
        return min(MAX_WIDTH, max(MIN_WIDTH, round(width * self.height / height)))

    def scale(self, line: np.ndarray, min_width: int = 0) -> np.ndarray:
        """uint8 (H, W) -> uint8 (height, W'), W' at least `min_width`."""
        width = max(self.width(line.shape[1], line.shape[0]), min_width)
        if line.shape == (self.height, width):
            return line
        smaller = self.height < line.shape[0]
        return cv2.resize(
            line, (width, self.height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        )

    def stretched(self, line: np.ndarray, factor: float) -> np.ndarray:
        """uint8 (H, W) -> uint8 (height, W'), `factor` times as wide as `scale` makes it."""
        scaled = self.scale(line)
        width = self.width(round(factor * scaled.shape[1]), self.height)
        return cv2.resize(scaled, (width, self.height))

    def normalize(self, line: np.ndarray) -> np.ndarray:
        """uint8 (height, W) -> float32 (height, W''), W'' the next multiple of 4; 0 is the line's mean."""
        pixels = line.astype(np.float32)
        pixels = (pixels - pixels.mean()) / max(float(pixels.std()), _MIN_CONTRAST)
        extra = -line.shape[1] % WIDTH_MULTIPLE
        return np.pad(pixels, ((0, 0), (0, extra)))

    def __call__(self, source: ImageSource | np.ndarray) -> np.ndarray:
        """An image or a grey array -> float32 (height, W). Raises ImageError."""
        return self.normalize(self.scale(grey(source)))


class LineBatch(NamedTuple):
    """Lines of one batch: arrays, in training tensors."""

    lines: Any
    """(N, 1, H, W)"""
    widths: Any
    """(N,) pixels of each line before padding in the batch"""


def stack(lines: Sequence[np.ndarray]) -> LineBatch:
    """Lines (H, W_i) -> one batch, padded on the right with 0."""
    widths = np.array([line.shape[1] for line in lines])
    batch = np.zeros((len(lines), 1, lines[0].shape[0], int(widths.max())), np.float32)
    for row, line in enumerate(lines):
        batch[row, 0, :, : line.shape[1]] = line
    return LineBatch(batch, widths)
