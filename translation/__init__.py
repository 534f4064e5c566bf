"""Machine translation: an RNN reads a sentence, another one writes it in a second language."""

import common.needs_torch  # noqa: F401
from translation.model import TranslationModel
from translation.translator import Translation, Translator

__all__ = ["Translation", "TranslationModel", "Translator"]
