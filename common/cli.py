"""What every script does around its work: flags from a dataclass, errors as one line, the exit code."""

import io
import json
import os
import re
import shlex
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import tyro

from common.errors import VisionError, VisionWarning
from common.memory import keep_freed_memory

C = TypeVar("C")
T = TypeVar("T")
_TRAIN = {"torch", "torchvision", "timm", "pytorch_lightning", "safetensors", "torchmetrics"}
_PATIENCE = 2.0  # seconds of silence
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def run(
    main: Callable[[C], int | None],
    config: type[C],
    description: str | None,
    arguments: Sequence[str] | None = None,
    program: str | None = None,
) -> NoReturn:
    """Parse the command line into `config`, call `main` and exit with its code.

    Args:
        main: does the work.
        config: dataclass of the flags.
        description: what `--help` says above them.
        arguments: in place of those of `sys.argv`.
        program: how `--help` calls the command; None takes it from `sys.argv`.

    Exit codes: 0 done; 1 work that failed, in part or whole; 2 bad usage; 130 interrupted; 141 when
    nobody reads the results any more, as `head` does: then without a word.
    """
    _prepare_streams()
    flags = tyro.cli(config, description=description, args=arguments, prog=program)
    keep_freed_memory()
    try:
        if (most := getattr(flags, "max_pixels", None)) is not None:
            from common.images import limit_pixels

            limit_pixels(most)
        code = main(flags) or 0
        sys.stdout.flush()
    except VisionError as error:
        code = _report(error, error.exit_code)
    except BrokenPipeError:
        code = 141
        _discard_output()
    except OSError as error:
        code = _report(error, 1)
    except KeyboardInterrupt:
        code = _report("interrupted", 130)
    sys.exit(code)


def print_row(*columns: object) -> None:
    """Print results as one line, its columns parted by tabs.

    Control characters within a column, as file names may hold, are shown as escapes.
    """
    print("\t".join(_one_line(column) for column in columns), flush=True)


def print_json(values: Any) -> None:
    """Print a JSON value on one line, with escapes where the output's encoding needs them."""
    text = json.dumps(values, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(values)
    print(text, flush=True)


def print_error(error: object) -> None:
    """Print on stderr, as one line, what could not be done."""
    _print_line(f"error: {_one_line(error)}")


def print_note(note: object) -> None:
    """Print on stderr, as one line, what a user should know about what was done."""
    _print_line(f"note: {_one_line(note)}")


def _print_line(line: str) -> None:
    with suppress(OSError):  # nobody reads it; the results go on
        print(line, file=sys.stderr, flush=True)


def _one_line(text: object) -> str:
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def _prepare_streams() -> None:
    """Make the standard streams such that no character and no closed stream makes printing fail.

    A closed one is replaced by the null device, also its descriptor: else the next file that is opened would
    take its place, and libraries would write their messages into it. Warnings of ours become notes.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or os.fdopen(os.open(os.devnull, os.O_RDONLY))
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and (
            stream.errors == "strict" or stream.encoding.lower() not in ("utf-8", "utf8")
        ):
            stream.reconfigure(errors="backslashreplace")  # a file's name may not be valid in any encoding
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *rest: Any) -> None:
        if issubclass(category, VisionWarning):
            print_note(message)
        elif category.__name__ != "DecompressionBombWarning":  # Pillow's; `--max-pixels` decides
            usual(message, category, *rest)

    warnings.showwarning = show  # type: ignore[assignment]


def _discard_output() -> None:
    """Send what is left to print to the null device: the interpreter would fail to flush it at its end."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def progress(items: Iterable[T], total: int, unit: str, *, silent: bool = False) -> Iterable[T]:
    """`items`, with a bar on a terminal's stderr from the second second on.

    Without `silent`, which says that nothing is printed meanwhile, only where results go elsewhere.
    """
    from tqdm import tqdm

    hidden = (sys.stdout.isatty() and not silent) or not sys.stderr.isatty()
    return tqdm(items, total=total, unit=f" {unit}", delay=2, leave=False, disable=hidden)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Around work that prints nothing: after two seconds a line on a terminal's stderr says what is done.

    It is erased at the end.
    """
    said = threading.Event()

    def say() -> None:
        said.set()
        with suppress(OSError):
            print(f"{what} ...", end="\r", file=sys.stderr, flush=True)

    timer = threading.Timer(_PATIENCE, say)
    timer.daemon = True
    if sys.stderr is not None and sys.stderr.isatty():
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if said.is_set():
            with suppress(OSError):
                print("\033[K", end="", file=sys.stderr, flush=True)


def loaded(load: Callable[[Any, str, Any], T], flags: Any) -> T:
    """What `from_pretrained` of a class gives for `--model`, `--device` and `--precision`."""
    names = flags.model if isinstance(flags.model, str) else " ".join(flags.model)
    with waiting(f"loading {names}"):
        return load(flags.model, flags.device, flags.precision)


def sizes_of(sizes: type[C], flags: Any) -> C:
    """A dataclass of sizes, each from the flag of the same name."""
    return sizes(**{field.name: getattr(flags, field.name) for field in fields(sizes)})  # type: ignore[arg-type]


@contextmanager
def needs_extra(name: str) -> Iterator[None]:
    """Around imports: a missing package of the extra `name`, or of `train`, ends all with the cure."""
    try:
        yield
    except ModuleNotFoundError as error:
        extra = "train" if error.name in _TRAIN else name
        message = f"{error.name} is not installed; run: pip install '.[{extra}]'"
        sys.exit(_report(message, 2))


def command_line() -> str:
    """The running command, as a reader of the project would type it."""
    script = Path(sys.argv[0])
    if script.stem in ("visionrnn", "__main__"):
        return shlex.join(["visionrnn", *sys.argv[1:]])
    return shlex.join(["python", f"{script.parent.name}/{script.name}", *sys.argv[1:]])


def _report(error: object, code: int) -> int:
    try:
        sys.stdout.flush()
    except OSError:
        _discard_output()
    _print_line(f"error: {error}")
    return code
