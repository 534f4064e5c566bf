"""Tokens and vocabulary."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np

PAD, BOS, EOS, UNK = range(4)
SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>")

# What COCO's PTB step removes after tokenising (coco-caption, ptbtokenizer.py), in the forms that NLTK gives.
_PUNCTUATION = frozenset(
    "'' ' `` ` \" ( ) [ ] { } . ? ! , : - -- ... ; \u2026 \u201c \u201d \u2018 \u2013 \u2014".split()  # noqa: SIM905
)
_INNER_STOP = re.compile(r"(?<=[^\s.][^\s.])\.+(?=\s)")  # "runs. It" -> "runs It"; leaves "u.s. flag" alone
_ATTACHED = re.compile(r" (n't|'(?:s|m|d|ll|re|ve))\b")


@cache
def _ptb() -> Any:
    from nltk.tokenize import NLTKWordTokenizer  # imported late: inference does not tokenise

    return NLTKWordTokenizer()


def tokenize(text: str) -> list[str]:
    """Lower-case Penn Treebank tokens without punctuation, as COCO's evaluation makes them.

    >>> tokenize("A man's dog doesn't run.")
    ['a', 'man', "'s", 'dog', 'does', "n't", 'run']
    """
    tokens = _ptb().tokenize(_INNER_STOP.sub(" ", text.lower().replace("\u2019", "'")))
    return [token for token in tokens if token not in _PUNCTUATION]


def detokenize(tokens: Iterable[str]) -> str:
    """Words joined by spaces, contractions closed up: the inverse of `tokenize` for what it keeps."""
    return _ATTACHED.sub(r"\1", " ".join(tokens))


class Vocabulary:
    """Words and their numbers; 0 to 3 are padding, begin, end and unknown.

    Args:
        words: every word in order, without the special tokens.

    Raises:
        ValueError: a word stands twice or equals a special token.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = (*SPECIAL_TOKENS, *words)
        self._ids = {word: i for i, word in enumerate(self.words)}
        if len(self._ids) != len(self.words):
            twice = [word for word, n in Counter(self.words).items() if n > 1]
            raise ValueError(f"vocabulary: {twice[0]!r} stands there more than once")

    @classmethod
    def build(cls, captions: Iterable[Sequence[str]], min_count: int) -> "Vocabulary":
        """Every word that occurs at least `min_count` times, the frequent ones first."""
        counts = Counter(word for caption in captions for word in caption)
        kept = [word for word, n in counts.items() if n >= min_count and word not in SPECIAL_TOKENS]
        return cls(sorted(kept, key=lambda word: (-counts[word], word)))

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    def index(self, word: str) -> int:
        """Number of a word. Raises KeyError where it is not known."""
        return self._ids[word]

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Numbers of the tokens, `UNK` for those that are not known. Adds no begin or end."""
        return [self._ids.get(token, UNK) for token in tokens]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Words of the numbers, up to the first end; begin and padding are left out."""
        words = []
        for i in ids:
            if i == EOS:
                break
            if i not in (PAD, BOS):
                words.append(self.words[i])
        return words

    def to_list(self) -> list[str]:
        """The words without the special tokens, for JSON; `Vocabulary(list)` is the inverse."""
        return list(self.words[len(SPECIAL_TOKENS) :])


def pad(words: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of words -> tokens (N, T), lengths (N,), int64."""
    lengths = np.array([len(ids) for ids in words], np.int64)
    tokens = np.full((len(words), int(lengths.max())), PAD, np.int64)
    for row, ids in enumerate(words):
        tokens[row, : len(ids)] = ids
    return tokens, lengths
