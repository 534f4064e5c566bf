"""An answerer on torch, in the form of `vqa.on_graphs`.

Notation: N images, Q questions, T words, L grid places, A answers, H hops.
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from common.device import autocast
from vqa.model import ImageMemory, VqaModel


class OnTorch:
    """A model on a device at a precision. What is kept of images are torch's tensors.

    Args:
        model: from training or `from_pretrained`.
        device: where it runs.
        precision: bf16 or fp32.
    """

    def __init__(self, model: VqaModel, device: torch.device, precision: Any) -> None:
        self.model, self.device, self.precision = model, device, precision
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        # a copy that computes in the target precision throughout saves autocast's conversions
        self.network = copy.deepcopy(model.network).to(device, self.dtype)

    @torch.inference_mode()
    def remember(self, images: np.ndarray) -> ImageMemory:
        """Preprocessed images (N, 3, H, W) -> what is kept of them."""
        with autocast(self.device, self.precision):
            features = self.model.encode(torch.from_numpy(images).to(self.device))
        return self.network.remember(features.to(self.dtype))

    @torch.inference_mode()
    def join(self, memories: Sequence[ImageMemory]) -> ImageMemory:
        """The images of all memories, one after the other."""
        grids, keys = zip(*memories, strict=True)
        return ImageMemory(torch.cat(grids), tuple(map(torch.cat, zip(*keys, strict=True))))

    @torch.inference_mode()
    def answer(
        self, memory: ImageMemory, tokens: np.ndarray, lengths: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """memory of Q images, tokens (Q, T), lengths (Q,) -> logits (Q, A), attention (Q, H, L)."""
        given = (torch.from_numpy(each).to(self.device) for each in (tokens, lengths))
        logits, maps = self.network.answer(memory, *given)
        return logits.float().cpu().numpy(), maps.float().cpu().numpy()
