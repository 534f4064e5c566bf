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
        for file, taken in each_file(path, suffixes, kind, errors):
            if taken:
                found[file] = None
            else:
                left_out.add(file)
    for error in errors:
        print_error(error)
    skipped = sorted(left_out.difference(found))
    if skipped:
        print_left_out(kind, Counter(map(suffix_of, skipped)), skipped[0])
    if not found:
        raise ImageError(f"no {kind} found in what was given")
    return list(found), bool(errors)


def each_file(
    path: str, suffixes: Collection[str], kind: str, errors: list[str]
) -> Iterator[tuple[Path, bool]]:
    """The files of one path, pattern or folder in order, and whether each is taken; see `find_files`.

    Holds the names of one folder at a time. What cannot be expanded is added to `errors`.
    """
    matches = [path]
    if not os.path.lexists(path) and any(c in path for c in "*?["):
        matches = sorted(glob.glob(path, recursive=True))
        if not matches:
            errors.append(f"{path}: nothing matches this pattern")
    for match in matches:
        if not Path(match).is_dir():
            yield Path(match), True
            continue
        empty = True
        for file in _walk(Path(match), errors):
            taken = file.suffix.lower() in suffixes and not file.is_dir()
            empty = empty and not taken
            yield file, taken
        if empty:
            errors.append(f"{match}: no {kind} in this folder")


def suffix_of(file: Path) -> str:
    """What a file that is left out is counted as."""
    return "link to a folder" if file.is_dir() else file.suffix.lower() or "no suffix"


def print_left_out(kind: str, counts: Counter[str], example: object) -> None:
    """Print how many files of folders were left out, by `suffix_of`."""
    summary = ", ".join(f"{suffix}: {count:,}" for suffix, count in counts.most_common())
    print_note(f"no {kind}, so left out of folders: {counts.total():,} ({summary}), e.g. {example}")


def _walk(folder: Path, errors: list[str]) -> Iterator[Path]:
    """The files in a folder and those below it, sorted, and links to folders, which are not followed."""

    def inside(folder: Path) -> Iterator[tuple[Path, bool]]:
        try:
            with os.scandir(folder) as entries:
                names = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
        except OSError as error:
            errors.append(f"{error.filename}: cannot be listed ({error.strerror})")
            names = []
        return ((folder / name, is_folder) for name, is_folder in names)

    open_folders = [inside(folder)]  # no recursion: folders may lie in each other a thousand deep
    while open_folders:
        for file, is_folder in open_folders[-1]:
            if is_folder:
                open_folders.append(inside(file))
                break
            yield file
        else:
            open_folders.pop()


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


def file_lines(file: Path) -> list[bytes]:
    """Lines as Unix, Windows and old Macs end them; no other character ends one."""
    content = read_bytes(file).replace(b"\r\n", b"\n")
    if b"\n" not in content:
        content = content.replace(b"\r", b"\n")
    return content.removesuffix(b"\n").split(b"\n") if content else []


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


def cache_folder() -> Path:
    """Where caches go unless the user says otherwise: `$XDG_CACHE_HOME` or `~/.cache`, then `visionrnn`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "visionrnn"


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


def names_in(
    out: str | Path | None, paths: Iterable[Path], kinds: Sequence[str]
) -> dict[Path, dict[str, Path]]:
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
    out = Path(out)
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
