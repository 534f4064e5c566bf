"""Visual question answering: a CNN sees the image, an RNN reads the question, attention joins them."""

from vqa.answerer import Answer, Answerer

__all__ = ["Answer", "Answerer"]
