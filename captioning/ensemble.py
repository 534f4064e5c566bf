"""Several captioners that speak as one: their probabilities are averaged at every word.

Notation: R rows (beams or captions), V words.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch

from captioning.concepts import Seen
from captioning.model import CaptionModel
from common.device import autocast
from common.errors import UsageError


class Ensemble:
    """Decoders of one vocabulary, each with its encoder; takes part in a search as a single decoder does.

    Args:
        models: at least one; the same words and the same preprocessing.
        device: where they run.
        precision: bf16 or fp32.

    Raises:
        UsageError: models that do not go together.
    """

    def __init__(self, models: Sequence[CaptionModel], device: torch.device, precision: Any) -> None:
        self.models = [model.eval().to(device) for model in models]
        first = self.models[0]
        for model in self.models[1:]:
            if model.vocabulary.to_list() != first.vocabulary.to_list():
                raise UsageError(
                    "the models of an ensemble must have the same words; train them on the same data"
                )
            if model.encoder.preprocess != first.encoder.preprocess:
                raise UsageError("the models of an ensemble must see pictures of the same size and scale")
        self.device, self.precision = device, precision
        self.max_length = max(model.max_length for model in self.models)
        for model in self.models:
            model.encoder.to(memory_format=torch.channels_last)
        # models with the same encoder share its features
        prints = [model.encoder.fingerprint() if len(models) > 1 else "" for model in self.models]
        self._encoder = [prints.index(fingerprint) for fingerprint in prints]
        # copies that compute in the target precision throughout save autocast's conversions at every step
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.decoders = [copy.deepcopy(model.decoder).to(self.dtype) for model in self.models]

    def encode(self, images: torch.Tensor) -> tuple[Seen, ...]:
        """Preprocessed images (N, 3, H, W) -> what each decoder attends to."""
        images = images.to(self.device)
        found: dict[int, torch.Tensor] = {}
        with torch.inference_mode(), autocast(self.device, self.precision):
            for i in self._encoder:
                if i not in found:
                    found[i] = self.models[i].encoder.places(images).to(self.dtype)
        return tuple(model.see(found[i]) for model, i in zip(self.models, self._encoder, strict=True))

    def remember(self, features: Sequence[Seen]) -> tuple[Any, ...]:
        """The memories of all decoders."""
        return tuple(d.remember(f) for d, f in zip(self.decoders, features, strict=True))

    def init_state(self, memory: Sequence[Any]) -> tuple[Any, ...]:
        """The states of all decoders."""
        return tuple(d.init_state(m) for d, m in zip(self.decoders, memory, strict=True))

    def step(
        self, tokens: torch.Tensor, state: Sequence[Any], memory: Sequence[Any]
    ) -> tuple[torch.Tensor, tuple[Any, ...]]:
        """tokens (R,) -> logits (R, V) of one decoder, or the logarithm of all decoders' mean probability."""
        stepped = [d.step(tokens, s, m) for d, s, m in zip(self.decoders, state, memory, strict=True)]
        states = tuple(after for _, after in stepped)
        if len(stepped) == 1:
            return stepped[0][0], states
        each = torch.stack([logits.float().log_softmax(dim=-1) for logits, _ in stepped])
        return each.logsumexp(dim=0) - math.log(len(stepped)), states
