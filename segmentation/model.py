"""ReSeg: a CNN encoder, RNNs that sweep its feature map, a light decoder of classes (Visin et al. 2016).

Notation: N images, H x W pixels, C channels, D width of the decoder, K classes, s stride of a map.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, cast

import torch
from torch.nn import functional as F

from common.encoder import Encoder
from common.pretrained import PretrainedModel
from common.pyramid import FINEST, PyramidNetwork
from common.schema import checked
from segmentation.config import Architecture, SegmenterConfig
from segmentation.images import ScenePreprocess


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
        self.network = PyramidNetwork(config, channels, strides, len(self.classes))
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
