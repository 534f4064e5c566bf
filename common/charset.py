"""The characters that a model can read, and what CTC needs of a label."""

import unicodedata
from collections.abc import Iterable
from itertools import pairwise

from common.errors import UsageError

PRINTABLE = "".join(map(chr, range(32, 127)))
"""Printable ASCII: letters of both cases, digits, punctuation, space."""
BLANK: int = 0


class Charset:
    """Characters and their classes; class 0 is CTC's blank.

    Args:
        characters: each once; the order gives the classes from 1 on.

    Raises:
        UsageError: none, or a character that occurs twice.
    """

    def __init__(self, characters: str = PRINTABLE) -> None:
        self.characters = characters
        self._classes = {character: i + 1 for i, character in enumerate(characters)}
        if not characters or len(self._classes) != len(characters):
            twice = next((c for c in characters if characters.count(c) > 1), "")
            raise UsageError(
                f"--charset: {twice!r} stands there twice" if twice else "--charset: no characters"
            )

    def __len__(self) -> int:
        """Number of classes, the blank included."""
        return len(self.characters) + 1

    def unknown(self, text: str) -> str:
        """The characters of `text` that are not in the set, each once."""
        return "".join(dict.fromkeys(c for c in text if c not in self._classes))

    def encode(self, text: str) -> list[int]:
        """Classes of the characters. Raises KeyError for one that is not in the set."""
        return [self._classes[character] for character in text]

    def decode(self, classes: Iterable[int]) -> str:
        """Characters of the classes; blanks are left out, repeats stay."""
        return "".join(self.characters[i - 1] for i in classes if i != BLANK)


def steps_needed(text: str) -> int:
    """Fewest steps from which CTC can spell `text`: one a character, one more between two that are equal."""
    return len(text) + sum(a == b for a, b in pairwise(text))


def composed(text: str) -> str:
    """Letters with their accents as single characters (Unicode NFC), the form in which labels are learned.

    macOS and some tools write an accent as a separate character.
    """
    return unicodedata.normalize("NFC", text)
