import math

import numpy as np
import pytest

from language import metrics
from language.metrics import KneserNey, scores, unigram_nats

V = 6


@pytest.fixture(scope="module")
def units():
    random = np.random.default_rng(0)
    ring = np.cumsum(random.choice([1, 1, 1, 2, 3], 900)) % V
    return ring[:700], ring[700:]


def test_scores():
    assert scores(20 * math.log(2), 10) == {
        "nats_per_character": 1.3863, "bits_per_character": 2.0, "perplexity": 4.0,
    }  # fmt: skip
    assert scores(1e9, 1)["perplexity"] > 1e300


def test_unigram(units):
    train, val = units
    share = [((train == code).sum() + 1) / (len(train) + V) for code in val]
    assert unigram_nats(train, val, V) == pytest.approx(-np.log(share).sum())


@pytest.mark.parametrize("order", [2, 3, 4])
def test_kneser_ney_equals_nltks(units, order):
    from nltk.lm import KneserNeyInterpolated
    from nltk.util import ngrams

    train, val = units[0][:200], units[1][:40]
    words = [str(code) for code in train]
    reference = KneserNeyInterpolated(order, discount=0.75)
    reference.fit([[gram for n in range(1, order + 1) for gram in ngrams(words, n)]], vocabulary_text=words)
    ours = KneserNey(train, V, order, [0.0, *[0.75] * (order - 1)])
    found = np.concatenate(list(ours.nats_each(val)))
    for i in range(order - 1, len(val)):
        context = [str(code) for code in val[i - order + 1 : i]]
        assert found[i] == pytest.approx(-math.log(reference.score(str(val[i]), context))), i


@pytest.mark.parametrize("order", [1, 3, 5])
def test_probabilities_sum_to_one_and_nothing_is_impossible(units, order):
    train, val = units
    model = KneserNey(train, V + 1, order)  # one that train lacks
    for context in (val[:1], val[10:14], np.array([V, V])):
        each = [np.concatenate(list(model.nats_each(np.append(context, code)))) for code in range(V + 1)]
        total = sum(math.exp(-nats[-1]) for nats in each)
        assert total == pytest.approx(1)


def test_pieces_change_nothing(units, monkeypatch):
    train, val = units
    model = KneserNey(train, V)
    whole = np.concatenate(list(model.nats_each(val)))
    monkeypatch.setattr(metrics, "_PIECE", 7)
    np.testing.assert_allclose(np.concatenate(list(model.nats_each(val))), whole)
    assert whole.sum() < unigram_nats(train, val, V)
    assert sum(map(len, KneserNey(train[:2], V).nats_each(val))) == len(val)  # shorter than its order
