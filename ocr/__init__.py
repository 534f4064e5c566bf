"""Text recognition: a CNN finds characters, an RNN turns columns into words, CTC aligns."""

from typing import TYPE_CHECKING, Any

from common.ctc import Reading
from ocr.documents import open_pages
from ocr.reader import Line, Page, TextReader, Word

if TYPE_CHECKING:
    from ocr.model import Recognizer

__all__ = ["Line", "Page", "Reading", "Recognizer", "TextReader", "Word", "open_pages"]


def __getattr__(name: str) -> Any:
    """The model of torch, which is imported when it is asked for."""
    if name == "Recognizer":
        from ocr.model import Recognizer

        return Recognizer
    raise AttributeError(name)
