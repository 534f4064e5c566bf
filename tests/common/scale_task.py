"""A task for the tests and benchmarks of `common.scale`: it says what stands in a file.

    python -m tests.common.scale_task FOLDER --model FOLDER --engine ray --out TABLE.parquet

The first word of a file may be `bad` (an error), `fatal` (ends the process), `once` (ends the first process
that reads it), `slow` or `pages` (there are two).
"""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypedDict

import tyro

from common.cli import run
from common.errors import ImageError
from common.scale import ScaleFlags, run_on_ray

SUFFIXES = {".png"}


@dataclass(frozen=True, kw_only=True)
class Config(ScaleFlags):
    paths: Annotated[tuple[str, ...], tyro.conf.Positional]
    model: str
    out: str | None = None
    batch_size: int = 4
    times: int = 1
    read: bool = True
    """Else each file is said to hold its name, and none is opened."""
    still: str = ""


class Row(TypedDict):
    path: str
    text: str
    words: list[str]
    lengths: dict[str, int]


def load(config: Config) -> int:
    return config.times


def each(config: Config, times: int, paths: Sequence[Path]) -> Iterator[tuple[str, str | ImageError]]:
    for path in paths:
        if not config.read:
            yield str(path), str(path)
            continue
        try:
            text = path.read_text()
        except OSError as error:
            yield str(path), ImageError(f"{path}: {error.strerror}")
            continue
        first = text.split()[0]
        if first == "bad":
            yield str(path), ImageError(f"{path}: is bad")
            continue
        if first == "fatal" or (first == "once" and not path.with_suffix(".seen").exists()):
            path.with_suffix(".seen").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if first == "slow":
            Path(path.parent, f"pid-{os.getpid()}").touch()
            time.sleep(0.02)
        if first == "pages":
            yield from ((f"{path}#{i}", f"{text} {i}") for i in (1, 2))
            continue
        yield str(path), text * times


def plain(name: str, text: str) -> Row:
    return {"path": name, "text": text, "words": text.split(), "lengths": {w: len(w) for w in text.split()}}


def row_type(config: Config) -> type[Row]:
    return Row


def main(config: Config) -> int:
    return run_on_ray(__name__, config, SUFFIXES, "pictures", without=("still",))


if __name__ == "__main__":
    from tests.common import scale_task  # actors import it by this name

    run(scale_task.main, scale_task.Config, "See the file.")
