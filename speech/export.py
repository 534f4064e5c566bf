"""What of a speech recognizer becomes a graph. Notation: N clips, F frames, B bands, T steps, K classes."""

import torch
from torch import nn

from common.export import Traced
from speech.model import SpeechModel

_LENGTHS = ((96, 60, 33), (48, 161), (200, 64, 121, 18))  # frames of clips, padded to the longest


class Reading(nn.Module):
    """frames (N, F, B), lengths (N,) -> log-probabilities (N, T, K)."""

    def __init__(self, model: SpeechModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """See the class."""
        logits, _ = self.model(frames, lengths)
        return logits.log_softmax(dim=-1)


def graphs(model: SpeechModel) -> dict[str, Traced]:
    """The graph of a model, with clips of many lengths to trace and to compare."""
    generator = torch.Generator().manual_seed(0)
    inputs = []
    for lengths in _LENGTHS:
        noise = torch.randn(len(lengths), max(lengths), model.config.bands, generator=generator)
        inputs.append((model.mean + model.spread * noise, torch.tensor(lengths)))
    return {"read": Traced(Reading(model), inputs)}
