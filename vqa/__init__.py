"""Visual question answering: a CNN sees the image, an RNN reads the question, attention joins them."""

from vqa.answerer import Answer, Answerer
from vqa.model import VqaModel

__all__ = ["Answer", "Answerer", "VqaModel"]
