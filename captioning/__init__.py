"""Image captioning: a CNN encoder and an RNN that tells what it sees."""

from captioning.captioner import Caption, Captioner
from captioning.model import CaptionModel

__all__ = ["Caption", "CaptionModel", "Captioner"]
