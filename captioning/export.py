"""What of a captioner becomes graphs: the encoder, what the decoder remembers of an image, one step.

Notation: N images, R rows (beams), L grid places, C channels, V words.
"""

from typing import Any

import torch
from torch import nn

from captioning.model import CaptionModel, Memory
from common.export import Looking, Stepping, Traced, sample_images, tensors_of
from common.search import reorder
from common.text import BOS


class Remembering(nn.Module):
    """features (N, L, C) -> the fields of `Memory`, then those of the first state."""

    def __init__(self, model: CaptionModel) -> None:
        super().__init__()
        self.classifier, self.decoder, self.grid = model.classifier, model.decoder, model.encoder.grid

    def forward(self, features: torch.Tensor) -> Any:
        """See the class."""
        memory = self.decoder.remember(self.classifier(features, self.grid))
        return memory, self.decoder.init_state(memory)


def graphs(model: CaptionModel) -> dict[str, Traced]:
    """The graphs of a model, with inputs to trace and to compare."""
    looking, remembering = Looking(model.encoder, model.encoder.places), Remembering(model)
    images = [sample_images(model.encoder.preprocess, count) for count in (2, 1, 3)]
    steps: list[tuple[torch.Tensor, ...]] = []
    with torch.inference_mode():
        features = [looking(each) for each in images]
        for beams, each in zip((2, 1, 3), features, strict=True):
            memory, state = remembering(each)
            rows = torch.arange(each.shape[0]).repeat_interleave(beams)
            tokens = torch.full(rows.shape, BOS)
            inputs = (tokens, *memory, *tensors_of(reorder(state, rows)))
            # the second step: its state is not the same for all rows
            logits, _, after = Stepping(model.decoder, Memory, state)(*inputs)
            steps.append((logits.argmax(dim=-1), *memory, *tensors_of(after)))
    # with fewer places too: whoever asks for the source of a word shows the decoder one place at a time
    tokens, grid, keys, *rest = steps[-1]
    steps[-1] = (tokens, grid[:, :1], keys[:, :1], *rest)
    steps = [tuple(tensor.clone() for tensor in each) for each in steps]
    return {
        "look": Traced(looking, [(each,) for each in images]),
        "remember": Traced(remembering, [(each.clone(),) for each in features]),
        "step": Traced(Stepping(model.decoder, Memory, state), steps),
    }
