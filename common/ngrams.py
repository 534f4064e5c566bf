"""A language model: n-grams of characters, without regard to case.

A recognizer's file holds them as two tensors, so that it comes with the language model of its training texts.
"""

import math
from collections import Counter
from collections.abc import Iterable
from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np

from common.charset import Charset
from common.model_folder import tensor_positions

ORDER = 5
NGRAMS = ("keys", "counts")
"""The arrays of a language model, as they are called in a recognizer's weights."""
_KEY_BITS = 60  # of an n-gram's classes; its length is in the bits above


class LanguageModel(Protocol):
    """What the beam search needs of a language model."""

    def log_prob(self, character: str, before: str) -> float:
        """Natural logarithm of the probability of `character` after the text `before`."""


class CharacterNgrams:
    """An n-gram model over characters, interpolated after Witten & Bell 1991.

    Case is folded: it distinguishes "8" and "B", not "b" and "B". Single characters are interpolated with the
    uniform distribution, so that nothing is impossible.

    Args:
        charset: its characters are the vocabulary.
        order: n, from 1 to 5; at most 4 from 4,096 characters on, at most 3 from 32,768 on.
        size: number of n-grams that `load` will be given.

    Attributes:
        keys: int64 (size,), the n-grams as numbers.
        counts: int32 (size,), how often each occurs.
    """

    def __init__(self, charset: Charset, order: int = ORDER, size: int = 0) -> None:
        self._bits = max(_KEY_BITS // ORDER, (len(charset) - 1).bit_length())  # of a class within a key
        self.order = max(1, min(order, _KEY_BITS // self._bits))
        folded = {c: c.lower() if not charset.unknown(c.lower()) else c for c in charset.characters}
        self._classes = {c: charset.encode(folded[c][:1])[0] for c in charset.characters}
        self._vocabulary = len(set(self._classes.values()))
        self.keys, self.counts = np.zeros(size, np.int64), np.zeros(size, np.int32)
        self._cached = lru_cache(maxsize=200_000)(self._log_prob)

    @classmethod
    def of(
        cls,
        lines: Iterable[str],
        charset: Charset,
        order: int = ORDER,
        base: "CharacterNgrams | None" = None,
    ) -> "CharacterNgrams":
        """Count the n-grams of lines; characters outside the charset are left out.

        Args:
            lines: the text to learn from; a line is a word of a list or a sentence.
            charset: its characters are the vocabulary.
            order: n, as of the class.
            base: counts of the same charset and order to add them to.
        """
        model = cls(charset, order)
        order = model.order
        table: Counter[int] = Counter({} if base is None else base._table)
        for line in lines:
            classes = [0] * (order - 1) + [k for c in line if (k := model._classes.get(c)) is not None]
            for i in range(order - 1, len(classes)):
                for n in range(1, order + 1):
                    table[model._key(classes[i + 1 - n : i + 1])] += 1
        model.keys = np.array(list(table.keys()), np.int64)
        model.counts = np.array(list(table.values()), np.int32)
        return model

    def log_prob(self, character: str, before: str) -> float:
        """Natural logarithm of the probability of `character` after the text `before`.

        Raises:
            KeyError: a character that is not in the charset.
        """
        return self._cached(character, before[max(0, len(before) + 1 - self.order) :])

    def _log_prob(self, character: str, before: str) -> float:
        context = [0] * (self.order - 1 - len(before)) + [self._classes[c] for c in before]
        k = self._classes[character]
        p = 1 / self._vocabulary
        for n in range(self.order):
            suffix = context[self.order - 1 - n :]
            followers = self._after.get(self._key(suffix))
            if followers is None:
                break
            total, different = followers
            p = (self._table.get(self._key([*suffix, k]), 0) + different * p) / (total + different)
        return math.log(p)

    @cached_property
    def _table(self) -> dict[int, int]:
        """N-gram -> how often."""
        return dict(zip(self.keys.tolist(), self.counts.tolist(), strict=True))

    @cached_property
    def _after(self) -> dict[int, tuple[int, int]]:
        """Context -> what follows it: how many characters, how many different ones."""
        lengths, classes = np.divmod(self.keys, 1 << _KEY_BITS)
        contexts = ((lengths - 1) << _KEY_BITS) | (classes >> self._bits)  # without the last character
        known, places, different = np.unique(contexts, return_inverse=True, return_counts=True)
        totals = np.zeros(len(known), np.int64)
        np.add.at(totals, places, self.counts)
        return dict(zip(known.tolist(), zip(totals.tolist(), different.tolist(), strict=True), strict=True))

    def load(self, keys: np.ndarray, counts: np.ndarray) -> None:
        """Take other n-grams. Raises ValueError where a count is below 1."""
        if bool((counts < 1).any()):
            raise ValueError("the language model has n-grams that occur less than once")
        self.keys, self.counts = keys, counts
        self.__dict__.pop("_table", None)
        self.__dict__.pop("_after", None)
        self._cached.cache_clear()

    def _key(self, classes: list[int]) -> int:
        """An n-gram as one number: its length, then its classes."""
        key = 0
        for k in classes:
            key = key << self._bits | k
        return len(classes) << _KEY_BITS | key


def stored_ngrams(charset: Charset, size: int, weights: bytes) -> CharacterNgrams | None:
    """The language model in the weights of a model, read without torch; None of a model without.

    Args:
        charset: of the model.
        size: number of n-grams, as its config has it; 0 is no language model.
        weights: the content of its `model.safetensors`, checked.
    """
    if not size:
        return None
    positions = tensor_positions(weights)
    arrays = []
    for name, kind in zip(NGRAMS, (np.int64, np.int32), strict=True):
        _, _, start, count = positions[f"language_model.{name}"]
        arrays.append(np.frombuffer(weights[start : start + count], kind))
    model = CharacterNgrams(charset)
    model.load(*arrays)
    return model
