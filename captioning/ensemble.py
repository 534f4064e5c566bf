"""Several captioners that speak as one: their probabilities are averaged at every word."""

import copy
from collections.abc import Sequence
from typing import Any

import torch

from captioning.concepts import Seen
from captioning.model import CaptionModel
from common.device import autocast
from common.ensemble import Decoders
from common.errors import UsageError


class Ensemble(Decoders):
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
        super().__init__([copy.deepcopy(model.decoder).to(self.dtype) for model in self.models])

    def encode(self, images: torch.Tensor) -> tuple[Seen, ...]:
        """Preprocessed images (N, 3, H, W) -> what each decoder attends to."""
        images = images.to(self.device)
        found: dict[int, torch.Tensor] = {}
        with torch.inference_mode(), autocast(self.device, self.precision):
            for i in self._encoder:
                if i not in found:
                    found[i] = self.models[i].encoder.places(images).to(self.dtype)
        return tuple(model.see(found[i]) for model, i in zip(self.models, self._encoder, strict=True))
