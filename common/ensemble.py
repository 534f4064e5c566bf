"""Several decoders that speak as one: their probabilities are averaged at every word.

Notation: R rows (beams or sequences), V words, S places that are attended to.
"""

import math
from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np


class Speaker(Protocol):
    """A model of a task on the engine or on torch, that says words one after the other."""

    def remember(self, seen: Any) -> tuple[Any, Any]:
        """What it has seen -> memory and first state."""

    def step(self, tokens: np.ndarray, state: Any, memory: Any) -> tuple[np.ndarray, np.ndarray, Any]:
        """tokens (R,) -> logits (R, V), attention (R, S), state."""


S = TypeVar("S", bound=Speaker)


def average(each: Sequence[np.ndarray]) -> np.ndarray:
    """Logits (R, V) of several decoders -> the logarithm of their mean probability; of one, its logits."""
    if len(each) == 1:
        return each[0]
    log_probs = [logits - np.logaddexp.reduce(logits, axis=1, keepdims=True) for logits in each]
    return np.logaddexp.reduce(log_probs, axis=0) - math.log(len(each))


class Speakers(Generic[S]):
    """Members of one vocabulary; takes part in a search as a single decoder does.

    Args:
        members: at least one.
    """

    def __init__(self, members: Sequence[S]) -> None:
        self.members = list(members)

    def remember(self, seen: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """What each member has seen -> the memories and first states of all."""
        pairs = [member.remember(each) for member, each in zip(self.members, seen, strict=True)]
        return tuple(memory for memory, _ in pairs), tuple(state for _, state in pairs)

    def step(
        self, tokens: np.ndarray, state: Sequence[Any], memory: Sequence[Any]
    ) -> tuple[np.ndarray, tuple[Any, ...]]:
        """tokens (R,) -> logits (R, V) of one member, or the logarithm of all members' mean probability."""
        stepped = [m.step(tokens, s, each) for m, s, each in zip(self.members, state, memory, strict=True)]
        states = tuple(after for _, _, after in stepped)
        return average([logits for logits, _, _ in stepped]), states
