"""Sampling and greedy search on torch, for training: nothing leaves the device before the end.

Whoever uses a model samples with `common.search.sample`.
"""

from collections.abc import Callable
from typing import TypeVar

import torch

from common.search import BANNED, Hypothesis, drawn_sequences
from common.text import BOS, EOS, PAD

S = TypeVar("S")
M = TypeVar("M")
TorchStep = Callable[[torch.Tensor, S, M], tuple[torch.Tensor, S]]
Choose = Callable[[torch.Tensor], torch.Tensor]


@torch.inference_mode()
def draw(
    step: TorchStep[S, M], state: S, memory: M, *, max_length: int, choose: Choose | None = None
) -> list[Hypothesis]:
    """One sequence a row: the likeliest word at each step, or the one that is chosen.

    Args:
        step: the decoder, as in `common.search`.
        state: its first state, (nested) tuples of tensors; its rows decide how many sequences come back.
        memory: what it keeps of each image.
        max_length: most tokens of a sequence, its end included.
        choose: chooses a word a row from probabilities (R, V) -> (R,), e.g. at random; None takes the
            likeliest.
    """
    first = _first_tensor(state)
    rows, device = first.shape[0], first.device
    tokens = torch.full((rows,), BOS, device=device)
    ended = torch.zeros(rows, dtype=torch.bool, device=device)
    total = torch.zeros(rows, device=device)
    emitted = []
    for _ in range(max_length):
        logits, state = step(tokens, state, memory)
        logits = logits.float()
        logits[:, list(BANNED)] = -torch.inf
        log_probs = logits.log_softmax(dim=-1)
        tokens = log_probs.argmax(dim=-1) if choose is None else choose(log_probs.exp())
        drawn = log_probs.gather(1, tokens.unsqueeze(1)).squeeze(1)
        total += drawn.masked_fill(ended, 0.0)
        emitted.append(tokens.masked_fill(ended, PAD))
        ended |= tokens == EOS
        if ended.all():
            break
    return drawn_sequences(torch.stack(emitted, dim=1).tolist(), total.tolist(), ended.tolist())


def _first_tensor(state: object) -> torch.Tensor:
    while not isinstance(state, torch.Tensor):
        state = state[0]  # type: ignore[index]
    return state
