"""Sizes of a segmentation model; nothing of torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from common.cells import CellKind
from common.schema import Range
from segmentation.images import ScenePreprocess

ContextKind = Literal["renet", "none", "conv", "attention"]


@dataclass(frozen=True)
class SegmenterConfig:
    """Sizes of a segmentation network."""

    stride: int = 32
    """Where the encoder is cut: 8, 16 or 32."""
    context: ContextKind = "renet"
    """renet (RNNs sweep the map), attention, conv, or none (the control)."""
    context_layers: Annotated[int, Range(1, 16)] = 1
    """How many of them."""
    cell: CellKind = "gru"
    """gru, lstm or rnn; of renet."""
    width: Annotated[int, Range(4, 65_536, multiple=4)] = 128
    """Channels of the decoder."""
    dropout: Annotated[float, Range(0, 1)] = 0.1
    """On the map that is classified."""


@dataclass(frozen=True)
class Architecture:
    """What a model's config says of its network."""

    encoder: str
    preprocess: ScenePreprocess
    network: SegmenterConfig
    classes: Annotated[list[str], Range(1)]
    ignore_label: Annotated[int, Range(-1, 65_535)]
