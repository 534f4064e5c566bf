import threading
import time

import pytest

from common.errors import ImageError
from common.threads import ahead


def read(number):
    if number % 4 == 3:
        raise ImageError(f"{number}: damaged")
    time.sleep(0.002 * (number % 3))
    return 10 * number


@pytest.mark.parametrize(("workers", "depth"), [(0, 0), (1, 0), (1, 3), (4, 2), (3, 50)])
def test_results_and_errors_come_in_order(workers, depth):
    found = list(ahead(read, range(10), workers, depth))
    assert [str(item) for item in found] == [
        f"{i}: damaged" if i % 4 == 3 else str(10 * i) for i in range(10)
    ]
    assert list(ahead(read, [], workers, depth)) == []


def test_other_errors_are_raised():
    results = ahead(lambda number: 1 // number, [1, 0, 1], 2, 2)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_no_more_is_read_than_was_asked_for():
    started, before = [], set(threading.enumerate())
    results = ahead(lambda number: started.append(number) or number, range(100), 2, 3)
    assert next(results) == 0
    assert len(started) <= 4
    results.close()
    assert len(started) <= 4
    assert set(threading.enumerate()) <= before
