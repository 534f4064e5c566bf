"""What the classes that users call have in common where a model ends in CTC.

Notation: N inputs, T steps, K classes.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from common.charset import Charset
from common.engine import GraphModel
from common.ngrams import stored_ngrams
from common.predictor import M, Predictor
from common.schema import checked

if TYPE_CHECKING:
    from common.ctc_on_torch import CtcOnTorch


_MULTIPLE = 64
"""Batches are padded to such lengths, as the engine compiles what it runs for each new shape."""


class CtcOnGraphs(GraphModel):
    """The graph of a model that ends in CTC, and what its config says of it.

    Subclasses set `task`, `sizes`, the dataclass of its architecture, `axis`, along which inputs are long,
    and `stride`, how long a step is.
    """

    names = ("read",)
    sizes: ClassVar[type[Any]]
    axis: ClassVar[int]
    stride: ClassVar[int]

    def describe(self, facts: Mapping[str, Any], weights: bytes) -> None:
        """See `GraphModel.describe`."""
        self.config: Any = checked(self.sizes, self.architecture, "architecture")
        self.charset = Charset(self.config.charset)
        self.language_model = stored_ngrams(self.charset, self.config.ngrams, weights)

    def log_probs(self, inputs: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """inputs, N of them, their lengths (N,) -> log-probabilities (N, T, K), steps (N,)."""
        more = -len(inputs) % _rows(len(inputs))
        pads = [(0, more), *[(0, 0)] * (inputs.ndim - 1)]
        pads[self.axis] = 0, -inputs.shape[self.axis] % _MULTIPLE
        found = self.graphs["read"](np.pad(inputs, pads), np.pad(lengths, (0, more), "edge"))[0]
        return found[: len(inputs)], -(-lengths // self.stride)


def _rows(count: int) -> int:
    """Of what the rows of a batch are made a multiple: few rows are not made many."""
    return min(8, 1 << (count - 1).bit_length())


class CtcPredictor(Predictor[M]):
    """A `Predictor` whose model ends in CTC; `in_one_form` of it has `log_probs`."""

    def on_torch(self, model: Any) -> "CtcOnTorch":
        """See `Predictor.on_torch`."""
        from common.ctc_on_torch import CtcOnTorch

        return CtcOnTorch(model, self.device, self.dtype)
