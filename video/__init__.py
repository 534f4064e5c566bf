"""Action classification: a CNN sees the frames, an RNN reads what changes between them."""

import common.needs_torch  # noqa: F401
from video.classifier import Action, ActionClassifier, Segment, Window, segments
from video.model import VideoModel

__all__ = ["Action", "ActionClassifier", "Segment", "VideoModel", "Window", "segments"]
