"""Visual question answering: a CNN sees the image, an RNN reads the question, attention joins them."""

from typing import TYPE_CHECKING, Any

from vqa.answerer import Answer, Answerer

if TYPE_CHECKING:
    from vqa.model import VqaModel

__all__ = ["Answer", "Answerer", "VqaModel"]


def __getattr__(name: str) -> Any:
    """The model of torch, which is imported when it is asked for."""
    if name == "VqaModel":
        from vqa.model import VqaModel

        return VqaModel
    raise AttributeError(name)
