"""ReSeg: a CNN encoder, RNNs that sweep its feature map, a light decoder of classes (Visin et al. 2016).

Notation: N images, H x W pixels, C channels, D width of the decoder, K classes, s stride of a map.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from common.encoder import Encoder
from common.pretrained import PretrainedModel
from common.schema import checked
from segmentation.config import Architecture, SegmenterConfig
from segmentation.images import ScenePreprocess
from segmentation.renet import ReNet

FINEST = 4
"""Stride of the map on which classes are predicted; the encoder's finer maps are not used."""
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

    def __init__(self, config: SegmenterConfig) -> None:
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


class SegmentationNetwork(nn.Module):
    """Maps of an encoder, finest first -> logits at the stride of the finest.

    From the coarsest map upwards, each is projected to D channels, the coarser one is added to it (Lin et al.
    2017, "Feature pyramid networks") and a depthwise-separable convolution smooths the sum. The context
    layers read the sum at stride `CONTEXT_STRIDE`, or the coarsest map where the encoder is cut before it.

    Args:
        config: sizes.
        channels: of the encoder's maps, finest first.
        strides: likewise.
        classes: K.
    """

    def __init__(
        self, config: SegmenterConfig, channels: Sequence[int], strides: Sequence[int], classes: int
    ) -> None:
        super().__init__()
        width = config.width
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.smooth = nn.ModuleList(_smoothing(width) for _ in channels)
        self.context = Context(config)
        self.context_level = list(strides).index(min(CONTEXT_STRIDE, strides[-1]))
        self.dropout = nn.Dropout2d(config.dropout)
        self.classify = nn.Conv2d(width, classes, 1)

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


class SegmentationModel(PretrainedModel):
    """An encoder cut at a stride, a network over its maps, and the names of the classes.

    Args:
        encoder: its layers after the cut are removed.
        config: sizes of the network.
        classes: names of the K classes.
        ignore_label: class id in label images that counts for nothing.

    Raises:
        UsageError: the encoder has no maps at these strides.
    """

    task = "segmentation"
    pipeline_tag = "image-segmentation"
    has_graphs = True

    def __init__(
        self, encoder: Encoder, config: SegmenterConfig, classes: Sequence[str], ignore_label: int
    ) -> None:
        super().__init__()
        self.encoder: Encoder = encoder
        encoder.preprocess = ScenePreprocess(**vars(encoder.preprocess))
        self.config, self.classes, self.ignore_label = config, list(classes), ignore_label
        channels, strides = encoder.cut(FINEST, config.stride)
        self.network = SegmentationNetwork(config, channels, strides, len(self.classes))
        self.to(memory_format=torch.channels_last)

    @property
    def preprocess(self) -> ScenePreprocess:
        """The preprocessing of each image, in training and in use."""
        return cast(ScenePreprocess, self.encoder.preprocess)

    def architecture(self) -> dict[str, Any]:
        """Sizes, preprocessing and classes."""
        return {
            "encoder": self.encoder.name,
            "preprocess": self.encoder.preprocess.to_dict(),
            "network": asdict(self.config),
            "classes": self.classes,
            "ignore_label": self.ignore_label,
        }

    @classmethod
    def from_architecture(cls, values: dict[str, Any]) -> "SegmentationModel":
        """Build with random weights."""
        built: Architecture = checked(Architecture, values, "architecture")
        encoder = Encoder(built.encoder).with_preprocess(built.preprocess)
        return cls(encoder, built.network, built.classes, built.ignore_label)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """images (N, 3, H, W), any size -> logits (N, K, H / 4, W / 4), rounded up."""
        return self.network(self.encoder.maps(images))

    def graphs(self) -> dict[str, Any]:
        """See `PretrainedModel.graphs`."""
        from segmentation.export import graphs

        return graphs(self)


def upsample(logits: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """logits (N, K, h, w) -> (N, K, height, width), bilinear."""
    return F.interpolate(logits.float(), (height, width), mode="bilinear", align_corners=False)
