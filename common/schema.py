"""Types and ranges of values that come from outside: flags, and what a config on disk holds.

A range is declared once, where the field is: `layers: Annotated[int, Range(1, 16)] = 2`.
"""

import inspect
import math
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

_NAMES = {
    int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path",
    dict: "names with values",
}  # fmt: skip


@dataclass(frozen=True)
class Range:
    """What a number may be; of a text or a list, how long. Both ends belong to it."""

    low: float = -math.inf
    high: float = math.inf
    multiple: int = 1

    def check(self, value: Any, name: str) -> None:
        """Raises ValueError where the value lies outside."""
        number, of = (value, "") if isinstance(value, int | float) else (len(value), " long")
        if number < self.low:
            raise ValueError(f"{name} {_short(value)}: must be at least {self.low:,}{of}")
        if number > self.high:
            raise ValueError(f"{name} {_short(value)}: must be at most {self.high:,}{of}")
        if number % self.multiple and self.multiple > 1:
            raise ValueError(f"{name} {_short(value)}: must be a multiple of {self.multiple:,}{of}")


def checked(kind: Any, value: Any, name: str) -> Any:
    """A value from JSON as the type that a field declares.

    Args:
        kind: int, float, bool, str, dict, Path, a Literal, a dataclass of such, a tuple or list of one of
            them, or one of them or None. A whole number is also a float, a list a tuple, a dict a dataclass.
        value: what JSON gave.
        name: stands in the message; of a dataclass's field, with its own name behind.

    Raises:
        ValueError: another type, a field that is missing or unknown, NaN, infinity, half a surrogate pair, or
            a number outside its range.
    """
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        found = checked(args[0], value, name)
        for limit in args[1:]:
            if isinstance(limit, Range):
                limit.check(found, name)
        return found
    if origin in (Union, UnionType):
        (real,) = (one for one in args if one is not NoneType)
        return None if value is None else checked(real, value, name)
    if origin is Literal:
        if value not in args:
            raise ValueError(f"{name} is {_short(value)}, expected one of {', '.join(map(str, args))}")
        return value
    if is_dataclass(kind):
        return _dataclass(kind, value, name)
    if origin in (tuple, list):
        return _sequence(origin, args, value, name)
    if kind is float and type(value) is int and abs(value) < 2**63:
        value = float(value)
    if kind is Path and isinstance(value, str):
        value = Path(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{name} is {_short(value)}, expected {_NAMES[kind]}")
    if kind is float and not math.isfinite(value):
        raise ValueError(f"{name} is {value}, expected a finite number")
    if kind is str and not _is_unicode(value):
        raise ValueError(f"{name} is {_short(value)}, which is no valid Unicode")
    return value


def types_of(kind: Any) -> dict[str, Any]:
    """Name of each field of a dataclass -> its type, with its range.

    A field that a subclass gives another default, and only that, keeps its range.
    """
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        for name, hint in inspect.get_annotations(base, eval_str=True).items():
            if get_origin(found.get(name)) is not Annotated or get_args(found[name])[0] != hint:
                found[name] = hint
    return found


def _dataclass(kind: Any, value: Any, name: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {_short(value)}, expected the fields of one")
    types, known = types_of(kind), {field.name: field for field in fields(kind)}
    unknown = [key for key in value if key not in known]
    required = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    missing = [key for key in required if key not in value]
    if unknown or missing:
        wrong = f"has {_short(unknown[0])}, which is not known" if unknown else f"lacks {missing[0]!r}"
        raise ValueError(f"{name} {wrong}")
    return kind(**{key: checked(types[key], item, f"{name}.{key}") for key, item in value.items()})


def _sequence(origin: Any, args: Sequence[Any], value: Any, name: str) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name} is {_short(value)}, expected a list")
    words = args[0] is str and all(isinstance(item, str) for item in value)
    if words and (origin is list or args[-1] is Ellipsis) and _is_unicode("".join(value)):
        return origin(value)  # vocabularies are long
    kinds = [args[0]] * len(value) if origin is list or args[-1] is Ellipsis else list(args)
    if len(value) != len(kinds):
        raise ValueError(f"{name} is {_short(value)}, expected {len(kinds)} values")
    return origin(
        checked(k, item, f"{name}[{i}]") for i, (k, item) in enumerate(zip(kinds, value, strict=True))
    )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
