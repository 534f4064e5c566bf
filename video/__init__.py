"""Action classification: a CNN sees the frames, an RNN reads what changes between them."""

from video.classifier import Action, ActionClassifier, Segment, Window, segments
from video.model import VideoModel

__all__ = ["Action", "ActionClassifier", "Segment", "VideoModel", "Window", "segments"]
