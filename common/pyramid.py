"""Maps of an encoder at several strides -> values for each place of the finest, and the context layers.

Notation: N images, H x W pixels, C channels, D width of the decoder, K outputs, s stride of a map.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from common.pyramid_sizes import PyramidConfig
from common.renet import ReNet

FINEST = 4
"""Stride of the map on which values are predicted; the encoder's finer maps are not used."""
CONTEXT_STRIDE = 16
"""Stride of the map that the context layers read, or the encoder's own where it is cut earlier."""


class SelfAttention(nn.Module):
    """One transformer layer over all places (Vaswani et al. 2017), with sines of both coordinates added.

    Its feed-forward part is sized so that the layer has as many weights as a ReNet of GRUs: 9 D^2.

    Args:
        width: D; a multiple of 4.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        heads = math.gcd(4, width)
        self.layer = nn.TransformerEncoderLayer(
            width, heads, 5 * width // 2, dropout=0.0, batch_first=True, norm_first=True
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """maps (N, D, H, W) -> (N, D, H, W)."""
        tokens = (maps + _sines(maps)).flatten(2).transpose(1, 2)  # N, D, H, W -> N, H*W, D
        return self.layer(tokens).transpose(1, 2).unflatten(2, maps.shape[2:])


def _sines(maps: torch.Tensor) -> torch.Tensor:
    """Sines and cosines of row and column (Vaswani et al. 2017, section 3.5), (1, D, H, W)."""
    quarter = maps.shape[1] // 4
    pace = torch.exp(torch.arange(quarter, device=maps.device) * (-math.log(10_000) / quarter))
    parts = []
    for axis in (2, 3):
        angles = pace[:, None] * torch.arange(maps.shape[axis], device=maps.device)  # D/4, places
        shape = (quarter, -1, 1) if axis == 2 else (quarter, 1, -1)
        parts += [part.view(shape).expand(-1, *maps.shape[2:]) for part in (angles.sin(), angles.cos())]
    return torch.cat(parts)[None].to(maps.dtype)


class Context(nn.Module):
    """Layers that exchange information between places of the map, each as x + layer(x).

    `renet` sweeps the map, `attention` compares all pairs of places, `conv` sees 3 x 3 places, each with
    about 9 D^2 weights; `none` is the control and leaves the map as it is.

    Args:
        config: kind, number of layers, cell, D.
    """

    def __init__(self, config: PyramidConfig) -> None:
        super().__init__()
        width = config.width
        makers: dict[str, Any] = {
            "renet": lambda: ReNet(width, width // 2, cell=config.cell),
            "attention": lambda: SelfAttention(width),
            "conv": lambda: nn.Conv2d(width, width, 3, padding=1),
        }
        layers = 0 if config.context == "none" else config.context_layers
        self.layers = nn.ModuleList(makers[config.context]() for _ in range(layers))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """maps (N, D, H, W) -> (N, D, H, W)."""
        for layer in self.layers:
            maps = maps + layer(maps)
        return maps


class PyramidNetwork(nn.Module):
    """Maps of an encoder, finest first -> logits at the stride of the finest.

    From the coarsest map upwards, each is projected to D channels, the coarser one is added to it (Lin et al.
    2017, "Feature pyramid networks") and a depthwise-separable convolution smooths the sum. The context
    layers read the sum at stride `CONTEXT_STRIDE`, or the coarsest map where the encoder is cut before it.

    Args:
        config: sizes.
        channels: of the encoder's maps, finest first.
        strides: likewise.
        outputs: K.
    """

    def __init__(
        self, config: PyramidConfig, channels: Sequence[int], strides: Sequence[int], outputs: int
    ) -> None:
        super().__init__()
        width = config.width
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.smooth = nn.ModuleList(_smoothing(width) for _ in channels)
        self.context = Context(config)
        self.context_level = list(strides).index(min(CONTEXT_STRIDE, strides[-1]))
        self.dropout = nn.Dropout2d(config.dropout)
        self.classify = nn.Conv2d(width, outputs, 1)

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """maps [(N, C_i, H / s_i, W / s_i)] -> logits (N, K, H / s_0, W / s_0)."""
        coarser: torch.Tensor | None = None
        for level in reversed(range(len(maps))):
            merged = self.lateral[level](maps[level])  # N, C_i, h, w -> N, D, h, w
            if coarser is not None:
                merged = merged + F.interpolate(
                    coarser, merged.shape[2:], mode="bilinear", align_corners=False
                )
            if level == self.context_level:
                merged = self.context(merged)
            coarser = self.smooth[level](merged)
        assert coarser is not None
        return self.classify(self.dropout(coarser))


def _smoothing(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
        nn.Conv2d(width, width, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )
