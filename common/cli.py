"""What every script does around its work: flags from a dataclass, errors as one line, the exit code."""

import ctypes
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TypeVar

import tyro

from common.errors import VisionError

C = TypeVar("C")
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of glibc's malloc.h


def run(main: Callable[[C], int | None], config: type[C], description: str | None) -> NoReturn:
    """Parse the command line into `config`, call `main` and exit with its code.

    Exit codes: 0 done; 1 work that failed, in part or whole; 2 bad usage; 130 interrupted.
    """
    flags = tyro.cli(config, description=description)
    keep_freed_memory()
    try:
        code = main(flags) or 0
    except VisionError as error:
        code = _report(error, error.exit_code)
    except OSError as error:
        code = _report(error, 1)
    except KeyboardInterrupt:
        code = _report("interrupted", 130)
    sys.exit(code)


def keep_freed_memory() -> None:
    """Have the C library keep what is given back to it, up to a GiB, for the next map of features.

    Else glibc returns each large map to the system and takes fresh pages for the next one, which costs a CNN
    on a CPU a fifth of its time. For a process of one's own, as scripts are; other C libraries are left as
    they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_THRESHOLD, 2**25)  # the most that is allowed
    mallopt(_TRIM_THRESHOLD, 2**30)


@contextmanager
def needs_extra(name: str) -> Iterator[None]:
    """Around a script's imports: a missing package of the extra `name` ends it with the cure and code 2."""
    try:
        yield
    except ModuleNotFoundError as error:
        message = f"{error.name} is not installed; run: pip install '.[{name}]'"
        sys.exit(_report(message, 2))


def command_line() -> str:
    """The running command, as a reader of the project would type it."""
    script = Path(sys.argv[0])
    return shlex.join(["python", f"{script.parent.name}/{script.name}", *sys.argv[1:]])


def _report(error: object, code: int) -> int:
    sys.stdout.flush()
    print(f"error: {error}", file=sys.stderr)
    return code
