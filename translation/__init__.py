"""Machine translation: an RNN reads a sentence, another one writes it in a second language."""

from typing import TYPE_CHECKING, Any

from translation.translator import Translation, Translator

if TYPE_CHECKING:
    from translation.model import TranslationModel

__all__ = ["Translation", "TranslationModel", "Translator"]


def __getattr__(name: str) -> Any:
    """The model of torch, which is imported when it is asked for."""
    if name == "TranslationModel":
        from translation.model import TranslationModel

        return TranslationModel
    raise AttributeError(name)
