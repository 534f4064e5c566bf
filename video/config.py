"""Sizes of an action classifier; nothing of torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from common.images import Preprocess
from common.schema import Range
from video.images import Crop, StreamKind

HeadKind = Literal["mean", "rnn", "lstm", "gru", "convlstm"]
Pool = Literal["last", "mean", "attention"]
Fusion = Literal["late", "early"]
Places = Literal["grid", "mean"]


@dataclass(frozen=True)
class ClipConfig:
    """Sizes of an action classifier."""

    streams: Annotated[tuple[StreamKind, ...], Range(1, 3)] = ("appearance", "difference")
    """Inputs of the encoder: appearance (frames), difference (to the frame before), flow (optical)."""
    frames: Annotated[int, Range(1, 1024)] = 24
    """Frames of a clip that the network sees."""
    crop: Crop = "none"
    """none, or content: the square around all that is not black in the clip, for depth cameras."""
    head: HeadKind = "gru"
    """mean (no order: the control), rnn, lstm, gru, convlstm."""
    bidirectional: bool = True
    """Also run the RNN from the end."""
    pool: Pool = "attention"
    """How an RNN's outputs become one: last, mean, attention."""
    fusion: Fusion = "late"
    """late (a head for each stream, which learns by itself; their mean answers) or early (features side by
    side)."""
    places: Places = "grid"
    """grid (where in the frame something is counts) or mean (few weights, for few clips)."""
    strides: Annotated[tuple[int, ...], Range(0, 2)] = ()
    """Maps of the encoder that are read, by the pixels of its input for one step on them: 16 is one of finer
    places, which spares the layers behind it, 16 32 the first and the last and those between, each with heads
    of its own. None: what the encoder ends with."""
    place_size: Annotated[int, Range(1, 65_536)] = 64
    """Units of a place of the feature map."""
    hidden_size: Annotated[int, Range(1, 65_536)] = 256
    """Units of the RNN in each direction."""
    dropout: Annotated[float, Range(0, 1)] = 0.5
    """On places, frames and output."""


@dataclass(frozen=True)
class Architecture:
    """What a model's config says of its network."""

    encoder: str
    preprocess: Preprocess
    network: ClipConfig
    labels: Annotated[list[str], Range(1)]
    clip_seconds: Annotated[float, Range(0.01, 3600)]
