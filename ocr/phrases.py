"""What synthetic lines say: words, numbers, dates, codes and labels, as forms and receipts have them."""

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from common.charset import Charset, composed
from common.errors import DataError, UsageError
from common.files import read_text

Kind = Literal["document", "form", "scene"]
"""What a line is drawn as: receipts and running text, words of forms, words of signs and screens."""
_SHORT_ENTRIES = (
    ":", ":", "-", "-", ",", ".", "/", "&", "&", "#", "$", "$", "*", "(", ")", "%", "X", "X", "x", "a",
    "A", "I", "/", "+", "=", "_", "__", "--", "...", "**", "1", "2", "3", "4", "5", "6", "7", "8", "9",
    "0", "1.", "2.", "3.", "A.", "B.", "(1)", "a)", "?", '"', "'", ";", "|", "[", "]", "<", ">", "!", "@",
    "{", "}", "~", "\\", "^", "`",
)  # fmt: skip
_SINGLE = tuple(string.ascii_letters + string.digits)
_ENTRIES = (
    "#", "##", "###", "####", "##%", "#.", "##.", "(#)", "(###)", "###-####", "###-###-####",
    "(###)###-####", "#####", "#####-####", "19##", "'##", "#/#", "#/##/##", "##/##/##", "##-##-##",
    "#.#", "#.##", "##.#%", "$###", "$#,###", "$##.##", "#,###", "##,###", "#,###,###", "#-#", "##-##",
    "#:##", "##:##", "No.", "Dr.", "Mr.", "Ms.", "Inc.", "Co.", "U.S.", "U.S.A.", "N.Y.", "P.O.", "e.g.",
    "i.e.", "etc.", "Re:", "cc:", "To:", "From:", "TO:", "FROM:", "DATE:", "Fax:", "FAX", "Tel.", "No.:",
    "N/A", "R&D", "(s)", "St.", "Ave.", "Jr.", "vs.", "mg", "mg/cig", "##mm", "#x#", "A.M.", "p.m.",
    "____", "______", "Page", "of", "#st", "#nd", "#th", "####A", "A-##", "B###", "*#", "##*",
)  # fmt: skip
_NUMBERS = ("${}", "{}%", "{}th", "{}km", "{}AM", "No{}", "{}ml", "{}+", "A{}", "{}.99")
_AROUND = ("({})", '"{}"', "{}'s", "[{}]", "({}s)", "{}.)")
_ON_SIGNS = ("'{}'", '"{}"', "{}'s", "({})", "{}.com", "&{}", "#{}", "@{}")
SYSTEM_WORDS = Path("/usr/share/dict/words")
_CURRENCIES = ("$", "RM", "RM ", "USD ", "EUR ", "-", "-RM", "@", "")
_CODE_PATTERNS = (
    "######", "#########", "AA-####", "A####-##", "############", "##-###-####", "AAA ####", "(###### A)",
    "##%", "####/##/###", "A#A #A#", "### ###", "#.##", "(##-#######)", "# X ##.##", "#####", "A-####",
    "A.A.", "A.A", "A.A.A.", "A.&A.A.", "A/A", "A & A", "AA ##/#A,", "AA ##/##", "##/#A", "#A,", "##-A",
    "AA##", "AA##: ", "AA####", "#", "#", "#", "##", "##,", "###A", "AA##A",
)  # fmt: skip
_LIKE_DIGITS = "OBSIZGCQ"
_LABELS = (
    "TEL: ", "FAX: ", "GST NO: ", "INV NO. ", "Total ", "TOTAL: ", "CASH ", "Change: ", "Qty: ", "ID# ",
    "NO. ", "x", "",
)  # fmt: skip
_MONTHS = ("JAN", "Feb", "MAR", "Apr", "MAY", "June", "JUL", "Aug", "SEP", "Oct", "NOV", "Dec")


def read_words(file: Path | None) -> list[str]:
    """The words or phrases of a file, one per line; without a file, those of the system's dictionary, if any.

    Raises:
        UsageError: the file is missing, no UTF-8 text, or has no words.
    """
    if file is None and not SYSTEM_WORDS.is_file():
        return []
    file = file or SYSTEM_WORDS
    try:
        words = [word for line in composed(read_text(file)).splitlines() if (word := line.strip())]
    except (OSError, DataError) as error:
        raise UsageError(f"--words {file}: not a text file that can be read ({error})") from None
    if not words:
        raise UsageError(f"--words {file}: the file has no words")
    return words


class TextSource:
    """Words, prices, dates, codes and sentences.

    Args:
        charset: texts have only its characters.
        words: the lexicon, words or phrases; without one, words are random letters.
    """

    def __init__(self, charset: Charset, words: Sequence[str] = ()) -> None:
        self.charset = charset
        self.words = [word for word in words if not charset.unknown(word)]

    def __call__(self, random: np.random.Generator, length: int, kind: Kind = "document") -> str:
        """A text of about `length` characters, at least one, as it stands on something of that kind."""
        texts = {"document": self._document, "form": self._form, "scene": self._scene}
        text = texts[kind](random, length)
        text = " ".join("".join(c for c in text if not self.charset.unknown(c)).split())
        return text or str(random.choice(list(self.charset.characters.replace(" ", ""))))

    def _document(self, random: np.random.Generator, length: int) -> str:
        chance = random.random()
        if chance < 0.62 or length > 16:
            return self._words(random, length)
        if chance < 0.74:
            return self._price(random)
        if chance < 0.80:
            return self._date(random)
        if chance < 0.92:
            return str(random.choice(_LABELS)) * int(length > 8) + self._code(random)
        return "".join(random.choice(list(self.charset.characters), max(1, length)))

    def _form(self, random: np.random.Generator, length: int) -> str:
        """Labels and entries of a form, mostly single words as they are cut out of one."""
        chance = random.random()
        if length <= 2 and chance < 0.6:
            return str(random.choice(_SHORT_ENTRIES)) if chance < 0.45 else str(random.choice(_SINGLE))
        if length > 14:
            return self._words(random, length)
        if chance < 0.60:
            word = self._cased(random, self._word(random, length), (0.3, 0.15, 0.3, 0.25))
            mark = random.random()
            if mark < 0.3:
                word += str(random.choice(list("::::,,,..;)?*-")))
            elif mark < 0.34:
                word = str(random.choice(list("(\"'*#-["))) + word
            elif mark < 0.38:
                word = str(random.choice(_AROUND)).format(word)
            elif mark < 0.42:
                joined = str(random.choice(list("-/-/-&.'")))
                word += joined + self._cased(random, self._word(random, 8), (0.3, 0.15, 0.3, 0.25))
            return word
        if chance < 0.76:
            return "".join(str(random.integers(10)) if c == "#" else c for c in str(random.choice(_ENTRIES)))
        if chance < 0.82:
            return self._date(random)
        if chance < 0.87:
            return self._price(random)
        if chance < 0.94:
            return self._code(random)
        return "".join(random.choice(list(self.charset.characters), max(1, length)))

    def _scene(self, random: np.random.Generator, length: int) -> str:
        """Words of signs, covers and screens."""
        chance = random.random()
        if length <= 2 and chance < 0.3:
            return str(random.choice(_SINGLE))
        if chance < 0.86:
            styles = (0.45, 0.15, 0.28, 0.12)
            word = self._cased(random, self._word(random, max(2, length)), styles)
            while len(word) < length - 4:
                word += " " + self._cased(random, self._word(random, length - len(word)), styles)
            mark = random.random()
            if mark < 0.04:
                word += str(random.choice(list(".,!?:'")))
            elif mark < 0.06:
                word = str(random.choice(_ON_SIGNS)).format(word)
            return word
        if chance < 0.95:
            number = str(random.integers(10 ** int(random.integers(1, 5))))
            if random.random() < 0.35:
                number = str(random.choice(_NUMBERS)).format(number)
            return number
        return self._code(random)

    def _cased(
        self, random: np.random.Generator, word: str, chances: tuple[float, float, float, float]
    ) -> str:
        """In capitals, as it is, with a capital, or in small letters."""
        style = int(np.searchsorted(np.cumsum(chances), random.random()).clip(0, 3))
        return (word.upper(), word, word[:1].upper() + word[1:].lower(), word.lower())[style]

    def _word(self, random: np.random.Generator, max_length: int) -> str:
        """A word, or a phrase where the lexicon has some, of about `max_length` characters at most."""
        for _ in range(12):
            if not self.words or random.random() > 0.93:
                break
            word = self.words[random.integers(len(self.words))]
            if len(word) <= max_length + 3:
                return word
        letters = list(string.ascii_lowercase)
        return "".join(random.choice(letters, random.integers(1, 9)))

    def _words(self, random: np.random.Generator, length: int) -> str:
        style = random.choice(["upper", "as it is", "title", "lower"], p=[0.4, 0.3, 0.2, 0.1])
        parts: list[str] = []
        while not parts or len(" ".join(parts)) < length - 3:
            chance = random.random()
            word = self._word(random, length - len(" ".join(parts)))
            if chance < 0.1:
                word = self._code(random)
            elif parts and chance < 0.14:
                word = self._price(random)
            elif chance < 0.26:
                word += str(random.choice(list(",.:;!?")))
            elif chance < 0.29:
                word = f"({word})"
            elif chance < 0.32:
                word += str(random.choice(list("-/&'"))) + self._word(random, length - len(word))
            elif parts and chance < 0.34:
                word = str(random.choice(list("&-*=#@/+:")))
            parts.append(word)
            if len(parts) == 1 and abs(len(parts[0]) - length) < 4:
                break
        text = " ".join(parts)
        return {"upper": text.upper(), "title": string.capwords(text), "lower": text.lower()}.get(
            str(style), text
        )

    def _price(self, random: np.random.Generator) -> str:
        amount = f"{random.gamma(0.7, 60):,.2f}" if random.random() < 0.85 else f"{random.integers(0, 10000)}"
        mark = str(random.choice(_CURRENCIES)) if random.random() < 0.35 else ""
        return mark + amount + str(random.choice(["", "", "", "", " SR", " A", "-", "%", " T"]))

    def _date(self, random: np.random.Generator) -> str:
        day, month, year = random.integers([1, 1, 1990], [29, 13, 2030]).tolist()
        name = _MONTHS[month - 1]
        forms = [
            f"{day:02d}/{month:02d}/{year}",
            f"{day:02d}-{month:02d}-{year % 100:02d}",
            f"{day}.{month}.{year}",
            f"{year}-{month:02d}-{day:02d}",
            f"{day} {name} {year}",
            f"{name} {day}, {year}",
        ]
        clock = f"{random.integers(0, 24):02d}:{random.integers(0, 60):02d}"
        clock += str(random.choice(["", f":{random.integers(0, 60):02d}", " PM", " AM", "PM"]))
        chosen = str(random.choice(forms))
        return str(random.choice([chosen, f"{chosen} {clock}", clock, f"Date: {chosen}", f"TIME: {clock}"]))

    def _code(self, random: np.random.Generator) -> str:
        pattern = str(random.choice(_CODE_PATTERNS))
        letters = string.ascii_uppercase if random.random() < 0.6 else _LIKE_DIGITS
        digits = [str(random.integers(10)) if c == "#" else c for c in pattern]
        return "".join(str(random.choice(list(letters))) if c == "A" else c for c in digits)
