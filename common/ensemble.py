"""Several decoders that speak as one: their probabilities are averaged at every word.

Notation: R rows (beams or sequences), V words.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


def average(each: Sequence[np.ndarray]) -> np.ndarray:
    """Logits (R, V) of several decoders -> the logarithm of their mean probability; of one, its logits."""
    if len(each) == 1:
        return each[0]
    log_probs = [logits - np.logaddexp.reduce(logits, axis=1, keepdims=True) for logits in each]
    return np.logaddexp.reduce(log_probs, axis=0) - math.log(len(each))


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
        self, tokens: "torch.Tensor", state: Sequence[Any], memory: Sequence[Any]
    ) -> tuple[np.ndarray, tuple[Any, ...]]:
        """tokens (R,) -> logits (R, V) of one decoder, or the logarithm of all decoders' mean probability."""
        stepped = [d.step(tokens, s, m) for d, s, m in zip(self.decoders, state, memory, strict=True)]
        states = tuple(after for _, after in stepped)
        return average([logits.float().cpu().numpy() for logits, _ in stepped]), states
