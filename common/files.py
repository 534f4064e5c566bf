"""Files: those that a script is given, what readers leave out of them, and files that are written whole.

Text and JSON are read with a clear error.
"""

import codecs
import contextlib
import glob
import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from common.cli import print_error, print_note
from common.errors import DataError, ImageError, UsageError


def find_files(
    paths: Iterable[str | os.PathLike[str]], suffixes: Collection[str], kind: str
) -> tuple[list[Path], bool]:
    """Expand files, glob patterns and folders (searched recursively) into paths, sorted, each once.

    A named file is kept whatever its suffix, even when it does not exist: reading it then reports it. What
    cannot be expanded is named on stderr, and so are, with their number, the files of folders that are left
    out.

    Args:
        paths: as given on a command line.
        suffixes: of the files that are taken from folders, in lower case.
        kind: what such files are called, in the plural.

    Returns:
        the files; whether a folder or pattern holds none or could not be listed.

    Raises:
        UsageError: no path is given.
        ImageError: nothing is found.
    """
    given = [str(path) for path in paths]
    if not given:
        raise UsageError(f"no {kind} given; name files, patterns or folders")
    found: dict[Path, None] = {}
    left_out: set[Path] = set()
    errors: list[str] = []
    for path in given:
        matches = [path]
        if not os.path.lexists(path) and any(c in path for c in "*?["):
            matches = sorted(glob.glob(path, recursive=True))
            if not matches:
                errors.append(f"{path}: nothing matches this pattern")
        for match in matches:
            if not Path(match).is_dir():
                found[Path(match)] = None
                continue
            inside = _walk(match, errors)
            taken = [file for file in inside if file.suffix.lower() in suffixes and not file.is_dir()]
            left_out.update(set(inside).difference(taken))
            found.update(dict.fromkeys(taken))
            if not taken:
                errors.append(f"{match}: no {kind} in this folder")
    for error in errors:
        print_error(error)
    skipped = sorted(left_out.difference(found))
    if skipped:
        counts = Counter(
            "link to a folder" if f.is_dir() else f.suffix.lower() or "no suffix" for f in skipped
        )
        summary = ", ".join(f"{suffix}: {count:,}" for suffix, count in counts.most_common())
        print_note(f"no {kind}, so left out of folders: {len(skipped):,} ({summary}), e.g. {skipped[0]}")
    if not found:
        raise ImageError(f"no {kind} found in what was given")
    return list(found), bool(errors)


def _walk(folder: str, errors: list[str]) -> list[Path]:
    """The files in a folder and those below it, sorted, and links to folders, which are not followed."""

    def note(error: OSError) -> None:
        errors.append(f"{error.filename}: cannot be listed ({error.strerror})")

    files: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=note):
        files += [Path(parent, name) for name in names]
        files += [link for link in (Path(parent, name) for name in folders) if link.is_symlink()]
    return sorted(files)


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
    # files that were concatenated have one mark each
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


@contextlib.contextmanager
def write_aside(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to; it replaces `path` once it is on disk, and is removed if that fails.

    After a full disk or a kill the old file is then intact. Raises OSError.
    """
    aside = path.with_name(f"{path.name}.tmp")
    try:
        yield aside
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def names_in(out: Path | None, paths: Iterable[Path], kinds: Sequence[str]) -> dict[Path, dict[str, Path]]:
    """What is written for each input into a folder: NAME.KIND.png. Makes the folder; empty without one.

    Raises:
        UsageError: two inputs would be written to the same file.
        OSError: the folder cannot be made.
    """
    if out is None:
        return {}
    taken: dict[str, Path] = {}
    for path in paths:
        if path.stem in taken:
            raise UsageError(
                f"--out: {taken[path.stem]} and {path} would both be written to {path.stem}.*.png"
            )
        taken[path.stem] = path
    out.mkdir(parents=True, exist_ok=True)
    return {path: {kind: out / f"{name}.{kind}.png" for kind in kinds} for name, path in taken.items()}


def as_text(files: dict[str, Path]) -> dict[str, str]:
    """Paths as JSON values."""
    return {kind: str(file) for kind, file in files.items()}


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold a file or folder against other processes that ask in the same way.

    The system ends it with the process, however that ends, also where its workers live on for a moment: what
    is forked meanwhile does not hold it. A file system that knows no locks lets everyone pass.

    Args:
        path: exists; nothing is written.
        wait: until it is free.

    Yields:
        whether it is held; never False with `wait`.
    """
    try:
        import fcntl
    except ModuleNotFoundError:  # on Windows
        yield True
        return
    descriptor = os.open(path, os.O_RDONLY)
    _HELD.add(descriptor)
    try:
        free = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            free = False
        except OSError:
            pass
        yield free
    finally:
        _HELD.discard(descriptor)
        os.close(descriptor)


def share(file: IO[bytes]) -> None:
    """Keep `locked` from the file for as long as it, or what is forked with it, is open."""
    with contextlib.suppress(ModuleNotFoundError, OSError):
        import fcntl

        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)


_HELD: set[int] = set()


def _let_go() -> None:
    for descriptor in _HELD:
        os.close(descriptor)
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def check_folder(flag: str, file: Path | None) -> None:
    """Raises UsageError where the folder of a file to be written does not exist, before any work is done."""
    if file is not None and not file.resolve().parent.is_dir():
        raise UsageError(f"{flag} {file}: its folder does not exist")
