"""Scores of classified clips. N clips, K classes."""

import torch


def percent(right: torch.Tensor) -> float:
    """Share of what is right x 100, rounded to two digits."""
    return round(100 * float(right.float().mean()), 2)


def top_k(logits: torch.Tensor, truth: torch.Tensor, k: int) -> float:
    """logits (N, K), truth (N,), -1 where the model lacks the class -> percent with it in the first k."""
    ranked = logits.argsort(dim=-1, descending=True)[:, :k]
    return percent((ranked == truth[:, None]).any(dim=1))


def confusion(predicted: torch.Tensor, truth: torch.Tensor, classes: int) -> torch.Tensor:
    """Class ids (N,) -> counts (K, K), rows are the truth, without clips whose class the model lacks."""
    known = truth >= 0
    cells = truth[known] * classes + predicted[known]
    return torch.bincount(cells, minlength=classes * classes).view(classes, classes)
