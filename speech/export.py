"""What of a speech recognizer becomes a graph."""

import torch

from common.ctc_on_torch import Reading
from common.export import Traced
from speech.model import SpeechModel

_LENGTHS = ((96, 60, 33), (48, 161), (200, 64, 121, 18))  # frames of clips, padded to the longest


def graphs(model: SpeechModel) -> dict[str, Traced]:
    """The graph of a model, with clips of many lengths to trace and to compare."""
    generator = torch.Generator().manual_seed(0)
    inputs = []
    for lengths in _LENGTHS:
        noise = torch.randn(len(lengths), max(lengths), model.config.bands, generator=generator)
        inputs.append((model.mean + model.spread * noise, torch.tensor(lengths)))
    return {"read": Traced(Reading(model), inputs)}
