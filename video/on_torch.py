"""An action classifier on torch, in the form of `video.on_graphs`.

Notation: M images, N clips, S streams, T frames of a clip, F numbers of a frame, K classes.
"""

import copy
from typing import Any

import numpy as np
import torch

from common.device import autocast
from video.model import VideoModel


class OnTorch:
    """A model on a device at a precision.

    Args:
        model: from training or `from_pretrained`.
        device: where it runs.
        precision: bf16 or fp32.
    """

    def __init__(self, model: VideoModel, device: torch.device, precision: Any) -> None:
        self.model, self.device, self.precision = model, device, precision
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        # a copy that computes in the target precision throughout saves autocast's conversions
        self.network = copy.deepcopy(model.network).to(device, self.dtype)

    @torch.inference_mode()
    def look(self, images: np.ndarray) -> np.ndarray:
        """Preprocessed images (M, 3, H, W) -> features (M, F)."""
        pixels = torch.from_numpy(images).to(self.device, memory_format=torch.channels_last)
        with autocast(self.device, self.precision):
            return self.model.encode(pixels).float().cpu().numpy()

    @torch.inference_mode()
    def logits(self, features: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """features (N, S, T, F), lengths (N,) -> logits (N, K)."""
        given = torch.from_numpy(features).to(self.device, self.dtype)
        return self.network(given, torch.from_numpy(lengths).to(self.device)).float().cpu().numpy()
