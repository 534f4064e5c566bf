"""Image captioning: a CNN encoder and an RNN that tells what it sees."""

from typing import TYPE_CHECKING, Any

from captioning.captioner import Caption, Captioner

if TYPE_CHECKING:
    from captioning.model import CaptionModel

__all__ = ["Caption", "CaptionModel", "Captioner"]


def __getattr__(name: str) -> Any:
    """The model of torch, which is imported when it is asked for."""
    if name == "CaptionModel":
        from captioning.model import CaptionModel

        return CaptionModel
    raise AttributeError(name)
