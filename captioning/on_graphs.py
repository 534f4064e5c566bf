"""A captioner on the engine.

Notation: N images, R rows (beams), L grid places, M concepts, C channels, V words.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from captioning.config import Architecture
from common.engine import DecoderGraphs, GraphEncoder
from common.model_folder import tensor_positions
from common.schema import checked
from common.text import Vocabulary


class OnGraphs(DecoderGraphs):
    """The graphs of a captioner, and what its config says of it."""

    task = "captioning"
    names = ("look", "remember", "step")
    fields = 5  # of `captioning.model.Memory`

    def describe(self, facts: Mapping[str, Any], weights: bytes) -> None:
        """See `GraphModel.describe`."""
        built: Architecture = checked(Architecture, self.architecture, "architecture")
        self.config, self.max_length = built.decoder, built.max_length
        self.vocabulary = Vocabulary(built.vocabulary)
        height, width = facts["grid"]
        self.encoder = GraphEncoder(built.preprocess, (height, width))
        digest = hashlib.sha256(repr((built.encoder, self.encoder)).encode())
        for name, (_, _, start, size) in tensor_positions(weights).items():
            if name.startswith("encoder."):
                digest.update(weights[start : start + size])
        self.encoder_key = digest.hexdigest()

    def look(self, images: np.ndarray) -> np.ndarray:
        """Preprocessed images (N, 3, H, W) -> features (N, L, C)."""
        return self.graphs["look"](images.transpose(0, 2, 3, 1))[0]
