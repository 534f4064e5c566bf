"""Sizes of a speech recognizer; nothing of torch."""

from dataclasses import dataclass
from typing import Annotated

from common.cells import CellKind
from common.schema import Range

STRIDE = 4
"""Frames of the spectrogram for one step of the RNN, 40 ms."""
LEFT, RIGHT = 4, 5
"""Frames that the convolutions see before the first and behind the last one of a clip: silence."""


@dataclass(frozen=True)
class SpeechConfig:
    """Sizes of a speech recognizer."""

    sample_rate: Annotated[int, Range(4000, 48_000)] = 16_000
    """Samples a second to which all sound is converted."""
    bands: Annotated[int, Range(8, 512)] = 80
    """Bands of the mel scale."""
    channels: Annotated[int, Range(1, 4096)] = 32
    """Of each of the two convolutions."""
    cell: CellKind = "lstm"
    """lstm, gru or rnn."""
    hidden_size: Annotated[int, Range(1, 65_536)] = 256
    """Units of the RNN in each direction."""
    layers: Annotated[int, Range(1, 16)] = 3
    """Stacked RNN layers."""
    dropout: Annotated[float, Range(0, 1)] = 0.2
    """Before, between and after the RNN layers."""
    unidirectional: bool = False
    """The RNN reads forwards alone, for streams; a look-ahead convolution (Wang et al. 2016) follows it."""
    look_ahead: Annotated[int, Range(0, 500)] = 20
    """Steps of 40 ms that this convolution sees ahead, which is the delay of a stream."""


@dataclass(frozen=True)
class Architecture(SpeechConfig):
    """What a model's config says of its network."""

    charset: Annotated[str, Range(1)] = " "
    ngrams: Annotated[int, Range(0, 10**8)] = 0
