"""A segmentation model on the engine. Notation: N images, H x W pixels, K classes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from common.engine import GraphModel
from common.schema import checked
from segmentation.config import Architecture


class OnGraphs(GraphModel):
    """The graph of a segmentation model, and what its config says of it."""

    task = "segmentation"
    names = ("classify",)

    def describe(self, facts: Mapping[str, Any], weights: bytes) -> None:
        """See `GraphModel.describe`."""
        built: Architecture = checked(Architecture, self.architecture, "architecture")
        self.config, self.preprocess = built.network, built.preprocess
        self.classes, self.ignore_label = built.classes, built.ignore_label

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Preprocessed images (N, 3, H, W) -> logits (N, K, H / 4, W / 4), rounded up."""
        return self.graphs["classify"](images.transpose(0, 2, 3, 1))[0]
