"""An action classifier on the engine.

Notation: M images, N clips, S streams, T frames of a clip, F numbers of a frame, K classes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from common.engine import GraphEncoder, GraphModel
from common.schema import checked
from video.config import Architecture

_FRAMES = 8  # that are encoded at a time: the engine compiles what it runs for each number of them


class OnGraphs(GraphModel):
    """The graphs of an action classifier, and what its config says of it."""

    task = "video"
    precise = True
    names = ("look", "classify")

    def describe(self, facts: Mapping[str, Any], weights: bytes) -> None:
        """See `GraphModel.describe`."""
        built: Architecture = checked(Architecture, self.architecture, "architecture")
        self.config, self.labels, self.clip_seconds = built.network, built.labels, built.clip_seconds
        self.encoder = GraphEncoder(built.preprocess, tuple(facts["grid"]))

    def look(self, images: np.ndarray) -> np.ndarray:
        """Preprocessed images (M, 3, H, W) -> features (M, F)."""
        pixels = images.transpose(0, 2, 3, 1)
        starts = range(0, len(pixels), _FRAMES)
        return np.concatenate([self.graphs["look"](pixels[i : i + _FRAMES])[0] for i in starts])

    def logits(self, features: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """features (N, S, T, F), lengths (N,) -> logits (N, K)."""
        if self.config.head == "convlstm":  # its graph has as many steps as a clip has frames
            behind = self.config.frames - features.shape[2]
            features = np.pad(features, [(0, 0), (0, 0), (0, behind), *[(0, 0)] * (features.ndim - 3)])
        return self.graphs["classify"](features, lengths)[0]
