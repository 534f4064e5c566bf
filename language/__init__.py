"""Language: an RNN that reads a text and goes on writing it."""

import common.needs_torch  # noqa: F401
from language.model import LanguageModel
from language.writer import Writer

__all__ = ["LanguageModel", "Writer"]
