"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import UsageError


@contextmanager
def write_aside(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to; it replaces `path` once it is on disk, and is removed if that fails.

    A full disk or a kill then leaves the old file whole. Raises OSError.
    """
    aside = path.with_name(f"{path.name}.tmp")
    try:
        yield aside
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def check_folder(flag: str, file: Path | None) -> None:
    """Raises UsageError where the folder of a file to be written does not exist, before any work is done."""
    if file is not None and not file.resolve().parent.is_dir():
        raise UsageError(f"{flag} {file}: its folder does not exist")
