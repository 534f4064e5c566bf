"""What of an answerer becomes graphs: what it keeps of images, and the answers to questions about them.

Notation: N images, Q questions, T words, L grid places, C channels.
"""

from typing import Any

import torch
from torch import nn

from common.export import Looking, Traced, rebuilt, sample_images, tensors_of
from common.search import reorder
from vqa.model import ImageMemory, VqaModel

_LENGTHS = ((5, 3), (1,), (2, 7, 4))  # words of questions, padded to the longest


class Remembering(nn.Module):
    """images (N, H, W, 3) -> the fields of `ImageMemory`."""

    def __init__(self, model: VqaModel) -> None:
        super().__init__()
        # one that looks at nothing only counts the images
        self.looking = Looking(model.encoder, model.encoder.places) if model.looks else nn.Identity()
        self.network = model.network

    def forward(self, images: torch.Tensor) -> Any:
        """See the class."""
        return self.network.remember(self.looking(images))


class Answering(nn.Module):
    """tokens (Q, T), lengths (Q,), a memory of Q images -> logits (Q, A), attention (Q, H, L)."""

    def __init__(self, model: VqaModel, memory: ImageMemory) -> None:
        super().__init__()
        self.network, self.memory = model.network, memory

    def forward(self, tokens: torch.Tensor, lengths: torch.Tensor, *fields: torch.Tensor) -> Any:
        """See the class."""
        return self.network.answer(rebuilt(self.memory, iter(fields)), tokens, lengths)


def graphs(model: VqaModel) -> dict[str, Traced]:
    """The graphs of a model, with images and questions to trace and to compare."""
    remembering = Remembering(model)
    generator, words = torch.Generator().manual_seed(0), len(model.vocabulary)
    images = [sample_images(model.encoder.preprocess, count) for count in (2, 1, 3)]
    questions = []
    with torch.inference_mode():
        for each, lengths in zip(images, _LENGTHS, strict=True):
            memory = remembering(each)
            tokens = torch.randint(words, (len(lengths), max(lengths)), generator=generator)
            rows = torch.arange(len(lengths)) % each.shape[0]
            fields = [tensor.clone() for tensor in tensors_of(reorder(memory, rows))]
            questions.append((tokens, torch.tensor(lengths), *fields))
    return {
        "remember": Traced(remembering, [(each,) for each in images]),
        "answer": Traced(Answering(model, memory), questions),
    }
