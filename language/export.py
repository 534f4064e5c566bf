"""What of a language model becomes a graph. Notation: R streams, T units, V codes."""

from typing import Any

import torch
from torch import nn

from common.export import Traced, rebuilt, tensors_of
from language.model import LanguageModel


class Advancing(nn.Module):
    """codes (R, T), the fields of the state before them -> logits (R, T, V), those of the state after."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model, self.state = model, tuple(model.start(1))

    def forward(self, codes: torch.Tensor, *fields: torch.Tensor) -> Any:
        """See the class."""
        return self.model(codes, list(rebuilt(self.state, iter(fields))))


def graphs(model: LanguageModel) -> dict[str, Traced]:
    """The graph of a model, with codes to trace and to compare; a state as what it read before left it."""
    generator, inputs = torch.Generator().manual_seed(0), []
    with torch.inference_mode():
        for rows, steps in ((2, 5), (1, 1), (3, 40)):
            codes = torch.randint(len(model.alphabet), (rows, steps + 3), generator=generator)
            _, state = model(codes[:, :3])
            inputs.append((codes[:, 3:].clone(), *(tensor.clone() for tensor in tensors_of(state))))
    return {"advance": Traced(Advancing(model), inputs)}
