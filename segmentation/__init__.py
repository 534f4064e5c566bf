"""Semantic segmentation: a CNN encoder, RNNs that sweep its feature map, a light decoder."""

from typing import TYPE_CHECKING, Any

from segmentation.segmenter import Segmentation, Segmenter

if TYPE_CHECKING:
    from common.renet import ReNet
    from segmentation.model import SegmentationModel

__all__ = ["ReNet", "Segmentation", "SegmentationModel", "Segmenter"]


def __getattr__(name: str) -> Any:
    """What needs torch, which is imported when it is asked for."""
    if name == "ReNet":
        from common.renet import ReNet

        return ReNet
    if name == "SegmentationModel":
        from segmentation.model import SegmentationModel

        return SegmentationModel
    raise AttributeError(name)
