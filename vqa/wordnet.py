"""How similar two words are by WordNet: what WUPS compares answers by."""

import io
import warnings
from functools import cache
from pathlib import Path
from typing import Any

from vqa.metrics import Similarity

DEBIAN = Path("/usr/share/wordnet")
"""Where Debian's package wordnet-base lies."""
HOW = "get it by `apt-get install wordnet-base`, or by `python -m nltk.downloader wordnet`"
THRESHOLD = 0.9
_BELOW = 0.1  # factor of what is less similar


def find_similarity() -> Similarity | None:
    """The similarity of WUPS 0.9, or None where there is no WordNet, neither NLTK's nor Debian's.

    As the script of Malinowski and Fritz (2014) has it: 1 for the same word; else the highest similarity of
    Wu and Palmer (1994) between a meaning of one as a noun and one of the other, a tenth of it where that is
    below `THRESHOLD`; 0 for words that WordNet does not have.
    """
    if (reader := _reader()) is None:
        return None

    @cache
    def nouns(word: str) -> list[Any]:
        found: list[Any] = reader.synsets(word.replace(" ", "_"), pos="n")
        return found

    @cache
    def similarity(one: str, other: str) -> float:
        if one == other:
            return 1.0
        pairs = ((first, second) for first in nouns(one) for second in nouns(other))
        best = max((float(first.wup_similarity(second) or 0) for first, second in pairs), default=0.0)
        return best if best >= THRESHOLD else _BELOW * best

    return similarity


def _reader() -> Any:
    import nltk.data
    from nltk.corpus import wordnet
    from nltk.corpus.reader import WordNetCorpusReader

    class Debian(WordNetCorpusReader):
        """The package leaves out two files of NLTK's, neither of which matters for hypernyms."""

        def open(self, file: str) -> Any:
            """A file of the package; in place of the names of 45 fields, numbers."""
            if file == "lexnames":
                return io.StringIO("".join(f"{number} {number} 0\n" for number in range(45)))
            return super().open(file)

        def map_wn(self, version: str = "wordnet") -> None:
            """What other languages would need."""

    try:
        wordnet.ensure_loaded()
    except LookupError:
        if not (DEBIAN / "data.noun").is_file():
            return None
        nltk.data.path.append(str(DEBIAN))  # NLTK reads no files elsewhere
        with warnings.catch_warnings():  # that there are no other languages
            warnings.simplefilter("ignore", UserWarning)
            return Debian(str(DEBIAN), None)
    return wordnet
