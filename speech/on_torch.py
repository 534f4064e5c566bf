"""A stream of speech on torch. Notation: F frames, B bands, T steps, K classes."""

import numpy as np
import torch

from common.ctc_on_torch import CtcOnTorch


class StreamOnTorch:
    """A recording that is read as it comes.

    Args:
        whole: the model. Raises UsageError where it is bidirectional.
    """

    def __init__(self, whole: CtcOnTorch) -> None:
        self._device, self._dtype = whole.device, whole.dtype
        self._stream = whole.network.stream()

    def push(self, frames: np.ndarray) -> np.ndarray:
        """The next frames (F, B) -> the log-probabilities (T, K) that can be known by now."""
        return self._plain(self._stream.push(torch.from_numpy(frames).to(self._device, self._dtype)))

    def end(self) -> np.ndarray:
        """Those of what is left."""
        return self._plain(self._stream.end())

    @staticmethod
    def _plain(logits: torch.Tensor) -> np.ndarray:
        found: np.ndarray = logits.float().log_softmax(-1).cpu().numpy()
        return found
