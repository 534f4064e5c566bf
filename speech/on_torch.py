"""A speech recognizer on torch, in the form of `speech.on_graphs`.

Notation: N clips, F frames, B bands, T steps, K classes.
"""

import copy

import numpy as np
import torch

from speech.model import SpeechModel


class OnTorch:
    """A model on a device at a precision.

    Args:
        model: from training or `from_pretrained`.
        device: where it runs.
        dtype: in which it computes.
    """

    def __init__(self, model: SpeechModel, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.network = copy.deepcopy(model).to(device, dtype)

    @torch.inference_mode()
    def log_probs(self, frames: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """frames (N, F, B), lengths (N,) -> log-probabilities (N, T, K), steps (N,)."""
        clips = torch.from_numpy(frames).to(self.device, self.dtype)
        logits, steps = self.network(clips, torch.from_numpy(lengths).to(self.device))
        return logits.float().log_softmax(-1).cpu().numpy(), steps.cpu().numpy()


class StreamOnTorch:
    """A recording that is read as it comes.

    Args:
        whole: the model. Raises UsageError where it is bidirectional.
    """

    def __init__(self, whole: OnTorch) -> None:
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
