"""The recorded names and parameters of CuPy, and the check of a call against them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Parameters:
    """The parameters of one function.

    Attributes:
        names: All that have a name.
        positional: How many of them may be given by place; None for any number.
        needed: Those without a default.
        only_placed: Those that may not be given by name.
    """

    names: tuple[str, ...]
    positional: int | None
    needed: tuple[str, ...]
    only_placed: frozenset[str]

    def check(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Refuse a call that CuPy would refuse.

        Raises:
            TypeError: Too many arguments, an unknown one, or one that is missing.
        """
        if self.positional is not None and len(args) > self.positional:
            raise TypeError(f"{name}() takes {self.positional} positional arguments, {len(args)} were given")
        placed = set(self.names[: len(args)]) if self.positional is not None else set()
        for keyword in kwargs:
            if keyword not in self.names or keyword in self.only_placed or keyword in placed:
                raise TypeError(f"{name}() got an unexpected keyword argument '{keyword}'")
        if missing := [one for one in self.needed if one not in placed and one not in kwargs]:
            raise TypeError(f"{name}() lacks {', '.join(missing)}")


def parse(text: str) -> Parameters:
    """The parameters that `a, b=None, *, out=None` says.

    >>> parse("x, /, out=None, *, dtype=None")
    Parameters(names=('x', 'out', 'dtype'), positional=2, needed=('x',), only_placed=frozenset({'x'}))
    """
    names: list[str] = []
    needed: list[str] = []
    placed: frozenset[str] = frozenset()
    positional: int | None = -1
    for part in re.split(r",\s*(?![^(<]*[)>])", text):
        name, equals, _ = (piece.strip() for piece in part.partition("="))
        if name == "/":
            placed = frozenset(names)
        elif name == "*":
            positional = len(names)
        elif name.startswith("**"):
            continue
        elif name.startswith("*"):
            positional = None
        elif name:
            names.append(name)
            needed += [] if equals else [name]
    return Parameters(tuple(names), len(names) if positional == -1 else positional, tuple(needed), placed)


@lru_cache(maxsize=1)
def recorded() -> dict[str, Any]:
    """What `tests.standin.record` has written."""
    found: dict[str, Any] = json.loads(Path(__file__).with_name("surface.json").read_text())
    return found


@lru_cache(maxsize=256)
def parameters(kind: str, name: str) -> Parameters | None:
    """Of a function ("functions"), method ("array") or class ("cuda"); None of what is not called.

    Raises:
        AttributeError: The recorded surface has no such name.
    """
    known = recorded()[kind]
    if name not in known:
        raise AttributeError(f"{name} is not in the recorded surface of CuPy {recorded()['version']} ({kind})")
    return None if known[name] is None else parse(known[name])
