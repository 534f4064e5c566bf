"""A recognizer on torch, in the form of `ocr.on_graphs`.

Notation: N lines, H x W pixels, T steps, K classes.
"""

import copy

import numpy as np
import torch

from ocr.model import Recognizer


class OnTorch:
    """A model on a device at a precision.

    Args:
        model: from training or `from_pretrained`.
        device: where it runs.
        dtype: in which it computes.
    """

    def __init__(self, model: Recognizer, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.network = copy.deepcopy(model).to(device, dtype)

    @torch.inference_mode()
    def log_probs(self, lines: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """lines (N, 1, H, W), widths (N,) in pixels -> log-probabilities (N, T, K), steps (N,)."""
        images = torch.from_numpy(lines).to(self.device, self.dtype)
        logits, steps = self.network(images, torch.from_numpy(widths).to(self.device))
        return logits.float().log_softmax(-1).cpu().numpy(), steps.cpu().numpy()
