"""What the C library does with memory that was freed."""

import ctypes
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # names of glibc's malloc.h


def keep_freed_memory() -> None:
    """Let the C library keep freed memory, up to a GiB, for the next map of features.

    Else glibc returns each large map to the system and takes fresh pages for the next one, which costs a CNN
    on a CPU a fifth of its time. For a process of one's own, as scripts are; other C libraries are left as
    they are.
    """
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, 2**25)  # the most that is allowed
        mallopt(_TRIM_THRESHOLD, 2**30)
        mallopt(_ARENA_MAX, 2)  # else each thread keeps what its largest picture needed


def release_freed_memory() -> None:
    """Give the system the pages that the C library keeps without need; takes about 50 ms for a GiB.

    Where shapes vary from step to step, oneDNN keeps code and buffers for each of them (up to 1,024), between
    which freed memory lies in pieces too small for the next step: an hour's training would hold gigabytes.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
