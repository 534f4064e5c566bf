"""What of a transcript a recognizer learns and is scored on: words in small letters, without punctuation."""

import re
import unicodedata

RULE = "lower case, punctuation and hyphens as spaces, apostrophes within words kept"
"""What `normalized` does, in words."""
_APOSTROPHES = str.maketrans(dict.fromkeys("\u2019\u2018\u02bb\u02bc\u0060\u00b4\u2032", "'"))
_OUTSIDE = re.compile(r"(?<!\w)'+|'+(?!\w)")


def normalized(text: str) -> str:
    """The words of a text as they are spoken; see `RULE`. Letters with their accents are one character."""
    text = unicodedata.normalize("NFC", text).lower().translate(_APOSTROPHES)
    kept = (c if c == "'" or unicodedata.category(c)[0] in "LMN" else " " for c in text)
    return " ".join(_OUTSIDE.sub(" ", "".join(kept)).split())


def has_digits(text: str) -> bool:
    """Whether a text says something in digits, which are read as words that it does not show."""
    return any(unicodedata.category(c)[0] == "N" for c in text)
