"""A translator on torch, in the form of `translation.on_graphs`.

Notation: N sentences, S subwords of a sentence, R rows (beams), V subwords of the target language.
"""

import copy
from typing import Any

import numpy as np
import torch

from translation.model import TranslationModel


class OnTorch:
    """A model on a device, in a type. States and memories are torch's.

    Args:
        model: from training or `from_pretrained`.
        device: where it runs.
        dtype: in which it computes.
    """

    def __init__(self, model: TranslationModel, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.config = device, model.config
        self.source, self.target = model.source, model.target
        self.network = copy.deepcopy(model.network).eval().to(device, dtype)

    @torch.inference_mode()
    def remember(self, source: np.ndarray) -> tuple[Any, Any]:
        """source (N, S), padded -> memory and first state."""
        memory = self.network.remember(torch.from_numpy(source).to(self.device))
        return memory, self.network.init_state(memory)

    @torch.inference_mode()
    def step(self, tokens: np.ndarray, state: Any, memory: Any) -> tuple[np.ndarray, np.ndarray, Any]:
        """tokens (R,) -> logits (R, V), attention (R, S), state."""
        numbers = torch.as_tensor(tokens, device=self.device)
        logits, attention, state = self.network.look_and_step(numbers, state, memory)
        return logits.float().cpu().numpy(), attention.float().cpu().numpy(), state
