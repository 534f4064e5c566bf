"""Language: an RNN that reads a text and goes on writing."""

from language.writer import Writer

__all__ = ["Writer"]
