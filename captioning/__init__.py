"""Image captioning: a CNN encoder and an RNN that tells what it sees."""

from captioning.captioner import Caption, Captioner

__all__ = ["Caption", "Captioner"]
