"""A segmentation model on torch, in the form of `segmentation.on_graphs`.

Notation: N images, H x W pixels, K classes.
"""

from typing import Any

import numpy as np
import torch

from common.device import autocast
from segmentation.model import SegmentationModel


class OnTorch:
    """A model on a device at a precision.

    Args:
        model: from training or `from_pretrained`.
        device: where it runs.
        precision: bf16 or fp32.
    """

    def __init__(self, model: SegmentationModel, device: torch.device, precision: Any) -> None:
        self.model, self.device, self.precision = model, device, precision

    @torch.inference_mode()
    def logits(self, images: np.ndarray) -> np.ndarray:
        """Preprocessed images (N, 3, H, W) -> logits (N, K, H / 4, W / 4), rounded up."""
        pixels = torch.from_numpy(images).to(self.device, memory_format=torch.channels_last)
        with autocast(self.device, self.precision):
            return self.model(pixels).float().contiguous().cpu().numpy()
