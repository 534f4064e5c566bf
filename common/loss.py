"""Cross entropy over a large vocabulary without the logits of all words at once; CTC.

Notation: P words to predict, E embedding size, V words of the vocabulary, S words that may be copied.
"""

from typing import Any

import torch
from torch.nn import functional as F

from common.charset import BLANK

_ROWS = 512  # words to predict at a time: their logits stay in the cache of a CPU


def output_loss(
    output: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    targets: torch.Tensor,
    *,
    copied: torch.Tensor | None = None,
    words: torch.Tensor | None = None,
    smoothing: float = 0.0,
    advantage: torch.Tensor | None = None,
) -> torch.Tensor:
    """Sum over P words of the cross entropy with label smoothing (Szegedy et al. 2016).

    Equal to `F.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)` with `logits =
    output weight' + bias`, to which `copied` is added at `words`. The gradient is computed together with the
    loss, some rows at a time, so that logits are made once and never kept.

    Args:
        output: (P, E).
        weight: (V, E).
        bias: (V,).
        targets: (P,) numbers below V.
        copied: (P, S); None is without.
        words: (P, S) numbers below V.
        smoothing: probability that is spread over all words.
        advantage: (P,) factor of each word's loss; None is 1.
    """
    factor = torch.ones(len(targets), device=output.device) if advantage is None else advantage
    if copied is None or words is None:
        copied, words = output[:, :0], targets.new_zeros(len(targets), 0)
    return _OutputLoss.apply(output, weight, bias, copied, targets, words, factor, smoothing)


class _OutputLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        output: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        copied: torch.Tensor,
        targets: torch.Tensor,
        words: torch.Tensor,
        factor: torch.Tensor,
        smoothing: float,
    ) -> torch.Tensor:
        device = output.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else output.dtype
        ctx.types = output.dtype, copied.dtype
        low_weight, low_output = weight.to(dtype), output.to(dtype)
        with torch.autocast(device, enabled=False):
            loss = output.new_zeros((), dtype=torch.float32)
            d_output = torch.empty_like(low_output)
            d_weight = torch.zeros_like(weight)
            d_bias = torch.zeros_like(bias)
            d_copied = torch.empty_like(copied, dtype=torch.float32)
            for start in range(0, len(output), _ROWS):
                rows = slice(start, start + _ROWS)
                logits = F.linear(low_output[rows], low_weight).float().add_(bias)
                logits.scatter_add_(1, words[rows], copied[rows].float())
                chosen = targets[rows, None]
                level = logits.logsumexp(dim=1)
                each = level - (1 - smoothing) * logits.gather(1, chosen)[:, 0]
                if smoothing:
                    each -= smoothing * logits.mean(dim=1)
                loss += each @ factor[rows]
                slope = logits.sub_(level[:, None]).exp_()  # P, V: the softmax, then the gradient
                if smoothing:
                    slope -= smoothing / slope.shape[1]
                slope.scatter_add_(1, chosen, slope.new_full(chosen.shape, smoothing - 1))
                slope *= factor[rows, None]
                d_bias += slope.sum(dim=0)
                d_copied[rows] = slope.gather(1, words[rows])
                low = slope.to(dtype)
                d_output[rows] = low @ low_weight
                d_weight += low.T @ low_output[rows]
        ctx.save_for_backward(d_output, d_weight, d_bias, d_copied)
        return loss

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor) -> Any:
        d_output, d_weight, d_bias, d_copied = ctx.saved_tensors
        output_type, copied_type = ctx.types
        return (
            (d_output * scale).to(output_type),
            d_weight * scale,
            d_bias * scale,
            (d_copied * scale).to(copied_type),
            None,
            None,
            None,
            None,
        )


def ctc_loss(
    log_probs: torch.Tensor, steps: torch.Tensor, targets: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """CTC (Graves et al. 2006), summed over the rows; a row with too few steps for its text counts 0.

    Args:
        log_probs: (N, T, K), class 0 is the blank.
        steps: (N,) of T.
        targets: classes of all texts, one after the other.
        lengths: (N,) characters of each text.
    """
    return F.ctc_loss(
        log_probs.transpose(0, 1), targets, steps, lengths, blank=BLANK, reduction="sum", zero_infinity=True
    )
