"""Several captioners that speak as one: their probabilities are averaged at every word.

Notation: N images, R rows (beams or captions), L grid places, M concepts, V words.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from captioning.config import DecoderConfig
from common.ensemble import Speaker, Speakers
from common.errors import UsageError
from common.text import Vocabulary


class Member(Speaker, Protocol):
    """A captioner on the engine or on torch: `captioning.on_graphs`, `captioning.on_torch`."""

    encoder: Any
    config: DecoderConfig
    vocabulary: Vocabulary
    max_length: int

    @property
    def encoder_key(self) -> str:
        """The same for members whose features are the same."""

    def look(self, images: np.ndarray) -> Any:
        """Preprocessed images (N, 3, H, W) -> features (N, L, C)."""


class Ensemble(Speakers[Member]):
    """Members of one vocabulary, each with its encoder; takes part in a search as a single decoder does.

    Args:
        members: at least one; the same words and the same preprocessing.

    Raises:
        UsageError: members that do not go together.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        super().__init__(members)
        first = self.members[0]
        for member in self.members[1:]:
            if member.vocabulary.to_list() != first.vocabulary.to_list():
                raise UsageError(
                    "the models of an ensemble must have the same words; train them on the same data"
                )
            if member.encoder.preprocess != first.encoder.preprocess:
                raise UsageError("the models of an ensemble must see pictures of the same size and scale")
        self.max_length = max(member.max_length for member in self.members)
        # members with the same encoder share its features
        keys = [member.encoder_key if len(self.members) > 1 else "" for member in self.members]
        self._encoder = [keys.index(key) for key in keys]

    def look(self, images: np.ndarray) -> tuple[Any, ...]:
        """Preprocessed images (N, 3, H, W) -> the features of each member."""
        found: dict[int, Any] = {}
        for i in self._encoder:
            if i not in found:
                found[i] = self.members[i].look(images)
        return tuple(found[i] for i in self._encoder)
