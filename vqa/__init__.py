"""Visual question answering: a CNN sees the image, an RNN reads the question, attention joins them."""

import common.needs_torch  # noqa: F401
from vqa.answerer import Answer, Answerer
from vqa.model import VqaModel

__all__ = ["Answer", "Answerer", "VqaModel"]
