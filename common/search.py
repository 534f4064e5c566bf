"""Greedy, beam and sampling over any decoder's `step`, batched over images.

Notation: N images, K beams, R = N * K rows, V words, T steps.

A decoder takes part through two things: a state, that is a (nested) NamedTuple of tensors, rows first, and a
function `step(tokens: (R,), state) -> (logits: (R, V), state)`. What belongs to the image and never changes
(its grid) stays inside the function: rows of one image stay neighbours, so it need not be copied.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from common.text import BOS, EOS, PAD, UNK

S = TypeVar("S")
Step = Callable[[torch.Tensor, S], tuple[torch.Tensor, S]]

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
    """Take `rows` of every tensor of a (nested) NamedTuple."""
    if isinstance(state, torch.Tensor):
        return state.index_select(0, rows)  # type: ignore[return-value]
    fields: Any = (reorder(field, rows) for field in state)  # type: ignore[attr-defined]
    return type(state)(*fields)


def _log_probs(logits: torch.Tensor, banned: Sequence[int]) -> torch.Tensor:
    """log softmax in fp32 over the words that may be said."""
    logits = logits.float()
    logits[:, list(banned)] = -torch.inf
    return logits.log_softmax(dim=-1)


@torch.inference_mode()
def beam_search(
    step: Step[S],
    state: S,
    images: int,
    *,
    beam_size: int,
    max_length: int,
    length_penalty: float = 1.0,
    n_best: int = 1,
    banned: Sequence[int] = BANNED,
) -> list[list[Hypothesis]]:
    """Beam search; an image is done once `beam_size` of its sequences have ended.

    A sequence ends when its end token is among the best `beam_size` continuations of its image. Finished
    sequences rank by log_prob / length ** length_penalty (length counts the end token); where fewer than
    `n_best` have ended within `max_length`, the best unfinished ones follow them.

    Args:
        step: the decoder.
        state: its first state, one row an image.
        images: N.
        beam_size: K; 1 is greedy search.
        max_length: most tokens of a sequence, its end included.
        length_penalty: 0 ranks by probability, which favours short sequences; 1 by mean log-probability.
        n_best: sequences to return an image, at most `beam_size`.
        banned: tokens that are never emitted.

    Returns:
        for each image its hypotheses, best first; fewer than `n_best` only if so few exist.

    Raises:
        ValueError: beam_size, n_best or max_length out of range.
    """
    if beam_size < 1 or max_length < 1:
        raise ValueError(f"beam size {beam_size}, max length {max_length}: both must be at least 1")
    if not 1 <= n_best <= beam_size:
        raise ValueError(f"n-best {n_best}: must lie between 1 and the beam size, {beam_size}")
    first: torch.Tensor = state[0] if isinstance(state[0], torch.Tensor) else state[0][0]  # type: ignore[index]
    device, k = first.device, beam_size
    offsets = torch.arange(images, device=device).unsqueeze(1)  # N, 1
    state = reorder(state, offsets.expand(images, k).reshape(-1))
    tokens = torch.full((images * k,), BOS, device=device)
    live = torch.full((images, k), -torch.inf, device=device)
    live[:, 0] = 0.0  # all beams are equal at the start: count one
    live_tokens = torch.full((images, k, max_length), PAD, device=device)
    pool = _Pool(images, k, max_length, device)
    for t in range(max_length):
        logits, state = step(tokens, state)
        words = logits.shape[-1]
        totals = live.unsqueeze(-1) + _log_probs(logits, banned).view(images, k, words)
        best, flat = totals.view(images, -1).topk(min(2 * k, k * words))  # N, 2K: K may end, K must go on
        beam, token = flat // words, flat % words
        ends = token == EOS
        extended = live_tokens.gather(1, beam.unsqueeze(-1).expand(-1, -1, max_length))
        extended[:, :, t] = token
        ended = ends & best.isfinite() & (torch.arange(best.shape[1], device=device) < k)
        pool.add(best, best / (t + 1) ** length_penalty, extended, ended)
        # the best K that go on; their order is kept, as topk sorted them
        goes_on, choice = best.masked_fill(ends, -torch.inf).topk(min(k, best.shape[1]))
        live, chosen = goes_on, beam.gather(1, choice)
        live_tokens = extended.gather(1, choice.unsqueeze(-1).expand(-1, -1, max_length))
        if pool.full() or not live.isfinite().any():
            break
        tokens = token.gather(1, choice).view(-1)
        state = reorder(state, (offsets * k + chosen).view(-1))
    return pool.hypotheses(n_best, live, live / (t + 1) ** length_penalty, live_tokens)


class _Pool:
    """The finished sequences of each image: the K best scores."""

    def __init__(self, images: int, size: int, max_length: int, device: torch.device) -> None:
        self.scores = torch.full((images, size), -torch.inf, device=device)
        self.log_probs = self.scores.clone()
        self.tokens = torch.full((images, size, max_length), PAD, device=device)

    def add(
        self, log_probs: torch.Tensor, scores: torch.Tensor, tokens: torch.Tensor, ended: torch.Tensor
    ) -> None:
        """Offer candidates (N, M), (N, M), (N, M, T); images that are full take no more."""
        takes = ended & ~self.scores.isfinite().all(dim=1, keepdim=True)
        if not takes.any():
            return
        scores = torch.cat([self.scores, scores.masked_fill(~takes, -torch.inf)], dim=1)
        self.scores, kept = scores.topk(self.scores.shape[1])
        self.log_probs = torch.cat([self.log_probs, log_probs], dim=1).gather(1, kept)
        rows = kept.unsqueeze(-1).expand(-1, -1, tokens.shape[-1])
        self.tokens = torch.cat([self.tokens, tokens], dim=1).gather(1, rows)

    def full(self) -> bool:
        """Whether every image has all the finished sequences it can hold."""
        return bool(self.scores.isfinite().all())

    def hypotheses(
        self, n_best: int, live: torch.Tensor, live_scores: torch.Tensor, live_tokens: torch.Tensor
    ) -> list[list[Hypothesis]]:
        """The n best of each image, the unfinished ones after the finished ones."""
        result = []
        done = zip(self.log_probs.tolist(), self.scores.tolist(), self.tokens.tolist(), strict=True)
        going = zip(live.tolist(), live_scores.tolist(), live_tokens.tolist(), strict=True)
        for finished, unfinished in zip(done, going, strict=True):
            ranked = [
                Hypothesis(tuple(i for i in ids if i not in (PAD, EOS)), log_prob, score, is_finished)
                for group, is_finished in ((finished, True), (unfinished, False))
                for log_prob, score, ids in zip(*group, strict=True)
                if score > -torch.inf
            ]
            result.append(ranked[:n_best])
        return result


@torch.inference_mode()
def sample(
    step: Step[S],
    state: S,
    *,
    max_length: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
    banned: Sequence[int] = BANNED,
) -> list[Hypothesis]:
    """Draw one sequence a row; temperature 0 is greedy search.

    Args:
        step: the decoder.
        state: its first state; its rows decide how many sequences come back.
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
    first: torch.Tensor = state[0] if isinstance(state[0], torch.Tensor) else state[0][0]  # type: ignore[index]
    rows, device = first.shape[0], first.device
    tokens = torch.full((rows,), BOS, device=device)
    ended = torch.zeros(rows, dtype=torch.bool, device=device)
    total = torch.zeros(rows, device=device)
    emitted = []
    for _ in range(max_length):
        logits, state = step(tokens, state)
        log_probs = _log_probs(logits, banned)
        if temperature == 0:
            tokens = log_probs.argmax(dim=-1)
        else:
            kept = _truncate((log_probs / temperature).log_softmax(dim=-1), top_k, top_p)
            tokens = torch.multinomial(kept.exp(), 1, generator=generator).squeeze(-1)
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


def _truncate(log_probs: torch.Tensor, top_k: int, top_p: float) -> torch.Tensor:
    """Put the words outside top-k and top-p to -inf."""
    if 0 < top_k < log_probs.shape[-1]:
        floor = log_probs.topk(top_k).values[:, -1:]
        log_probs = log_probs.masked_fill(log_probs < floor, -torch.inf).log_softmax(dim=-1)
    if top_p < 1:
        ranked, order = log_probs.sort(dim=-1, descending=True)
        before = ranked.exp().cumsum(dim=-1) - ranked.exp()  # probability of all likelier words
        outside = torch.zeros_like(before, dtype=torch.bool).scatter(1, order, before >= top_p)
        log_probs = log_probs.masked_fill(outside, -torch.inf)
    return log_probs
