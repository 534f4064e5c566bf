from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest

from common.schema import Range, checked


@dataclass(frozen=True)
class Inner:
    kind: Literal["a", "b"]
    sizes: Annotated[tuple[Annotated[int, Range(1, 9)], ...], Range(1, 3)] = (1,)


@dataclass(frozen=True)
class Outer:
    inner: Inner
    share: float
    pair: tuple[int, float]
    words: list[str]
    file: Path | None = None
    width: Annotated[int, Range(4, multiple=4)] = 4


GOOD = {"inner": {"kind": "a"}, "share": 1, "pair": [1, 2], "words": ["x"]}


def test_json_becomes_what_the_fields_declare():
    found = checked(Outer, {**GOOD, "file": "a/b"}, "outer")
    assert found == Outer(Inner("a"), 1.0, (1, 2.0), ["x"], Path("a/b"))
    assert isinstance(found.share, float)
    assert checked(Outer, {**GOOD, "file": None, "inner": {"kind": "b", "sizes": [1, 9]}}, "outer").inner == (
        Inner("b", (1, 9))
    )


@dataclass(frozen=True)
class Other(Outer):
    width: int = 8


def test_a_range_is_kept_where_a_subclass_changes_the_default_alone():
    assert checked(Other, GOOD, "other").width == 8
    with pytest.raises(ValueError, match="multiple of 4"):
        checked(Other, {**GOOD, "width": 6}, "other")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inner": {"kind": "c"}}, "outer.inner.kind is 'c', expected one of a, b"),
        ({"inner": {}}, "outer.inner lacks 'kind'"),
        ({"inner": []}, "outer.inner is [], expected the fields of one"),
        ({"inner": {"kind": "a", "sizes": []}}, "outer.inner.sizes (): must be at least 1 long"),
        ({"inner": {"kind": "a", "sizes": [1] * 4}}, "must be at most 3 long"),
        ({"inner": {"kind": "a", "sizes": [1, 10]}}, "outer.inner.sizes[1] 10: must be at most 9"),
        ({"inner": {"kind": "a", "sizes": 1}}, "outer.inner.sizes is 1, expected a list"),
        ({"share": "1"}, "outer.share is '1', expected a number"),
        ({"share": True}, "outer.share is True, expected a number"),
        ({"share": float("nan")}, "outer.share is nan, expected a finite number"),
        ({"share": 10**400}, "expected a number"),
        ({"pair": [1]}, "outer.pair is [1], expected 2 values"),
        ({"pair": [1.0, 1]}, "outer.pair[0] is 1.0, expected a whole number"),
        ({"words": ["x", 1]}, "outer.words[1] is 1, expected text"),
        ({"words": ["x", "\ud800"]}, "no valid Unicode"),
        ({"file": 1}, "outer.file is 1, expected a path"),
        ({"width": 6}, "outer.width 6: must be a multiple of 4"),
        ({"more": 1}, "outer has 'more', which is not known"),
        ({"words": "x" * 1000}, "..., expected a list"),
    ],
)
def test_anything_else_is_refused_by_its_name(change, message):
    with pytest.raises(ValueError, match="outer") as error:
        checked(Outer, {**GOOD, **change}, "outer")
    assert message in str(error.value)
