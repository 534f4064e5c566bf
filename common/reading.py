"""What readers of data sets share: counting what they leave out, and JSON with a clear error."""

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
        if self.counts[reason] <= 3:
            self.examples.setdefault(reason, []).append(str(example))

    def __str__(self) -> str:
        lines = [
            f"  dropped {count:,}: {reason}, e.g. {', '.join(self.examples[reason])}"
            for reason, count in self.counts.items()
        ]
        return "\n".join(lines) or "  dropped nothing"


def load_json(file: Path) -> Any:
    """The content of a JSON file. Raises DataError for what is no UTF-8 or no JSON."""
    try:
        return json.loads(file.read_bytes().decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 (byte {error.start}); convert it to UTF-8") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{file}: no JSON ({error})") from None
