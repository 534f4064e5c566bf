"""Semantic segmentation: a CNN encoder, RNNs that sweep its feature map, a light decoder."""

from segmentation.model import SegmentationModel
from segmentation.renet import ReNet
from segmentation.segmenter import Segmentation, Segmenter

__all__ = ["ReNet", "Segmentation", "SegmentationModel", "Segmenter"]
