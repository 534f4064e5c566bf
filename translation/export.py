"""What of a translator becomes graphs: what it remembers of sentences, one step of the decoder.

Notation: N sentences, S subwords of a sentence, R rows (beams), V subwords of the target language.
"""

from typing import Any

import torch
from torch import nn

from common.export import Stepping, Traced, tensors_of
from common.search import reorder
from common.text import BOS, PAD, SPECIAL_TOKENS
from translation.model import Memory, TranslationModel

_LENGTHS = ((6, 3), (1,), (2, 11, 7))  # subwords of sentences, padded to the longest


class Remembering(nn.Module):
    """source (N, S) -> the fields of `Memory`, then those of the first state."""

    def __init__(self, model: TranslationModel) -> None:
        super().__init__()
        self.network = model.network

    def forward(self, source: torch.Tensor) -> Any:
        """See the class."""
        memory = self.network.remember(source)
        return memory, self.network.init_state(memory)


def graphs(model: TranslationModel) -> dict[str, Traced]:
    """The graphs of a model, with sentences to trace and to compare."""
    remembering, generator = Remembering(model), torch.Generator().manual_seed(0)
    sources, steps = [], []
    with torch.inference_mode():
        for beams, lengths in zip((2, 1, 3), _LENGTHS, strict=True):
            source = torch.full((len(lengths), max(lengths)), PAD)
            for row, length in zip(source, lengths, strict=True):
                row[:length] = torch.randint(
                    len(SPECIAL_TOKENS), model.sizes[0], (length,), generator=generator
                )
            sources.append((source,))
            memory, state = remembering(source)
            rows = torch.arange(len(source)).repeat_interleave(beams)
            inputs = (torch.full(rows.shape, BOS), *memory, *tensors_of(reorder(state, rows)))
            # the second step: its state is not the same for all rows
            logits, _, after = Stepping(model.network, Memory, state)(*inputs)
            steps.append((logits.argmax(dim=-1), *memory, *tensors_of(after)))
    return {
        "remember": Traced(remembering, [tuple(tensor.clone() for tensor in each) for each in sources]),
        "step": Traced(
            Stepping(model.network, Memory, state),
            [tuple(tensor.clone() for tensor in each) for each in steps],
        ),
    }
