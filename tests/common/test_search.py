import itertools
import math
from typing import NamedTuple

import numpy as np
import pytest
import torch

from common.search import BANNED, beam_search, reorder, sample
from common.text import BOS, EOS, PAD, UNK

WORDS = 7  # four special tokens, then 4, 5, 6


class State(NamedTuple):
    last: torch.Tensor
    nested: "Nested"


class Nested(NamedTuple):
    time: torch.Tensor


class Memory(NamedTuple):
    table: torch.Tensor  # N, T, V, V: log-probabilities by image, time and last token


def memory(images, steps=6, seed=0, no_end=False):
    logits = 2 * torch.randn(images, steps, WORDS, WORDS, generator=torch.Generator().manual_seed(seed))
    if no_end:
        logits[..., EOS] = -torch.inf
    return Memory(logits)


def start(images):
    return State(torch.full((images, 1), BOS), Nested(torch.zeros(images, 1, dtype=torch.long)))


def step(tokens, state, memory):
    """A decoder whose logits depend on image, time and last token: rows in the wrong order show."""
    images = memory.table.shape[0]
    per_image = len(tokens) // images
    image = torch.arange(images).repeat_interleave(per_image)
    time = state.nested.time.squeeze(1)
    logits = memory.table[image, time, tokens]
    return logits.clone(), State(tokens.unsqueeze(1), Nested(state.nested.time + 1))


def every_sequence(table, length, penalty):
    """All finished sequences of one image with their scores, by brute force."""
    free = torch.ones(WORDS, dtype=torch.bool)
    free[list(BANNED)] = False
    log_probs = table.masked_fill(~free, -torch.inf).log_softmax(-1)
    found = {}
    for n in range(length):
        for words in itertools.product((4, 5, 6), repeat=n):
            path = [BOS, *words, EOS]
            total = sum(log_probs[t, a, b].item() for t, (a, b) in enumerate(itertools.pairwise(path)))
            found[words] = (total / (n + 1) ** penalty, total)
    return found


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0])
def test_a_wide_beam_scores_as_brute_force_does(penalty):
    table = memory(3)
    found = beam_search(
        step, start(3), table, beam_size=120, max_length=4, length_penalty=penalty, n_best=120
    )
    for image, hypotheses in enumerate(found):
        truth = every_sequence(table.table[image], 4, penalty)
        assert len(truth) == 40  # all of them fit into the beam
        assert {h.tokens for h in hypotheses if h.finished} == set(truth)
        best = max(truth, key=lambda words: truth[words][0])
        assert hypotheses[0].tokens == best
        for h in hypotheses:
            if h.finished:
                assert (h.score, h.log_prob) == pytest.approx(truth[h.tokens], rel=1e-4)
        scores = [h.score for h in hypotheses if h.finished]
        assert scores == sorted(scores, reverse=True)


def test_beam_of_one_is_greedy():
    for seed in range(20):
        table = memory(5, steps=12, seed=seed)
        beam = beam_search(step, start(5), table, beam_size=1, max_length=12)
        greedy = sample(step, start(5), table, max_length=12, temperature=0)
        assert [h[0].tokens for h in beam] == [h.tokens for h in greedy]
        assert [h[0].log_prob for h in beam] == pytest.approx([h.log_prob for h in greedy], rel=1e-4)


@pytest.mark.parametrize("beam_size", [1, 2, 3, 5])
def test_a_batch_gives_what_each_image_gives_alone(beam_size):
    table = memory(33, steps=15, seed=1)
    table.table[::3, :2, :, EOS] += 6  # some images end early and leave the batch
    together = beam_search(step, start(33), table, beam_size=beam_size, max_length=15, n_best=beam_size)
    for image in range(33):
        alone = beam_search(
            step,
            start(1),
            Memory(table.table[image : image + 1]),
            beam_size=beam_size,
            max_length=15,
            n_best=beam_size,
        )[0]
        assert [h.tokens for h in together[image]] == [h.tokens for h in alone]
        assert [h.score for h in together[image]] == pytest.approx([h.score for h in alone], rel=1e-5)


def test_a_wider_beam_finds_better_captions_on_average():
    table = memory(64, steps=10, seed=2)
    narrow, wide = (
        [
            h[0].log_prob
            for h in beam_search(step, start(64), table, beam_size=k, max_length=10, length_penalty=0)
        ]
        for k in (1, 8)
    )
    assert sum(wide) > sum(narrow)


def test_the_length_penalty_lengthens():
    table = memory(64, steps=12, seed=3)
    lengths = [
        sum(
            len(h[0].tokens)
            for h in beam_search(step, start(64), table, beam_size=5, max_length=12, length_penalty=p)
        )
        for p in (0.0, 1.0, 2.0)
    ]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


def test_it_falls_back_to_unfinished_sequences():
    found = beam_search(step, start(2), memory(2, no_end=True), beam_size=3, max_length=5, n_best=3)
    for hypotheses in found:
        assert len(hypotheses) == 3
        assert all(len(h.tokens) == 5 and not h.finished for h in hypotheses)
        assert hypotheses[0].log_prob > hypotheses[1].log_prob > hypotheses[2].log_prob


def test_no_banned_token_is_ever_emitted():
    table = memory(8, steps=10, seed=4)
    table.table[..., [PAD, BOS, UNK]] += 50
    beam = [
        h for image in beam_search(step, start(8), table, beam_size=3, max_length=10, n_best=3) for h in image
    ]
    drawn = sample(step, start(8), table, max_length=10, generator=np.random.default_rng(0))
    assert all(token > UNK for h in [*beam, *drawn] for token in h.tokens)


def test_sampling_follows_the_distribution_and_repeats_with_its_seed():
    table = memory(1, steps=1, seed=5)
    many = reorder(start(1), np.zeros(20_000, int))

    def draw(**options):
        return sample(step, many, table, max_length=1, generator=np.random.default_rng(3), **options)

    first, again = draw(), draw()
    assert [h.tokens for h in first] == [h.tokens for h in again]
    logits = table.table[0, 0, BOS].clone()
    logits[list(BANNED)] = -torch.inf
    for options, power in (({}, 1.0), ({"temperature": 0.5}, 2.0)):
        truth = (power * logits).softmax(-1)
        counts = torch.zeros(WORDS)
        for h in draw(**options):
            counts[h.tokens[0] if h.tokens else EOS] += 1
        torch.testing.assert_close(counts / 20_000, truth, atol=0.012, rtol=0)
        for h in first[:5]:
            assert h.log_prob == pytest.approx(
                logits.log_softmax(-1)[h.tokens[0] if h.tokens else EOS].item(), abs=1e-4
            )


def test_top_k_and_top_p_cut_the_tail():
    table = Memory(
        torch.log(torch.tensor([1e-9, 1e-9, 0.05, 1e-9, 0.5, 0.3, 0.15])).expand(1, 1, WORDS, WORDS)
    )
    many = reorder(start(1), np.zeros(3000, int))

    def drawn(**options):
        found = sample(step, many, table, max_length=1, generator=np.random.default_rng(0), **options)
        return {h.tokens for h in found}

    assert drawn() == {(4,), (5,), (6,), ()}
    assert drawn(top_k=2) == {(4,), (5,)}
    assert drawn(top_p=0.6) == {(4,), (5,)}  # the word that crosses the threshold is kept
    assert drawn(top_p=0.4) == {(4,)}
    assert drawn(temperature=0) == {(4,)}


@pytest.mark.parametrize("wrong", [{"beam_size": 0}, {"n_best": 0}, {"n_best": 4}, {"max_length": 0}])
def test_beam_search_refuses_nonsense(wrong):
    with pytest.raises(ValueError, match="must"):
        beam_search(step, start(1), memory(1), **{"beam_size": 3, "max_length": 4, **wrong})


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}])
def test_sampling_refuses_nonsense(wrong):
    with pytest.raises(ValueError, match="must"):
        sample(step, start(1), memory(1), max_length=4, **wrong)


def test_log_probs_are_probabilities():
    table = memory(2, steps=3, seed=7)
    found = beam_search(step, start(2), table, beam_size=13, max_length=3, n_best=13)
    for hypotheses in found:
        finished = sum(math.exp(h.log_prob) for h in hypotheses if h.finished)
        assert 0 < finished <= 1 + 1e-5


def repeated(tokens, n):
    grams = [tokens[i : i + n] for i in range(len(tokens) - n + 1)]
    return len(grams) != len(set(grams))


@pytest.mark.parametrize("n", [1, 2])
def test_no_ngram_is_said_twice(n):
    images = memory(6, no_end=True)
    free = beam_search(step, start(6), images, beam_size=3, max_length=6)
    assert any(repeated(h.tokens, n) for image in free for h in image)
    found = beam_search(step, start(6), images, beam_size=3, n_best=3, max_length=6, no_repeat_ngram=n)
    assert not any(repeated(h.tokens, n) for image in found for h in image)
    assert all(len(h.tokens) == (3 if n == 1 else 6) for image in found for h in image[:1])


def test_groups_without_diversity_find_the_best_and_with_it_differ():
    images = memory(8)
    best = beam_search(step, start(8), images, beam_size=2, max_length=6)
    same = beam_search(step, start(8), images, beam_size=4, groups=2, diversity=0, max_length=6)
    assert [a[0].tokens for a in best] == [b[0].tokens for b in same]
    plain = beam_search(step, start(8), images, beam_size=4, n_best=4, max_length=6)
    diverse = beam_search(step, start(8), images, beam_size=4, n_best=4, groups=4, diversity=3, max_length=6)

    def firsts(found):
        return sum(len({h.tokens[:1] for h in image}) for image in found)

    assert firsts(diverse) > firsts(plain)
    for n, image in enumerate(diverse):  # what it reports is the probability, without the penalty
        for h in image:
            assert h.log_prob == pytest.approx(log_prob(images, n, h), abs=1e-4)


def log_prob(images, n, hypothesis):
    last, total = BOS, 0.0
    for t, token in enumerate([*hypothesis.tokens, *([EOS] if hypothesis.finished else [])]):
        logits = images.table[n, t, last].clone()
        logits[list(BANNED)] = -torch.inf
        total += logits.log_softmax(-1)[token].item()
        last = token
    return total


@pytest.mark.parametrize("wrong", [{"groups": 2}, {"groups": 0}, {"no_repeat_ngram": -1}, {"diversity": -1}])
def test_beam_search_refuses_groups_that_do_not_fit(wrong):
    with pytest.raises(ValueError, match="must be at least 0"):
        beam_search(step, start(1), memory(1), beam_size=3, max_length=4, **wrong)
