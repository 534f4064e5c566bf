"""Reading ahead in threads."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from common.errors import ImageError

T = TypeVar("T")
R = TypeVar("R")


def ahead(
    function: Callable[[T], R], items: Iterable[T], workers: int, depth: int
) -> Iterator[R | ImageError]:
    """`function` of each item in order, computed in threads up to `depth` items ahead of the caller.

    An item that raises ImageError gives that error as its result and stops no other; other errors are raised.

    Args:
        function: called in the threads.
        items: read as they are needed.
        workers: threads; 0 calls `function` in the caller's own.
        depth: items that are computed, or waiting, beyond the one that is given out.
    """

    def attempt(item: T) -> R | ImageError:
        try:
            return function(item)
        except ImageError as error:
            return error

    if workers < 1:
        yield from map(attempt, items)
        return
    pool = ThreadPoolExecutor(workers)
    queue: deque[Future[R | ImageError]] = deque()
    try:
        for item in items:
            queue.append(pool.submit(attempt, item))
            if len(queue) > depth:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
