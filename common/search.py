"""Greedy, beam and sampling over any decoder's `step`, batched over images.

Notation: N images, K beams, R = N * K rows, V words, T steps.

A decoder takes part through three things: a memory and a state, (nested) tuples of tensors, and a
function `step(tokens: (R,), state, memory) -> (logits: (R, V), state)`. The state has one row a sequence; the
memory is what belongs to the image and never changes (its grid), one row an image. Rows of one image stand
together, so that the memory need not be repeated for each beam.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch

from common.text import BOS, EOS, PAD, UNK

S = TypeVar("S")
M = TypeVar("M")
Step = Callable[[torch.Tensor, S, M], tuple[torch.Tensor, S]]
Choose = Callable[[torch.Tensor], torch.Tensor]

BANNED = (PAD, BOS, UNK)
"""Tokens that no search ever emits."""


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


def reorder(state: S, rows: torch.Tensor) -> S:
    """Take `rows` of every tensor of a (nested) tuple or NamedTuple."""
    if isinstance(state, torch.Tensor):
        return state.index_select(0, rows)  # type: ignore[return-value]
    fields: Any = tuple(reorder(field, rows) for field in state)  # type: ignore[attr-defined]
    return fields if type(state) is tuple else type(state)(*fields)


def _first_tensor(state: Any) -> torch.Tensor:
    while not isinstance(state, torch.Tensor):
        state = state[0]
    return state


def _log_probs(logits: torch.Tensor, banned: Sequence[int]) -> torch.Tensor:
    """log softmax in fp32 over the words that may be said."""
    logits = logits.float()
    logits[:, list(banned)] = -torch.inf
    return logits.log_softmax(dim=-1)


@torch.inference_mode()
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
    device, images = _first_tensor(state).device, _first_tensor(state).shape[0]
    tokens = torch.full((images,), BOS, device=device)
    beams = _Beams.start(images, beam_size, max_length, device)
    places = list(range(images))  # which image each row of `beams` is
    result: list[list[Hypothesis]] = [[] for _ in range(images)]
    for t in range(max_length):
        logits, state = step(tokens, state, memory)
        log_probs = beams.block(_log_probs(logits, banned), t, no_repeat_ngram)
        tokens, parents, beams = beams.extend(log_probs, beam_size, t, length_penalty)
        done = beams.done_scores.isfinite().all(dim=1) | ~beams.log_probs.isfinite().any(dim=1)
        if t + 1 == max_length or done.all():
            break
        if done.sum() * 8 >= len(places):  # for a few it is not worth the copying
            leaving = done.nonzero().flatten()
            finished = reorder(beams, leaving).hypotheses(t, length_penalty)
            for row, found in zip(leaving.tolist(), finished, strict=True):
                result[places[row]] = found[:n_best]
            stay = (~done).nonzero().flatten()
            places = [places[row] for row in stay.tolist()]
            beams, memory = reorder(beams, stay), reorder(memory, stay)
            tokens, parents = tokens[stay], parents[stay]
        state = reorder(state, parents.flatten())
        tokens = tokens.flatten()
    for place, found in zip(places, beams.hypotheses(t, length_penalty), strict=True):
        result[place] = found[:n_best]
    return result


class _Beams(NamedTuple):
    """All sequences of N images: B that go on and the K best that have ended."""

    log_probs: torch.Tensor
    """(N, B)"""
    tokens: torch.Tensor
    """(N, B, T)"""
    done_scores: torch.Tensor
    """(N, K), -inf where there is none yet"""
    done_log_probs: torch.Tensor
    """(N, K)"""
    done_tokens: torch.Tensor
    """(N, K, T)"""

    @classmethod
    def start(cls, images: int, size: int, steps: int, device: torch.device) -> "_Beams":
        """One beam an image, as all would be equal, and none that has ended."""
        return cls(
            torch.zeros(images, 1, device=device),
            torch.full((images, 1, steps), PAD, device=device),
            torch.full((images, size), -torch.inf, device=device),
            torch.full((images, size), -torch.inf, device=device),
            torch.full((images, size, steps), PAD, device=device),
        )

    def block(self, log_probs: torch.Tensor, t: int, ngram: int) -> torch.Tensor:
        """log_probs (N * B, V) with -inf for tokens that would repeat an n-gram of their beam."""
        if not ngram or t < ngram:
            return log_probs
        said = self.tokens[:, :, :t].flatten(0, 1).unfold(1, ngram, 1)  # N*B, t - n + 1, n
        last = self.tokens[:, :, t - ngram + 1 : t].flatten(0, 1)  # N*B, n - 1
        repeats = (said[..., :-1] == last[:, None]).all(dim=-1)  # N*B, t - n + 1
        again = torch.zeros_like(log_probs).scatter_add_(1, said[..., -1], repeats.to(log_probs.dtype))
        return log_probs.masked_fill(again > 0, -torch.inf)

    def extend(
        self,
        log_probs: torch.Tensor,
        size: int,
        t: int,
        length_penalty: float,
        taken: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, "_Beams"]:
        """Add one token: log_probs (N * B, V) -> tokens (N, K), their parents' rows of the state, beams.

        `taken` (N, V) is what each word loses in the choice, but not in its log-probability.
        """
        images, beams = self.log_probs.shape
        words = log_probs.shape[-1]
        totals = self.log_probs.unsqueeze(-1) + log_probs.view(images, beams, words)
        wanted = totals if taken is None else totals - taken.unsqueeze(1)
        # the best 2K: at most K of them end, so that K can go on
        flat = wanted.view(images, -1).topk(min(2 * size, beams * words)).indices
        best = totals.view(images, -1).gather(1, flat)
        parent, token = flat // words, flat % words
        sequences = _pick(self.tokens, parent)
        sequences[:, :, t] = token
        ends = token == EOS
        room = ~self.done_scores.isfinite().all(dim=1, keepdim=True)
        ended = ends & room & (torch.arange(best.shape[1], device=best.device) < size)
        scores = (best / (t + 1) ** length_penalty).masked_fill(~ended, -torch.inf)
        done_scores, kept = torch.cat([self.done_scores, scores], dim=1).topk(size)
        # the first K that go on; they are in the order of the choice already
        choice = (ends.long() * best.shape[1] + torch.arange(best.shape[1], device=best.device)).argsort()
        choice = choice[:, : min(size, best.shape[1])]
        extended = _Beams(
            best.masked_fill(ends, -torch.inf).gather(1, choice),
            _pick(sequences, choice),
            done_scores,
            torch.cat([self.done_log_probs, best], dim=1).gather(1, kept),
            _pick(torch.cat([self.done_tokens, sequences], dim=1), kept),
        )
        rows = torch.arange(images, device=best.device).unsqueeze(1) * beams + parent.gather(1, choice)
        return token.gather(1, choice), rows, extended

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
                if score > -torch.inf
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
    images, device = _first_tensor(state).shape[0], _first_tensor(state).device
    size = beam_size // groups
    every = [_Beams.start(images, size, max_length, device) for _ in range(groups)]
    states = [state] * groups
    tokens = [torch.full((images,), BOS, device=device)] * groups
    for t in range(max_length):
        taken = torch.zeros(())
        for g, beams in enumerate(every):
            logits, after = step(tokens[g], states[g], memory)
            log_probs = beams.block(_log_probs(logits, banned), t, no_repeat_ngram)
            taken = taken if g else torch.zeros(images, log_probs.shape[-1], device=device)
            said, parents, every[g] = beams.extend(log_probs, size, t, length_penalty, taken)
            alive = diversity * every[g].log_probs.isfinite().float()
            taken = taken.scatter_add(1, said, alive)
            states[g], tokens[g] = reorder(after, parents.flatten()), said.flatten()
        if all(
            bool((b.done_scores.isfinite().all(dim=1) | ~b.log_probs.isfinite().any(dim=1)).all())
            for b in every
        ):
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


def _pick(sequences: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """sequences (N, B, T), index (N, M) -> (N, M, T)."""
    return sequences.gather(1, index.unsqueeze(-1).expand(-1, -1, sequences.shape[-1]))


@torch.inference_mode()
def sample(
    step: Step[S, M],
    state: S,
    memory: M,
    *,
    max_length: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
    choose: Choose | None = None,
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
        choose: draws a word a row from probabilities, in place of `torch.multinomial` with `generator`.
        banned: tokens that are never emitted.

    Raises:
        ValueError: temperature below 0, top_k below 0, top_p outside (0, 1].
    """
    if temperature < 0 or top_k < 0 or not 0 < top_p <= 1 or max_length < 1:
        raise ValueError(
            f"temperature {temperature} and top-k {top_k} must be at least 0, top-p {top_p} in (0, 1], "
            f"max length {max_length} at least 1"
        )
    rows, device = _first_tensor(state).shape[0], _first_tensor(state).device
    tokens = torch.full((rows,), BOS, device=device)
    ended = torch.zeros(rows, dtype=torch.bool, device=device)
    total = torch.zeros(rows, device=device)
    emitted = []
    for _ in range(max_length):
        logits, state = step(tokens, state, memory)
        log_probs = _log_probs(logits, banned)
        if temperature == 0:
            tokens = log_probs.argmax(dim=-1)
        else:
            kept = truncate((log_probs / temperature).log_softmax(dim=-1), top_k, top_p)
            tokens = choose(kept.exp()) if choose else _multinomial(kept.exp(), generator)
        drawn = log_probs.gather(1, tokens.unsqueeze(1)).squeeze(1)
        total += drawn.masked_fill(ended, 0.0)
        emitted.append(tokens.masked_fill(ended, PAD))
        ended |= tokens == EOS
        if ended.all():
            break
    result = []
    sequences = torch.stack(emitted, dim=1).tolist()
    for ids, log_prob, finished in zip(sequences, total.tolist(), ended.tolist(), strict=True):
        words = tuple(i for i in ids if i not in (PAD, EOS))
        result.append(Hypothesis(words, log_prob, log_prob / (len(words) + finished), finished))
    return result


def _multinomial(probabilities: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    return torch.multinomial(probabilities, 1, generator=generator).squeeze(-1)


def truncate(log_probs: torch.Tensor, top_k: int, top_p: float) -> torch.Tensor:
    """Put the words outside top-k and top-p to -inf: log-probabilities (N, V) -> (N, V).

    Args:
        log_probs: normalised.
        top_k: keep the k likeliest; 0 is all.
        top_p: keep the likeliest that together reach this probability.
    """
    if 0 < top_k < log_probs.shape[-1]:
        floor = log_probs.topk(top_k).values[:, -1:]
        log_probs = log_probs.masked_fill(log_probs < floor, -torch.inf).log_softmax(dim=-1)
    if top_p < 1:
        ranked, order = log_probs.sort(dim=-1, descending=True)
        before = ranked.exp().cumsum(dim=-1) - ranked.exp()  # probability of all likelier words
        outside = torch.zeros_like(before, dtype=torch.bool).scatter(1, order, before >= top_p)
        log_probs = log_probs.masked_fill(outside, -torch.inf)
    return log_probs
