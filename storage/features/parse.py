"""The one door for JSON that lies in a store: every mistake is an IntegrityError that names the key and the field.

A store may come from anybody, and a record may hold anything with a right digest. So nothing here trusts a type, a
count, a length or a depth, and nobody else turns bytes of a store into JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, TypeVar

from cvbench.errors import IntegrityError
from cvbench.storage.objects.keys import REPAIR

_T = TypeVar("_T")
_MOST_DEPTH = 64  # of nested lists and objects; ours have at most ten

MOST_BYTES = 16 << 20
"""Of one document. The largest that we write, a commit of thousands of map chunks, has a few."""

MOST = 2**53
"""Largest count: what JSON holds exactly everywhere, and far beyond any store."""


def read_json(data: bytes, where: str, what: str = "a record of the store") -> Any:
    """The JSON in `data`.

    Raises:
        IntegrityError: Too long, not UTF-8, not JSON, nested too deeply, a name twice in one object, or a number that
            is none (NaN, Infinity); `where` is named.
    """
    if len(data) > MOST_BYTES:
        raise IntegrityError(f"{what} is too long", where=where, why=f"{len(data)} bytes, at most {MOST_BYTES}")
    try:
        value = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_number, parse_float=_finite)
        # No text is deeper than it has brackets; most have too few for a look at the value.
        if data.count(b"[") + data.count(b"{") > _MOST_DEPTH and _deep(value):
            raise RecursionError
    except RecursionError as error:
        raise IntegrityError(f"{what} is not JSON", where=where, why="it is nested too deeply") from error
    except ValueError as error:
        raise IntegrityError(f"{what} is not JSON", where=where, why=str(error)) from error
    return value


def _deep(value: Any) -> bool:
    """Whether lists and objects are nested beyond what any function here needs to follow."""
    level = [value]
    for _ in range(_MOST_DEPTH + 1):
        inside = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list))
        level = [item for items in inside for item in items if isinstance(item, dict | list)]
        if not level:
            return False
    return True


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is beyond the range of a float")
    return value


class Fields:
    """A JSON object, read field by field.

    Args:
        value: What should be an object.
        where: Key of the stored object, for errors.
        at: Path of this object within it, ending in a dot unless empty.
    """

    def __init__(self, value: Any, where: str, at: str = "") -> None:
        self.where, self.at = where, at
        if not isinstance(value, dict):
            raise self.wrong("", f"expected an object, got {_kind(value)}")
        self._value: dict[str, Any] = value

    def __iter__(self) -> Iterator[str]:
        return iter(self._value)

    def __contains__(self, name: str) -> bool:
        return name in self._value

    def wrong(self, name: str, why: str) -> IntegrityError:
        """The error for a field."""
        field = f"{self.at}{name}".rstrip(".")
        return IntegrityError(
            "a record of the store cannot be understood",
            where=self.where,
            why=f"{field}: {why}" if field else why,
            fix=REPAIR,
        )

    def only(self, *names: str) -> Fields:
        """Refuse fields that are not named: whoever wrote them meant something that would be lost here."""
        unknown = sorted(self._value.keys() - set(names))
        if unknown:
            raise self.wrong(unknown[0][:80], "unknown field")
        return self

    def raw(self, name: str) -> Any:
        """A field of any type that must be there."""
        if name not in self._value:
            raise self.wrong(name, "missing")
        return self._value[name]

    def integer(self, name: str, least: int = 0, most: int = MOST) -> int:
        """A whole number within bounds."""
        return self._integer(name, self.raw(name), least, most)

    def integers(self, name: str, least: int = 0, most: int = MOST) -> tuple[int, ...]:
        """A list of whole numbers within bounds."""
        return tuple(self._integer(name, item, least, most) for item in self._list(name))

    def _integer(self, name: str, value: Any, least: int, most: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(name, f"expected a whole number, got {_kind(value)}")
        if not least <= value <= most:
            raise self.wrong(name, f"not within {least} and {most}")
        return value

    def number(self, name: str) -> float | None:
        """A finite number or null."""
        value = self.raw(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e308:
            raise self.wrong(name, f"expected a number or null, got {_kind(value)}")
        return value

    def text(self, name: str) -> str:
        """Text that UTF-8 can hold."""
        return self._text(name, self.raw(name))

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        return tuple(self._text(name, item) for item in self._list(name))

    def _text(self, name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise self.wrong(name, f"expected text, got {_kind(value)}")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise self.wrong(name, "half a surrogate pair") from error
        return value

    def hex(self, name: str, digits: int = 64) -> str:
        """A digest in lower-case hex."""
        value = self.text(name)
        if len(value) != digits or set(value) - set("0123456789abcdef"):
            raise self.wrong(name, f"expected {digits} hex digits")
        return value

    def object(self, name: str) -> Fields:
        """An object."""
        return Fields(self.raw(name), self.where, f"{self.at}{name}.")

    def objects(self, name: str) -> list[Fields]:
        """A list of objects."""
        return [Fields(item, self.where, f"{self.at}{name}[{i}].") for i, item in enumerate(self._list(name))]

    def mapping(self, name: str) -> Mapping[str, Any]:
        """An object as it is."""
        value = self.raw(name)
        if not isinstance(value, dict):
            raise self.wrong(name, f"expected an object, got {_kind(value)}")
        return value

    def each(self, name: str, make: Callable[[Fields], _T]) -> dict[str, _T]:
        """An object of objects, each made into something."""
        inner = self.object(name)
        return {self._text(name, key): make(inner.object(key)) for key in inner}

    def _list(self, name: str) -> list[Any]:
        value = self.raw(name)
        if not isinstance(value, list):
            raise self.wrong(name, f"expected a list, got {_kind(value)}")
        return value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), f"{str(value)[:20]}" if not isinstance(value, int) else "a whole number")
