"""Write the results tables of README.md from the report files.

    python scripts/write_tables.py

A table is between `<!-- table GLOB: COLUMN [COLUMN ...] -->` and `<!-- end -->`. Each file that matches
is a row, each column a key of its JSON, with dots for keys within keys.
"""

import glob
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.cli import run
from common.errors import UsageError


@dataclass(frozen=True)
class Config:
    """Flags."""

    file: Path = Path("README.md")
    """File to rewrite; globs are relative to its folder."""


def value(report: dict[str, Any], column: str) -> str:
    """A cell, empty where the report has no such key."""
    found: Any = report
    for key in column.split("."):
        found = found.get(key, "") if isinstance(found, dict) else ""
    return f"{found:,}" if isinstance(found, int) and not isinstance(found, bool) else str(found)


def tables(text: str, folder: Path) -> str:
    """`text` with every table made anew. Raises UsageError where no report matches."""

    def make(match: re.Match[str]) -> str:
        pattern, columns = match["glob"], match["columns"].split()
        files = sorted(Path(f) for f in glob.glob(str(folder / pattern)))
        if not files:
            raise UsageError(f"no report matches {pattern}")
        rows = [columns, ["---"] * len(columns)]
        rows += [[value(json.loads(file.read_text(encoding="utf-8")), c) for c in columns] for file in files]
        return "\n".join([match["head"], *(f"| {' | '.join(row)} |" for row in rows), "<!-- end -->"])

    pattern = r"(?P<head><!-- table (?P<glob>\S+): (?P<columns>[^>]*?) -->)\n.*?<!-- end -->"
    return re.sub(pattern, make, text, flags=re.DOTALL)


def main(config: Config) -> None:
    """Rewrite the file."""
    text = config.file.read_text(encoding="utf-8")
    config.file.write_text(tables(text, config.file.resolve().parent), encoding="utf-8")


if __name__ == "__main__":
    run(main, Config, __doc__)
