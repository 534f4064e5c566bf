"""Text recognition: a CNN finds characters, an RNN turns columns into words, CTC aligns."""

from ocr.ctc import Reading
from ocr.documents import open_pages
from ocr.model import Recognizer
from ocr.reader import Line, Page, TextReader, Word

__all__ = ["Line", "Page", "Reading", "Recognizer", "TextReader", "Word", "open_pages"]
