"""What a language model is scored by, and the baselines that it should beat.

Notation: N units of the part that is scored, M units that were trained on, V codes, n order of an n-gram.
"""

import math
from collections.abc import Iterator

import numpy as np

_PIECE = 2**20  # units that are scored at once


def scores(nats: float, characters: int) -> dict[str, float]:
    """Of the summed negative log-likelihood of a text of so many characters."""
    each = nats / characters
    return {
        "nats_per_character": round(each, 4),
        "bits_per_character": round(each / math.log(2), 4),
        "perplexity": round(math.exp(min(each, 700)), 4),
    }


def unigram_nats(train: np.ndarray, codes: np.ndarray, vocabulary: int) -> float:
    """Summed nats of units by their share of the training part, one added to each count (Laplace).

    Args:
        train: codes (M,).
        codes: those to score (N,).
        vocabulary: V.
    """
    counts = np.bincount(train, minlength=vocabulary) + 1.0
    return float(np.bincount(codes, minlength=vocabulary) @ -np.log(counts / counts.sum()))


class KneserNey:
    """n-grams by interpolated Kneser-Ney (Chen & Goodman 1999, section 2.7), counted with NumPy.

    The lowest order is interpolated with the uniform distribution, so that nothing is impossible. NLTK's
    `KneserNeyInterpolated` gives the same values (a test compares them), but takes minutes for a text that
    this one scores in a second.

    Args:
        train: codes (M,).
        vocabulary: V.
        order: n.
        discounts: one for each order, from 1 to n; None estimates them from the counts of counts
            (Ney et al. 1994).
    """

    def __init__(
        self, train: np.ndarray, vocabulary: int, order: int = 5, discounts: list[float] | None = None
    ) -> None:
        self.vocabulary, self.order = vocabulary, min(order, len(train))
        self._keys: list[np.ndarray] = []  # of each order: context's number * V + unit, sorted
        counted: list[np.ndarray] = []
        follows: list[np.ndarray] = []  # numbers of the (n-1)-grams that n-grams end with
        grams = np.zeros(len(train) + 1, np.int64)  # number of the n-gram that begins at each place
        codes = train.astype(np.int64)
        for n in range(1, self.order + 1):
            places = max(0, len(codes) - n + 1)
            keys = grams[:places] * vocabulary + codes[n - 1 :][:places]
            found, first, numbers, times = np.unique(
                keys, return_index=True, return_inverse=True, return_counts=True
            )
            follows.append(grams[first + 1] if n > 1 else np.zeros(0, np.int64))
            grams = numbers
            self._keys.append(found)
            counted.append(times)
        for n in range(self.order - 1):  # lower orders count the different units before an n-gram
            counted[n] = np.bincount(follows[n + 1], minlength=len(self._keys[n]))
        self._orders = []
        for n, (found, times) in enumerate(zip(self._keys, counted, strict=True)):
            if discounts is None:
                once, twice = int((times == 1).sum()), int((times == 2).sum())
                discount = once / (once + 2 * twice) if once else 0.5
            else:
                discount = discounts[n]
            contexts = len(self._keys[n - 1]) if n else 1
            context = found // vocabulary
            totals = np.bincount(context, times, contexts)
            kinds = np.bincount(context, np.minimum(times, 1), contexts)
            self._orders.append((np.maximum(times - discount, 0), totals, discount * kinds))

    def nats_each(self, codes: np.ndarray) -> Iterator[np.ndarray]:
        """Nats of each unit of a text (N,) after up to n - 1 units before it, in pieces."""
        for first in range(0, len(codes), _PIECE):
            start = max(0, first - self.order + 1)
            yield self._nats(codes[start : first + _PIECE].astype(np.int64))[first - start :]

    def _nats(self, codes: np.ndarray) -> np.ndarray:
        probability = np.full(len(codes), 1 / self.vocabulary)
        # numbers of the contexts that end before each place; -1 was not seen
        ids = [np.zeros(len(codes), np.int64)]
        for n in range(1, self.order):
            longer = np.full(len(codes), -1)
            before = np.full(len(codes), -1)
            before[1:] = ids[-1][:-1]  # the shorter context one place earlier
            at = np.flatnonzero(before >= 0)
            longer[at] = self._find(n, before[at], codes[at - 1])
            longer[:n] = -1
            ids.append(longer)
        for n, (counts, totals, backed) in enumerate(self._orders, 1):
            context = ids[n - 1]
            known = np.flatnonzero((context >= 0) & (totals[np.maximum(context, 0)] > 0))
            of = context[known]
            gram = self._find(n, of, codes[known])
            seen = np.where(gram >= 0, counts[np.maximum(gram, 0)], 0.0)
            probability[known] = (seen + backed[of] * probability[known]) / totals[of]
        return -np.log(np.maximum(probability, 1e-300))

    def _find(self, n: int, contexts: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Numbers of the n-grams of contexts and units; -1 for those that were not seen."""
        keys = self._keys[n - 1]
        wanted = contexts * self.vocabulary + codes
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(keys[at] == wanted, at, -1)
