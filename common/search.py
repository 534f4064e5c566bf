"""Greedy, beam and sampling over any decoder's `step`, batched over images, in NumPy.

Notation: N images, K beams, R = N * K rows, V words, T steps.

A decoder takes part through three things: a memory and a state, (nested) tuples of arrays, and a
function `step(tokens: (R,), state, memory) -> (logits: (R, V), state)`. The state has one row a sequence; the
memory is what belongs to the image and never changes (its grid), one row an image. Rows of one image stand
together, so that the memory need not be repeated for each beam.

The arrays are NumPy's, or torch's tensors on any device: the `step` of a decoder of torch is then given its
tokens as a tensor, and its logits are taken over.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np

from common.text import BOS, EOS, PAD, UNK

S = TypeVar("S")
M = TypeVar("M")
Step = Callable[[Any, S, M], tuple[Any, S]]

BANNED = (PAD, BOS, UNK)
"""Tokens that no search ever emits."""
_FOLDS = 64  # values of which only the largest is looked at first, when the best are sought


@dataclass(frozen=True)
class Hypothesis:
    """One decoded sequence."""

    tokens: tuple[int, ...]
    """Without begin and end."""
    log_prob: float
    """Natural logarithm of the sequence's probability, its end included where it was reached."""
    score: float
    """What the search ranks by: log_prob / length ** length_penalty."""
    finished: bool
    """False where `max_length` cut it off."""


def reorder(state: S, rows: Any) -> S:
    """Take `rows` of every array of a (nested) tuple or NamedTuple."""
    if isinstance(state, np.ndarray):
        return state.take(rows, axis=0)
    if not isinstance(state, tuple):
        import torch  # the state is a tensor, so that it is loaded

        tensor: Any = state
        return tensor.index_select(0, torch.as_tensor(rows, device=tensor.device))
    fields: Any = tuple(reorder(field, rows) for field in state)
    return fields if type(state) is tuple else type(state)(*fields)


def _first(state: Any) -> Any:
    while isinstance(state, tuple):
        state = state[0]
    return state


def _in_numpy(step: Step[S, M], state: S) -> Step[S, M]:
    """The step of a decoder of torch as one that takes and gives arrays."""
    first = _first(state)
    if isinstance(first, np.ndarray):
        return step
    import torch

    def stepped(tokens: np.ndarray, state: S, memory: M) -> tuple[np.ndarray, S]:
        with torch.inference_mode():
            logits, state = step(torch.from_numpy(tokens).to(first.device), state, memory)
            return logits if isinstance(logits, np.ndarray) else logits.float().cpu().numpy(), state

    return stepped


def _log_probs(logits: np.ndarray, banned: Sequence[int]) -> np.ndarray:
    """log softmax over the words that may be said, in place."""
    logits[:, list(banned)] = -np.inf
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logits


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """values (N, W) -> where the `count` largest of each row are, the largest first (N, count).

    They lie in those `count` columns whose largest values are the largest, once the row is folded: few are
    then left to be sorted.
    """
    rows, width = values.shape
    columns = width // _FOLDS
    if columns > count:
        folded = values[:, : columns * _FOLDS].reshape(rows, _FOLDS, columns)
        best = np.argpartition(folded.max(axis=1), columns - count, axis=1)[:, -count:]  # N, count
        places = (best[:, None] + columns * np.arange(_FOLDS)[:, None]).reshape(rows, -1)
        rest = np.broadcast_to(np.arange(columns * _FOLDS, width), (rows, width - columns * _FOLDS))
        places = np.concatenate([places, rest], axis=1)
    else:
        places = np.broadcast_to(np.arange(width), values.shape)
    order = np.argsort(-np.take_along_axis(values, places, axis=1), axis=1, kind="stable")[:, :count]
    return np.take_along_axis(places, order, axis=1)


def beam_search(
    step: Step[S, M],
    state: S,
    memory: M,
    *,
    beam_size: int,
    max_length: int,
    length_penalty: float = 0.7,
    n_best: int = 1,
    banned: Sequence[int] = BANNED,
    no_repeat_ngram: int = 0,
    groups: int = 1,
    diversity: float = 0.5,
) -> list[list[Hypothesis]]:
    """Beam search; an image is done, and costs no more, once `beam_size` of its sequences have ended.

    A sequence ends when its end token is among the best `beam_size` continuations of its image. Finished
    sequences rank by log_prob / length ** length_penalty (length counts the end token); where fewer than
    `n_best` have ended within `max_length`, the best unfinished ones follow them.

    Args:
        step: the decoder.
        state: its first state, one row an image (N).
        memory: what it keeps of each image, one row an image (N).
        beam_size: K; 1 is greedy search.
        max_length: most tokens of a sequence, its end included.
        length_penalty: 0 ranks by probability, which favours short sequences; 1 by mean log-probability.
        n_best: sequences to return an image, at most `beam_size`.
        banned: tokens that are never emitted.
        no_repeat_ngram: no sequence says the same so many words twice; 0 allows it.
        groups: G > 1 splits the beams into groups that avoid each other's words (Vijayakumar et al. 2018,
            "Diverse beam search", Hamming diversity): sequences then come from one group after the other.
        diversity: with groups, what a word loses in log-probability for each beam of an earlier group of the
            same image that says it at the same step. It counts in the search, not in log_prob and score.

    Returns:
        for each image its hypotheses, best first; fewer than `n_best` only if so few exist.

    Raises:
        ValueError: beam_size, n_best, max_length, no_repeat_ngram, groups or diversity out of range.
    """
    if beam_size < 1 or max_length < 1:
        raise ValueError(f"beam size {beam_size}, max length {max_length}: both must be at least 1")
    if not 1 <= n_best <= beam_size:
        raise ValueError(f"n-best {n_best}: must lie between 1 and the beam size, {beam_size}")
    if no_repeat_ngram < 0 or diversity < 0 or groups < 1 or beam_size % groups:
        raise ValueError(
            f"no-repeat n-gram {no_repeat_ngram} and diversity {diversity} must be at least 0, and "
            f"the beam size, {beam_size}, a multiple of the {groups} groups"
        )
    if groups > 1:
        return _diverse(
            step, state, memory, groups, diversity, beam_size, max_length, length_penalty, n_best, banned,
            no_repeat_ngram,
        )  # fmt: skip
    step, images = _in_numpy(step, state), len(_first(state))
    tokens = np.full(images, BOS)
    beams = _Beams.start(images, beam_size, max_length)
    places = list(range(images))  # which image each row of `beams` is
    result: list[list[Hypothesis]] = [[] for _ in range(images)]
    for t in range(max_length):
        logits, state = step(tokens, state, memory)
        log_probs = beams.block(_log_probs(logits, banned), t, no_repeat_ngram)
        tokens, parents, beams = beams.extend(log_probs, beam_size, t, length_penalty)
        done = beams.done
        if t + 1 == max_length or done.all():
            break
        if done.sum() * 8 >= len(places):  # for a few it is not worth the copying
            leaving = done.nonzero()[0]
            finished = reorder(beams, leaving).hypotheses(t, length_penalty)
            for row, found in zip(leaving.tolist(), finished, strict=True):
                result[places[row]] = found[:n_best]
            stay = (~done).nonzero()[0]
            places = [places[row] for row in stay.tolist()]
            beams, memory = reorder(beams, stay), reorder(memory, stay)
            tokens, parents = tokens[stay], parents[stay]
        state = reorder(state, parents.ravel())
        tokens = tokens.ravel()
    for place, found in zip(places, beams.hypotheses(t, length_penalty), strict=True):
        result[place] = found[:n_best]
    return result


class _Beams(NamedTuple):
    """All sequences of N images: B that go on and the K best that have ended."""

    log_probs: np.ndarray
    """(N, B)"""
    tokens: np.ndarray
    """(N, B, T)"""
    done_scores: np.ndarray
    """(N, K), -inf where there is none yet"""
    done_log_probs: np.ndarray
    """(N, K)"""
    done_tokens: np.ndarray
    """(N, K, T)"""

    @classmethod
    def start(cls, images: int, size: int, steps: int) -> "_Beams":
        """One beam an image, as all would be equal, and none that has ended."""
        return cls(
            np.zeros((images, 1), np.float32),
            np.full((images, 1, steps), PAD),
            np.full((images, size), -np.inf, np.float32),
            np.full((images, size), -np.inf, np.float32),
            np.full((images, size, steps), PAD),
        )

    @property
    def done(self) -> np.ndarray:
        """Which images are done: K of their sequences have ended, or none goes on (N,)."""
        return np.isfinite(self.done_scores).all(axis=1) | ~np.isfinite(self.log_probs).any(axis=1)

    def block(self, log_probs: np.ndarray, t: int, ngram: int) -> np.ndarray:
        """log_probs (N * B, V) with -inf for tokens that would repeat an n-gram of their beam."""
        if not ngram or t < ngram:
            return log_probs
        so_far = self.tokens[:, :, :t].reshape(-1, t)
        said = np.lib.stride_tricks.sliding_window_view(so_far, ngram, axis=1)  # N*B, t - n + 1, n
        last = so_far[:, t - ngram + 1 :]  # N*B, n - 1
        rows, starts = (said[..., :-1] == last[:, None]).all(axis=-1).nonzero()
        log_probs[rows, said[rows, starts, -1]] = -np.inf
        return log_probs

    def extend(
        self,
        log_probs: np.ndarray,
        size: int,
        t: int,
        length_penalty: float,
        taken: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray, "_Beams"]:
        """Add one token: log_probs (N * B, V) -> tokens (N, K), their parents' rows of the state, beams.

        `taken` (N, V) is what each word loses in the choice, but not in its log-probability.
        """
        images, beams = self.log_probs.shape
        words = log_probs.shape[-1]
        log_probs += self.log_probs.reshape(-1, 1)
        totals = log_probs.reshape(images, beams * words)
        wanted = totals if taken is None else totals - np.tile(taken, beams)
        # the best 2K: at most K of them end, so that K can go on
        flat = _largest(wanted, min(2 * size, beams * words))
        best = np.take_along_axis(totals, flat, axis=1)
        parent, token = flat // words, flat % words
        sequences = _pick(self.tokens, parent)
        sequences[:, :, t] = token
        ends = token == EOS
        room = ~np.isfinite(self.done_scores).all(axis=1, keepdims=True)
        ended = ends & room & (np.arange(best.shape[1]) < size)
        scores = np.where(ended, best / np.float32((t + 1) ** length_penalty), -np.inf)
        every = np.concatenate([self.done_scores, scores], axis=1)
        kept = np.argsort(-every, axis=1, kind="stable")[:, :size]
        # the first K that go on; they are in the order of the choice already
        choice = np.argsort(ends, axis=1, kind="stable")[:, : min(size, best.shape[1])]
        extended = _Beams(
            np.take_along_axis(np.where(ends, -np.inf, best), choice, axis=1).astype(np.float32),
            _pick(sequences, choice),
            np.take_along_axis(every, kept, axis=1),
            np.take_along_axis(np.concatenate([self.done_log_probs, best], axis=1), kept, axis=1),
            _pick(np.concatenate([self.done_tokens, sequences], axis=1), kept),
        )
        rows = np.arange(images)[:, None] * beams + np.take_along_axis(parent, choice, axis=1)
        return np.take_along_axis(token, choice, axis=1), rows, extended

    def hypotheses(self, t: int, length_penalty: float) -> list[list[Hypothesis]]:
        """All sequences of each image, best first, the unfinished ones last."""
        live = (
            self.log_probs.tolist(),
            (self.log_probs / (t + 1) ** length_penalty).tolist(),
            self.tokens.tolist(),
        )
        done = (self.done_log_probs.tolist(), self.done_scores.tolist(), self.done_tokens.tolist())
        return [
            [
                Hypothesis(tuple(i for i in ids if i not in (PAD, EOS)), log_prob, score, finished)
                for group, finished in ((done, True), (live, False))
                for log_prob, score, ids in zip(*(part[n] for part in group), strict=True)
                if score > -np.inf
            ]
            for n in range(len(self.log_probs))
        ]


def _diverse(
    step: Step[S, M],
    state: S,
    memory: M,
    groups: int,
    diversity: float,
    beam_size: int,
    max_length: int,
    length_penalty: float,
    n_best: int,
    banned: Sequence[int],
    no_repeat_ngram: int,
) -> list[list[Hypothesis]]:
    """Diverse beam search: the groups take turns at each step, and see what the earlier ones said."""
    step, images = _in_numpy(step, state), len(_first(state))
    size = beam_size // groups
    every = [_Beams.start(images, size, max_length) for _ in range(groups)]
    states = [state] * groups
    tokens = [np.full(images, BOS)] * groups
    for t in range(max_length):
        for g, beams in enumerate(every):
            logits, after = step(tokens[g], states[g], memory)
            log_probs = beams.block(_log_probs(logits, banned), t, no_repeat_ngram)
            if g == 0:
                taken = np.zeros((images, log_probs.shape[-1]), np.float32)
            said, parents, every[g] = beams.extend(log_probs, size, t, length_penalty, taken)
            alive = diversity * np.isfinite(every[g].log_probs)
            np.add.at(taken, (np.arange(images)[:, None], said), alive.astype(np.float32))
            states[g], tokens[g] = reorder(after, parents.ravel()), said.ravel()
        if all(beams.done.all() for beams in every):
            break
    found = [beams.hypotheses(t, length_penalty) for beams in every]
    result = []
    for n in range(images):
        # one of each group, the best of all first; then the next of each
        ranks = [sorted((group[n][r] for group in found if len(group[n]) > r), key=lambda h: -h.score)
                 for r in range(size)]  # fmt: skip
        unique = {h.tokens: h for rank in ranks for h in reversed(rank)}
        ordered = dict.fromkeys(h.tokens for rank in ranks for h in rank)
        result.append([unique[ids] for ids in ordered][:n_best])
    return result


def _pick(sequences: np.ndarray, index: np.ndarray) -> np.ndarray:
    """sequences (N, B, T), index (N, M) -> (N, M, T)."""
    return np.take_along_axis(sequences, index[..., None], axis=1)


def sample(
    step: Step[S, M],
    state: S,
    memory: M,
    *,
    max_length: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    generator: np.random.Generator | None = None,
    banned: Sequence[int] = BANNED,
) -> list[Hypothesis]:
    """Draw one sequence a row; temperature 0 is greedy search.

    Args:
        step: the decoder.
        state: its first state; its rows decide how many sequences come back.
        memory: what it keeps of each image.
        max_length: most tokens of a sequence, its end included.
        temperature: divides the logits; below 1 sharper, above 1 flatter.
        top_k: draw among the k likeliest words only; 0 is all.
        top_p: draw among the likeliest words that together reach this probability (Holtzman et al. 2020).
        generator: makes the draws repeatable.
        banned: tokens that are never emitted.

    Raises:
        ValueError: temperature below 0, top_k below 0, top_p outside (0, 1].
    """
    if temperature < 0 or top_k < 0 or not 0 < top_p <= 1 or max_length < 1:
        raise ValueError(
            f"temperature {temperature} and top-k {top_k} must be at least 0, top-p {top_p} in (0, 1], "
            f"max length {max_length} at least 1"
        )
    random = generator or np.random.default_rng()
    step, rows = _in_numpy(step, state), len(_first(state))
    tokens = np.full(rows, BOS)
    ended = np.zeros(rows, dtype=bool)
    total = np.zeros(rows)
    emitted = []
    for _ in range(max_length):
        logits, state = step(tokens, state, memory)
        log_probs = _log_probs(logits, banned)
        if temperature == 0:
            tokens = log_probs.argmax(axis=1)
        else:
            kept = truncate(log_probs / temperature, top_k, top_p)
            # the largest of logarithms plus Gumbel noise is a draw from their distribution
            tokens = (kept + random.gumbel(size=kept.shape)).argmax(axis=1)
        drawn = np.take_along_axis(log_probs, tokens[:, None], axis=1)[:, 0]
        total += np.where(ended, 0.0, drawn)
        emitted.append(np.where(ended, PAD, tokens))
        ended |= tokens == EOS
        if ended.all():
            break
    return drawn_sequences(np.stack(emitted, axis=1).tolist(), total.tolist(), ended.tolist())


def drawn_sequences(
    sequences: Sequence[Sequence[int]], log_probs: Sequence[float], ended: Sequence[bool]
) -> list[Hypothesis]:
    """Tokens of each row, its end and padding included, their log-probability, whether it ended."""
    result = []
    for ids, log_prob, finished in zip(sequences, log_probs, ended, strict=True):
        words = tuple(i for i in ids if i not in (PAD, EOS))
        result.append(Hypothesis(words, log_prob, log_prob / (len(words) + finished), finished))
    return result


def truncate(log_probs: np.ndarray, top_k: int, top_p: float) -> np.ndarray:
    """Put the words outside top-k and top-p to -inf: (N, V) -> (N, V). The others keep their ratios.

    Args:
        log_probs: logarithms, also of what does not add up to 1.
        top_k: keep the k likeliest; 0 is all.
        top_p: keep the likeliest that together reach this share.
    """
    if 0 < top_k < log_probs.shape[-1]:
        floor = np.sort(log_probs, axis=1)[:, [-top_k]]
        log_probs = np.where(log_probs < floor, -np.inf, log_probs)
    if top_p < 1:
        order = np.argsort(-log_probs, axis=1, kind="stable")
        ranked = np.take_along_axis(log_probs, order, axis=1)
        shares = np.exp(ranked - ranked[:, :1])
        shares /= shares.sum(axis=1, keepdims=True)
        before = shares.cumsum(axis=1) - shares  # share of all likelier words
        outside = np.empty_like(log_probs, dtype=bool)
        np.put_along_axis(outside, order, before >= top_p, axis=1)
        log_probs = np.where(outside, -np.inf, log_probs)
    return log_probs
