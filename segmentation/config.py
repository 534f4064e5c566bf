"""Sizes of a segmentation model; nothing of torch."""

from dataclasses import dataclass
from typing import Annotated

from common.pyramid_sizes import PyramidConfig
from common.schema import Range
from segmentation.images import ScenePreprocess


@dataclass(frozen=True)
class SegmenterConfig(PyramidConfig):
    """Sizes of a segmentation network."""


@dataclass(frozen=True)
class Architecture:
    """What a model's config says of its network."""

    encoder: str
    preprocess: ScenePreprocess
    network: SegmenterConfig
    classes: Annotated[list[str], Range(1)]
    ignore_label: Annotated[int, Range(-1, 65_535)]
