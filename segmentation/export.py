"""What of a segmentation model becomes a graph. Notation: N images, H x W pixels, K classes."""

import torch
from torch import nn

from common.export import Traced, sample_images
from common.images import Preprocess
from segmentation.model import SegmentationModel


class Classifying(nn.Module):
    """images (N, H, W, 3) -> logits (N, K, H / 4, W / 4)."""

    def __init__(self, model: SegmentationModel) -> None:
        super().__init__()
        # not the encoder itself: a trace asks each module for all that it has, and a cut one has no `grid`
        self.backbone, self.maps = model.encoder.backbone, model.encoder.maps
        self.network = model.network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.network(self.maps(images.permute(0, 3, 1, 2)))


def graphs(model: SegmentationModel) -> dict[str, Traced]:
    """The graph of a model, with images of three shapes: no side need be a multiple of a stride."""
    own, inputs = model.preprocess, []
    for count, height, width in (
        (2, own.height, own.width),
        (1, own.width + 1, own.height + 13),
        (3, own.height // 2 + 5, own.width // 2 + 3),
    ):
        plain = Preprocess(**{**vars(own), "height": height, "width": width})
        inputs.append((sample_images(plain, count),))
    return {"classify": Traced(Classifying(model), inputs)}
