"""The speech recognizer: convolutions over the spectrogram, an RNN over time, CTC gives the text.

Deep Speech 2 (Amodei et al. 2016). Notation: N clips, F frames of B bands, T = F / 4 steps, C channels,
D units of the RNN's output, K classes.
"""

from dataclasses import asdict
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn import functional as F

from common.charset import Charset
from common.cli import sizes_of
from common.ctc_model import CtcModel
from common.errors import UsageError
from common.recurrent import RecurrentEncoder
from common.schema import checked
from speech.config import LEFT, RIGHT, STRIDE, Architecture, SpeechConfig

_KERNEL = 5  # of both convolutions, frames and bands


class LookAhead(nn.Module):
    """Each channel's weighted sum over this step and the next ones (Wang et al. 2016, equation 2).

    Args:
        size: D.
        steps: how many next ones.
    """

    def __init__(self, size: int, steps: int) -> None:
        super().__init__()
        weight = 0.05 * torch.randn(size, 1, steps + 1)
        weight[:, :, 0] += 1.0
        self.weight = nn.Parameter(weight)

    def forward(self, outputs: torch.Tensor) -> torch.Tensor:
        """outputs (N, T + steps, D) -> (N, T, D)"""
        return F.conv1d(outputs.transpose(1, 2), self.weight, groups=self.weight.shape[0]).transpose(1, 2)


class SpeechModel(CtcModel):
    """Two convolutions with stride 2, stacked RNN layers, perhaps a look-ahead convolution, CTC's classes.

    The convolutions pad nothing by themselves: `LEFT` and `RIGHT` frames of silence around a clip are all
    that they see besides it. So what stands behind a clip in a batch changes nothing, and a stream gives what
    the whole recording gives.

    Args:
        config: sizes.
        charset: characters that it can spell.
        ngrams: as of `CtcModel`.
    """

    task = "speech"
    pipeline_tag = "automatic-speech-recognition"
    has_graphs = True
    mean: torch.Tensor
    spread: torch.Tensor

    def __init__(self, config: SpeechConfig, charset: Charset, ngrams: int = 0) -> None:
        super().__init__(charset, ngrams)
        self.config = config
        self.register_buffer("mean", torch.zeros(config.bands))
        self.register_buffer("spread", torch.ones(config.bands))
        channels, pad = config.channels, (0, _KERNEL // 2)
        self.convolve = nn.Sequential(
            nn.Conv2d(1, channels, _KERNEL, stride=2, padding=pad, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, _KERNEL, stride=2, padding=pad, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        self.rnn = RecurrentEncoder(
            config.cell,
            channels * -(-config.bands // STRIDE),
            config.hidden_size,
            layers=config.layers,
            bidirectional=not config.unidirectional,
            dropout=config.dropout,
        )
        self.look_ahead: Any = None
        if config.unidirectional:
            self.look_ahead = LookAhead(self.rnn.output_size, config.look_ahead)
        self.dropout = nn.Dropout(config.dropout)
        self.classify = nn.Linear(self.rnn.output_size, len(charset))

    def architecture(self) -> dict[str, Any]:
        """Sizes and alphabet."""
        return {**asdict(self.config), **self.text_architecture()}

    @classmethod
    def from_architecture(cls: "type[M]", values: dict[str, Any]) -> "M":
        """Build with random weights."""
        built: Architecture = checked(Architecture, values, "architecture")
        return cls(sizes_of(SpeechConfig, built), Charset(built.charset), built.ngrams)

    def fit_scale(self, mean: torch.Tensor, spread: torch.Tensor) -> None:
        """Set the mean and the standard deviation (B,) of the training part's spectrograms."""
        self.mean.copy_(mean)
        self.spread.copy_(spread)

    def normalize(self, frames: torch.Tensor) -> torch.Tensor:
        """Spectrograms (N, F, B) with mean 0 and variance 1 over the training part."""
        return (frames - self.mean) / self.spread

    def columns(self, frames: torch.Tensor) -> torch.Tensor:
        """Normalized frames with those around them (N, LEFT + 4 T + RIGHT, B) -> columns (N, T, C * B/4)."""
        maps = self.convolve(frames[:, None])  # N, C, T, B / 4
        return maps.transpose(1, 2).flatten(2)

    def forward(
        self, frames: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """frames (N, F, B), lengths (N,) or None for all F -> logits (N, T, K), steps (N,).

        Frames behind a clip's length change nothing. Arrays are taken as tensors on the CPU.
        """
        frames = torch.as_tensor(frames)
        count = frames.shape[1]
        if lengths is None:
            lengths = torch.full((frames.shape[0],), count, device=frames.device)
        lengths = torch.as_tensor(lengths).to(frames.device)
        inside = torch.arange(count, device=frames.device) < lengths[:, None]  # N, F
        clean = torch.where(inside[..., None], self.normalize(frames), 0.0)
        columns = self.columns(F.pad(clean, (0, 0, LEFT, RIGHT + STRIDE - 1)))  # T is F / 4, rounded up
        steps = (lengths + STRIDE - 1) // STRIDE
        outputs, _ = self.rnn(self.dropout(columns), steps)  # N, T, D; 0 behind a clip's steps
        if self.look_ahead is not None:
            outputs = self.look_ahead(F.pad(outputs, (0, 0, 0, self.config.look_ahead)))
        return self.classify(self.dropout(outputs)), steps

    def stream(self) -> "ModelStream":
        """A recording that is read as it comes. Raises UsageError of a bidirectional model."""
        return ModelStream(self)

    def graphs(self) -> dict[str, Any]:
        """See `PretrainedModel.graphs`."""
        from speech.export import graphs

        return graphs(self)


M = TypeVar("M", bound=SpeechModel)


class ModelStream:
    """The logits of a recording that comes in parts: those of `SpeechModel.forward` over all of it.

    Args:
        model: unidirectional, in eval mode.

    Raises:
        UsageError: it is bidirectional.
    """

    def __init__(self, model: SpeechModel) -> None:
        if not model.config.unidirectional:
            raise UsageError(
                "a stream needs a unidirectional model: train one with --unidirectional; this one reads "
                "recordings from both ends"
            )
        self.model = model
        # frames that the next step's convolutions see again, and outputs that wait for what follows
        self._frames = model.mean.new_zeros(1, LEFT, model.config.bands)
        self._outputs = self._frames.new_zeros(1, 0, model.rnn.output_size)
        self._states: list[Any] = []
        self._count = 0

    @torch.inference_mode()
    def push(self, frames: torch.Tensor) -> torch.Tensor:
        """The next frames (F, B) -> the logits (T, K) that can be known by now."""
        self._count += len(frames)
        return self._push(self.model.normalize(frames[None]))

    @torch.inference_mode()
    def end(self) -> torch.Tensor:
        """The logits (T, K) of what is left."""
        silence = RIGHT + -self._count % STRIDE
        found = self._push(self._frames.new_zeros(1, silence, self._frames.shape[2]))
        ahead = self._outputs.new_zeros(1, self.model.config.look_ahead, self._outputs.shape[2])
        return torch.cat([found, self._look(ahead)])

    def _push(self, normal: torch.Tensor) -> torch.Tensor:
        self._frames = torch.cat([self._frames, normal], dim=1)
        steps = (self._frames.shape[1] - LEFT - RIGHT) // STRIDE
        if steps < 1:
            return self._outputs.new_zeros(0, self.model.classify.out_features)
        columns = self.model.columns(self._frames[:, : LEFT + STRIDE * steps + RIGHT])
        self._frames = self._frames[:, STRIDE * steps :].clone()
        outputs, self._states = self.model.rnn.advance(columns, self._states)
        return self._look(outputs)

    def _look(self, outputs: torch.Tensor) -> torch.Tensor:
        self._outputs = torch.cat([self._outputs, outputs], dim=1)
        steps = self._outputs.shape[1] - self.model.config.look_ahead
        if steps < 1:
            return self._outputs.new_zeros(0, self.model.classify.out_features)
        found = self.model.classify(self.model.look_ahead(self._outputs))[0]
        self._outputs = self._outputs[:, steps:].clone()
        return found
