"""Text recognition: a CNN finds characters, an RNN turns columns into words, CTC aligns."""

from ocr.documents import open_pages
from ocr.reader import Line, Page, TextReader

__all__ = ["Line", "Page", "TextReader", "open_pages"]
