"""Models that end in CTC on torch, in the form of `common.ctc_predictor.CtcOnGraphs`.

Notation: N inputs, T steps, K classes.
"""

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from common.ctc_model import CtcModel


class CtcOnTorch:
    """A model on a device, in a type.

    Args:
        model: from training or `from_pretrained`.
        device: where it runs.
        dtype: in which it computes.
    """

    def __init__(self, model: CtcModel, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.network: Any = copy.deepcopy(model).to(device, dtype)

    @torch.inference_mode()
    def log_probs(self, inputs: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """inputs, N of them, their lengths (N,) -> log-probabilities (N, T, K), steps (N,)."""
        given = torch.from_numpy(inputs).to(self.device, self.dtype)
        logits, steps = self.network(given, torch.from_numpy(lengths).to(self.device))
        return logits.float().log_softmax(-1).cpu().numpy(), steps.cpu().numpy()


class Reading(nn.Module):
    """What becomes the graph: inputs, lengths (N,) -> log-probabilities (N, T, K)."""

    def __init__(self, model: CtcModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """See the class."""
        logits, _ = self.model(inputs, lengths)
        return logits.log_softmax(dim=-1)
