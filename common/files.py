"""Which files a script was asked to read: files, patterns and folders, and what is left out of them."""

import glob
import os
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

from common.cli import print_error, print_note
from common.errors import ImageError, UsageError


def find_files(
    paths: Iterable[str | os.PathLike[str]], suffixes: Collection[str], kind: str
) -> tuple[list[Path], bool]:
    """Expand files, glob patterns and folders (searched recursively) into paths, sorted, each once.

    A named file is kept whatever its suffix, even when it does not exist: reading it then reports it. What
    cannot be expanded is named on stderr, and so are, with their number, the files of folders that are left
    out.

    Args:
        paths: as given on a command line.
        suffixes: of the files that are taken from folders, in small letters.
        kind: what such files are called, in the plural.

    Returns:
        the files; whether a folder or pattern holds none or could not be listed.

    Raises:
        UsageError: no path at all.
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
        shown = ", ".join(f"{suffix}: {count:,}" for suffix, count in counts.most_common())
        print_note(f"no {kind}, so left out of folders: {len(skipped):,} ({shown}), e.g. {skipped[0]}")
    if not found:
        raise ImageError(f"no {kind} found in what was given")
    return list(found), bool(errors)


def _walk(folder: str, errors: list[str]) -> list[Path]:
    """The files in a folder and those below it, sorted, and links to folders, which are not followed."""

    def note(error: OSError) -> None:
        errors.append(f"{error.filename}: cannot be listed ({error.strerror})")

    files: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=note):
        files += [Path(place, name) for name in names]
        files += [link for link in (Path(place, name) for name in folders) if link.is_symlink()]
    return sorted(files)
