"""Soft attention over the places of a grid or of a sentence: additive (Bahdanau) or multiplicative (Luong).

Notation: N images, K rows an image (captions or beams), L grid places, D query size, C channels, A units.
"""

import torch
from torch import nn


class _Attention(nn.Module):
    """What both scores share: keys of the grid, queries, weights and context.

    Several rows may look at the same image: the grid is kept once an image and never repeated.

    Args:
        grid_size: C.
        query_size: D.
        attention_size: A.
    """

    def __init__(self, grid_size: int, query_size: int, attention_size: int) -> None:
        super().__init__()
        self.key = nn.Linear(grid_size, attention_size)
        self.query = nn.Linear(query_size, attention_size, bias=False)

    def keys(self, grid: torch.Tensor) -> torch.Tensor:
        """The grid's part of the score, computed once an image: (N, L, C) -> (N, L, A)."""
        return self.key(grid)

    def scores(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """queries (N, K, A), keys (N, L, A) -> scores (N, K, L)."""
        raise NotImplementedError

    def forward(
        self,
        query: torch.Tensor,
        grid: torch.Tensor,
        keys: torch.Tensor,
        real: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """query (N*K, D), grid (N, L, C), keys (N, L, A) -> context (N*K, C), weights (N*K, L).

        Where `real` (N, L) is False there is padding, which gets no weight; None is without padding.
        """
        queries = self.query(query).unflatten(0, (grid.shape[0], -1))  # N*K, A -> N, K, A
        scores = self.scores(queries, keys).float()
        if real is not None:
            scores = scores.masked_fill(~real[:, None], -torch.inf)
        weights = scores.softmax(dim=-1)
        context = torch.bmm(weights.to(grid.dtype), grid)  # N, K, L x N, L, C -> N, K, C
        return context.flatten(0, 1), weights.flatten(0, 1)


class AdditiveAttention(_Attention):
    """Soft attention of Bahdanau et al. 2015, as Xu et al. 2015 (eqs. 4, 5 and 13) use it over a picture.

    score = v' tanh(W_g g + W_q q), weights = softmax over the L places, context = weighted mean of the grid.

    Args:
        grid_size: C.
        query_size: D.
        attention_size: A.
    """

    def __init__(self, grid_size: int, query_size: int, attention_size: int) -> None:
        super().__init__(grid_size, query_size, attention_size)
        self.score = nn.Linear(attention_size, 1, bias=False)

    def keys(self, grid: torch.Tensor) -> torch.Tensor:
        """See `_Attention.keys`; fp32, as a CPU takes three times as long for tanh in bf16."""
        return super().keys(grid).float()

    def scores(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """See `_Attention.scores`."""
        mixed = (keys.unsqueeze(1) + queries.float().unsqueeze(2)).tanh_()  # N, K, L, A
        return torch.matmul(mixed, self.score.weight[0].to(mixed.dtype))


class DotAttention(_Attention):
    """Multiplicative attention (Luong et al. 2015, "general"), scaled (Vaswani et al. 2017, eq. 1).

    score = (W_q q) . (W_g g) / sqrt(A). A matrix product, several times as fast as the additive score.
    Without the scale the softmax of an untrained network takes one place alone, and hardly learns another.
    """

    def scores(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """See `_Attention.scores`."""
        scale = keys.shape[-1] ** -0.5
        return torch.bmm(queries * scale, keys.to(queries.dtype).transpose(1, 2))
