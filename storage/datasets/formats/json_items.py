"""The entries of a long list in a JSON file, one at a time: all of them as objects would take ten times the file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cvbench.errors import IntegrityError
from cvbench.storage.datasets.formats.files import read_bounded

_SPACE = re.compile(r"[ \t\n\r]*")


def json_items(path: Path, key: str, most: int) -> Iterator[Any]:
    """The entries of the list `key` of the object in a file. Memory: twice the file, and one entry.

    Args:
        most: Bytes of the largest file that is read.

    Raises:
        DataUnavailableError: The file cannot be read.
        IntegrityError: It is larger, no such JSON (numbers that are not finite are none), or ends early. The entries
            before the place of the damage have been given by then.
    """
    too_large = "{size} bytes are more than this file of the data set has"
    data = read_bounded(path, most, what="a file of the data set", too_large=too_large)
    try:
        cursor = _Cursor(data.decode("utf-8-sig"))
        del data
        found = False
        for name in cursor.names():
            if name != key:
                cursor.value()
                continue
            if found:
                raise ValueError(f"there is more than one {key!r} in it")
            found = True
            yield from cursor.entries()
        cursor.end()
        if not found:
            raise ValueError(f"there is no {key!r} in it")
    except (ValueError, RecursionError) as err:
        raise IntegrityError(
            f"not a JSON file with a list {key!r}, or damaged", where=str(path), why=str(err), fix="get the file again"
        ) from err


class _Cursor:
    """A place in a JSON text."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self._decoder = json.JSONDecoder(parse_constant=_refuse)

    def value(self) -> Any:
        """The value that begins here."""
        self._space()
        value, self.at = self._decoder.raw_decode(self.text, self.at)
        return value

    def names(self) -> Iterator[str]:
        """The keys of the object that begins here; between two of them the caller takes the value."""
        for _ in self._parts("{", "}"):
            name = self.value()
            if not isinstance(name, str):
                raise ValueError(f"{name!r} is no key (char {self.at})")
            self._take(":")
            yield name

    def entries(self) -> Iterator[Any]:
        """The values of the list that begins here."""
        for _ in self._parts("[", "]"):
            yield self.value()

    def end(self) -> None:
        """Refuse what follows."""
        self._space()
        if self.at != len(self.text):
            raise ValueError(f"more follows after the end (char {self.at})")

    def _parts(self, opening: str, closing: str) -> Iterator[None]:
        self._take(opening)
        if self._next(closing):
            return
        while True:
            yield None
            if self._next(closing):
                return
            self._take(",")

    def _next(self, mark: str) -> bool:
        self._space()
        found = self.text.startswith(mark, self.at)
        self.at += found
        return found

    def _take(self, mark: str) -> None:
        if not self._next(mark):
            found = self.text[self.at : self.at + 1]
            raise ValueError(f"expected {mark!r}, found {found!r} (char {self.at})" if found else "it ends early")

    def _space(self) -> None:
        match = _SPACE.match(self.text, self.at)
        assert match is not None, "it matches an empty text too"
        self.at = match.end()


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number of JSON")
