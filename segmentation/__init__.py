"""Semantic segmentation: a CNN encoder, RNNs that sweep its feature map, a light decoder."""

import common.needs_torch  # noqa: F401
from segmentation.model import SegmentationModel
from segmentation.renet import ReNet
from segmentation.segmenter import Segmentation, Segmenter

__all__ = ["ReNet", "Segmentation", "SegmentationModel", "Segmenter"]
