"""A captioner on torch, in the form of `captioning.on_graphs`.

Notation: N images, R rows (beams), L grid places, M concepts, C channels, V words.
"""

import copy
from typing import Any

import numpy as np
import torch

from captioning.model import CaptionModel, Memory
from common.device import autocast


class OnTorch:
    """A model on a device at a precision. States, memories and features are torch's.

    Args:
        model: from training or `from_pretrained`.
        device: where it runs.
        precision: bf16 or fp32.
    """

    def __init__(self, model: CaptionModel, device: torch.device, precision: Any) -> None:
        self.model = model.eval().to(device)
        self.device, self.precision = device, precision
        self.encoder, self.config = model.encoder, model.config
        self.vocabulary, self.max_length = model.vocabulary, model.max_length
        model.encoder.to(memory_format=torch.channels_last)
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        # a copy that computes in the target precision throughout saves autocast's conversions at every step
        self.decoder = copy.deepcopy(model.decoder).to(self.dtype)

    @property
    def encoder_key(self) -> str:
        """The same for models whose features are the same."""
        return self.encoder.fingerprint()

    @torch.inference_mode()
    def look(self, images: np.ndarray) -> torch.Tensor:
        """Preprocessed images (N, 3, H, W) -> features (N, L, C)."""
        with autocast(self.device, self.precision):
            return self.encoder.places(torch.from_numpy(images).to(self.device)).to(self.dtype)

    @torch.inference_mode()
    def remember(self, features: torch.Tensor) -> tuple[Any, Any]:
        """features (N, L, C) -> memory and first state."""
        memory = self.decoder.remember(self.model.see(features))
        return tuple(memory), self.decoder.init_state(memory)

    @torch.inference_mode()
    def step(self, tokens: np.ndarray, state: Any, memory: Any) -> tuple[np.ndarray, np.ndarray, Any]:
        """tokens (R,) -> logits (R, V), attention (R, L + M), state."""
        numbers = torch.as_tensor(tokens, device=self.device)
        logits, attention, state = self.decoder.look_and_step(numbers, state, Memory(*memory))
        return logits.float().cpu().numpy(), attention.float().cpu().numpy(), state
