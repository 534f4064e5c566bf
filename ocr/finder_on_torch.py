"""A finder of lines on torch, in the form of `ocr.on_graphs.FinderOnGraphs`."""

import copy

import numpy as np
import torch

from ocr.finder import LineFinder


class FinderOnTorch:
    """A model on a device, in a type.

    Args:
        model: from training or `from_pretrained`.
        device: where it runs.
        dtype: in which it computes.
    """

    def __init__(self, model: LineFinder, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self.network = copy.deepcopy(model).to(device, dtype)

    @torch.inference_mode()
    def maps(self, page: np.ndarray) -> np.ndarray:
        """A grey page, uint8 (H, W), both multiples of 32 -> probabilities of kernels, sizes: (2, h, w)."""
        values = self.network(torch.from_numpy(page).to(self.device)[None]).float()[0]
        found: np.ndarray = torch.stack([values[0].sigmoid(), values[1]]).cpu().numpy()
        return found
