"""Speech recognition: a CNN over the spectrogram, an RNN over time, CTC aligns."""

from typing import TYPE_CHECKING, Any

from speech.transcriber import Transcriber, Transcript, Word

if TYPE_CHECKING:
    from speech.model import SpeechModel

__all__ = ["SpeechModel", "Transcriber", "Transcript", "Word"]


def __getattr__(name: str) -> Any:
    """The model of torch, which is imported when it is asked for."""
    if name == "SpeechModel":
        from speech.model import SpeechModel

        return SpeechModel
    raise AttributeError(name)
