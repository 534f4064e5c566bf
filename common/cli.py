"""What every script does around its work: flags from a dataclass, errors as one line, the exit code."""

import sys
from collections.abc import Callable
from typing import NoReturn, TypeVar

import tyro

from common.encoder import EncoderWeightsError
from common.images import ImageError
from common.pretrained import ModelError, ModelNotFoundError

C = TypeVar("C")


class UsageError(ValueError):
    """A request that cannot be carried out as given: exit code 2."""


class DataError(ValueError):
    """A data set that cannot be read; the message names the file and what to do: exit code 1."""


def run(main: Callable[[C], int | None], config: type[C], description: str | None) -> NoReturn:
    """Parse the command line into `config`, call `main` and exit with its code.

    Exit codes: 0 done; 1 work that failed, in part or whole; 2 bad usage; 130 interrupted.
    """
    flags = tyro.cli(config, description=description)
    try:
        code = main(flags) or 0
    except (UsageError, ModelNotFoundError) as error:
        code = _report(error, 2)
    except (ImageError, ModelError, EncoderWeightsError, DataError) as error:
        code = _report(error, 1)
    except OSError as error:
        code = _report(error, 1)
    except KeyboardInterrupt:
        code = _report("interrupted", 130)
    sys.exit(code)


def _report(error: object, code: int) -> int:
    sys.stdout.flush()
    print(f"error: {error}", file=sys.stderr)
    return code
