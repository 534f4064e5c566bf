"""Action classification: a CNN sees the frames, an RNN reads what changes between them."""

from typing import TYPE_CHECKING, Any

from video.classifier import Action, ActionClassifier, Segment, Window, segments

if TYPE_CHECKING:
    from video.model import VideoModel

__all__ = ["Action", "ActionClassifier", "Segment", "VideoModel", "Window", "segments"]


def __getattr__(name: str) -> Any:
    """The model of torch, which is imported when it is asked for."""
    if name == "VideoModel":
        from video.model import VideoModel

        return VideoModel
    raise AttributeError(name)
