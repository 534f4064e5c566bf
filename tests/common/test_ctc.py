import itertools
import math

import numpy as np
import pytest
import torch

from common.charset import BLANK, PRINTABLE, Charset, steps_needed
from common.ctc import greedy, prefix_beam_search
from common.errors import UsageError
from common.ngrams import CharacterNgrams


def log_probs(random_state: np.random.Generator, steps: int, classes: int) -> np.ndarray:
    scores = 2 * random_state.normal(size=(steps, classes))
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def collapse(path):
    return tuple(k for k, _ in itertools.groupby(path) if k != BLANK)


def brute_force(table):
    """The probability of every text, summed over all its alignments."""
    found = {}
    for path in itertools.product(range(table.shape[1]), repeat=len(table)):
        p = math.exp(sum(table[t, k] for t, k in enumerate(path)))
        found[collapse(path)] = found.get(collapse(path), 0.0) + p
    return found


@pytest.mark.parametrize("seed", range(12))
def test_beam_search_equals_brute_force_over_all_alignments(seed):
    charset = Charset("ab")
    table = log_probs(np.random.default_rng(seed), 6, len(charset))
    texts = brute_force(table)
    best = max(texts, key=texts.get)
    assert prefix_beam_search(table, charset, beam_size=1000).text == charset.decode(best)


def test_beam_search_sums_alignments_where_greedy_takes_one():
    charset = Charset("a")
    table = np.log([[0.6, 0.4], [0.6, 0.4]])  # nothing 0.36; a 0.64 in three alignments
    assert greedy(table, charset).text == ""
    assert prefix_beam_search(table, charset, beam_size=4).text == "a"
    with pytest.raises(ValueError, match="at least 1"):
        prefix_beam_search(table, charset, beam_size=0)


def test_language_model_decides_between_equals():
    charset = Charset("abcu q")
    model = CharacterNgrams.of(["qu", "qu", "quq", "ab"], charset, order=2)
    assert model.log_prob("u", "q") > model.log_prob("a", "q")
    q, a, u = (charset.encode(c)[0] for c in "qau")
    table = np.full((2, len(charset)), math.log(1e-4))
    table[0, q] = math.log(0.99)
    table[1, [a, u]] = math.log(0.5), math.log(0.49)
    assert prefix_beam_search(table, charset, 8).text == "qa"
    assert prefix_beam_search(table, charset, 8, language_model=model).text == "qu"


def test_the_language_model_has_less_say_in_digits():
    """Either second character is four times as probable as what the texts go on with."""
    charset = Charset("qxu012")
    model = CharacterNgrams.of(["qu", "01"] * 20, charset, order=2)

    def read(first, second, other):
        rows = np.full((2, len(charset)), 1e-9)
        for step, characters in enumerate(({first: 1.0}, {second: 0.8, other: 0.2})):
            for character, p in characters.items():
                rows[step, charset.encode(character)[0]] = p
        return prefix_beam_search(np.log(rows), charset, 8, language_model=model).text

    assert read("q", "x", "u") == "qu"
    assert read("0", "2", "1") == "02"


def test_n_grams_give_probabilities_that_add_up_to_one():
    charset = Charset("abcABC ")
    model = CharacterNgrams.of(["abca", "Abc", "cab c", "é"], charset, order=3)
    for before in ("", "a", "ab", "ABCAB", "cccc"):  # seen and unseen, longer than the order
        assert sum(math.exp(model.log_prob(c, before)) for c in "abc ") == pytest.approx(1)
        assert model.log_prob("a", before) == model.log_prob("A", before.lower())
    # Witten & Bell by hand: "c" is 4 of 12 characters of 4 kinds; after "b", as after "ab", come c, c and " "
    single = (4 + 4 / 4) / (12 + 4)
    pair = (2 + 2 * single) / (3 + 2)
    assert math.exp(model.log_prob("c", "ab")) == pytest.approx((2 + 2 * pair) / (3 + 2))
    more = CharacterNgrams.of(["ab"], charset, 3, base=CharacterNgrams.of(["abca", "Abc"], charset, 3))
    assert more.log_prob("b", "a") == CharacterNgrams.of(["ab", "abc", "abca"], charset, 3).log_prob("b", "a")


def test_n_grams_of_a_large_charset_are_shorter():
    charset = Charset("".join(map(chr, range(0x4E00, 0x4E00 + 5000))))
    model = CharacterNgrams.of(["\u4e00\u5f00\u4e02", "\u4e00\u5f00\u6187"], charset)
    assert (CharacterNgrams(Charset("ab")).order, model.order) == (5, 4)
    seen, unseen = (model.log_prob(c, "\u4e00\u5f00") for c in "\u6187\u6100")
    assert math.exp(seen) > 0.4
    assert math.exp(unseen) < 1e-3


def test_search_reads_long_lines_without_losing_precision():
    charset = Charset("ab")
    rows = [[1e-6, 0.7, 0.3], [1 - 2e-6, 1e-6, 1e-6]] * 3000
    model = CharacterNgrams.of(["aaaaaa"], charset)
    assert prefix_beam_search(np.log(rows), charset, 4, language_model=model).text == "a" * 3000


@pytest.mark.parametrize("decode", [greedy, lambda table, charset: prefix_beam_search(table, charset, 8)])
def test_each_character_has_its_confidence_and_place(decode):
    charset = Charset("ab")
    table = np.log(np.array([[0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.1, 0.9, 0.0001], [0.1, 0.2, 0.7]]))
    reading = decode(table, charset)
    assert reading.text == str(reading) == "aab"
    assert [c for c, _, _ in reading.characters] == ["a", "a", "b"]
    assert [p for _, p, _ in reading.characters] == pytest.approx([0.8, 0.9, 0.7])
    assert [x for _, _, x in reading.characters] == pytest.approx([0.125, 0.625, 0.875])
    assert reading.confidence == pytest.approx((0.8 * 0.9 * 0.7) ** (1 / 3))


def test_greedy_merges_repeats_as_ctc_does():
    charset = Charset("ab")
    path = [1, 1, 0, 1, 2, 2, 0, 0]
    table = np.log(np.full((8, 3), 1e-3))
    table[range(8), path] = 0.0
    assert greedy(table, charset).text == charset.decode(collapse(path)) == "aab"
    assert greedy(np.log([[1.0, 1e-9, 1e-9]]), charset).confidence == 1.0


def test_charset():
    charset = Charset()
    assert charset.characters == PRINTABLE
    assert len(charset) == 96
    assert charset.decode(charset.encode("A b~")) == "A b~"
    assert charset.unknown("café öä é") == "éöä"
    with pytest.raises(UsageError, match="'a' stands there twice"):
        Charset("aba")
    with pytest.raises(UsageError, match="no characters"):
        Charset("")


@pytest.mark.parametrize("text", ["a", "ab", "aa", "book", "1112"])
def test_steps_needed_is_where_ctc_becomes_possible(text):
    charset = Charset()
    target = torch.tensor([charset.encode(text)])
    for steps in (steps_needed(text) - 1, steps_needed(text)):
        if steps:
            uniform = torch.full((steps, 1, len(charset)), -math.log(len(charset)))
            loss = torch.nn.functional.ctc_loss(
                uniform, target, torch.tensor([steps]), torch.tensor([len(text)]), reduction="sum"
            )
            assert bool(loss.isfinite()) == (steps >= steps_needed(text))
