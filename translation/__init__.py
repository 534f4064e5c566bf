"""Machine translation: an RNN reads a sentence, another one writes it in a second language."""

from translation.model import TranslationModel
from translation.translator import Translation, Translator

__all__ = ["Translation", "TranslationModel", "Translator"]
