"""An action classifier on torch, in the form of `video.on_graphs`.

Notation: F frames, N clips, S streams, T frames of a clip, L grid places, C channels, K classes.
"""

import copy
from typing import Any

import numpy as np
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from common.device import autocast
from common.images import Preprocess
from video.model import VideoModel


def resized(image: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """An image, uint8 (H, W, 3), as the encoder sees it, (height, width, 3).

    torch's antialiased resize of bytes takes a quarter of the time of Pillow's and starts no threads; the two
    differ by 1 in three values of a thousand.
    """
    size, mode = [preprocess.height, preprocess.width], InterpolationMode(preprocess.interpolation)
    pixels = torch.from_numpy(np.require(image, requirements="W")).permute(2, 0, 1)
    return F.resize(pixels, size, interpolation=mode, antialias=True).permute(1, 2, 0).numpy()


class OnTorch:
    """A model on a device at a precision.

    Args:
        model: from training or `from_pretrained`.
        device: where it runs.
        precision: bf16 or fp32.
    """

    resized = staticmethod(resized)

    def __init__(self, model: VideoModel, device: torch.device, precision: Any) -> None:
        self.model, self.device, self.precision = model, device, precision
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        # a copy that computes in the target precision throughout saves autocast's conversions
        self.network = copy.deepcopy(model.network).to(device, self.dtype)

    @torch.inference_mode()
    def look(self, images: np.ndarray) -> np.ndarray:
        """Preprocessed images (F, 3, H, W) -> features (F, L, C)."""
        pixels = torch.from_numpy(images).to(self.device, memory_format=torch.channels_last)
        with autocast(self.device, self.precision):
            return self.model.encode(pixels).float().cpu().numpy()

    @torch.inference_mode()
    def logits(self, features: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """features (N, S, T, L, C), lengths (N,) -> logits (N, K)."""
        given = torch.from_numpy(features).to(self.device, self.dtype)
        return self.network(given, torch.from_numpy(lengths).to(self.device)).float().cpu().numpy()
