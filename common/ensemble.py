"""Several decoders that speak as one: their probabilities are averaged at every word.

Notation: R rows (beams or sequences), V words.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch


class Decoders:
    """Decoders of one vocabulary; takes part in a search as a single decoder does.

    Args:
        decoders: at least one.
    """

    def __init__(self, decoders: Sequence[Any]) -> None:
        self.decoders = list(decoders)

    def remember(self, seen: Sequence[Any]) -> tuple[Any, ...]:
        """The memories of all decoders, from what each has seen."""
        return tuple(d.remember(s) for d, s in zip(self.decoders, seen, strict=True))

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
