"""Language: an RNN that reads a text and goes on writing it."""

from typing import TYPE_CHECKING, Any

from language.writer import Writer

if TYPE_CHECKING:
    from language.model import LanguageModel

__all__ = ["LanguageModel", "Writer"]


def __getattr__(name: str) -> Any:
    """The model of torch, which is imported when it is asked for."""
    if name == "LanguageModel":
        from language.model import LanguageModel

        return LanguageModel
    raise AttributeError(name)
