"""What readers of data sets share: counting what they leave out; text and JSON with a clear error."""

import codecs
import contextlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from common.errors import DataError


class Dropped:
    """Counts what a reader leaves out, by reason, with the first few examples."""

    def __init__(self) -> None:
        self.examples: dict[str, list[str]] = {}
        self.counts: Counter[str] = Counter()

    def add(self, reason: str, example: object) -> None:
        """Note one left-out thing."""
        self.counts[reason] += 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < 3 and str(example) not in examples:
            examples.append(str(example))

    def __str__(self) -> str:
        lines = [
            f"  dropped {count:,}: {reason}, e.g. {', '.join(self.examples[reason])}"
            for reason, count in self.counts.items()
        ]
        return "\n".join(lines) or "  dropped nothing"


def read_bytes(file: Path) -> bytes:
    """The content of a text file as UTF-8, without the byte order marks that Windows tools write.

    A file that begins with UTF-16's mark is converted. Nothing is checked: see `read_text`.
    """
    content = file.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        with contextlib.suppress(UnicodeDecodeError):
            content = content.decode("utf-16").encode()
    # files that were put together bring one mark each
    return content.removeprefix(codecs.BOM_UTF8).replace(b"\n" + codecs.BOM_UTF8, b"\n")


def read_text(file: Path) -> str:
    """The content of a text file. Raises DataError for what is no UTF-8."""
    try:
        return read_bytes(file).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 (byte {error.start}); convert it to UTF-8") from None


def load_json(file: Path) -> Any:
    """The content of a JSON file. Raises DataError for what is no UTF-8 or no JSON."""
    try:
        return json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise DataError(f"{file}: no JSON ({error})") from None
