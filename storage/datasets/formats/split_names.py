"""Which split a name means: train, training; val, valid, validation, dev; test, testing, in any case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "test": ("test", "testing"),
        "val": ("val", "valid", "validation", "dev"),
        "train": ("train", "training"),
    }
)
_SPLIT_OF = {name: split for split, names in _NAMES.items() for name in names}

SPLITS = tuple(_NAMES)
"""Splits with a usual name, in the order in which one is the default."""


def split_of(name: str) -> str | None:
    """The split that a folder's name means, if it means one.

    >>> split_of("Validation"), split_of("birds")
    ('val', None)
    """
    return _SPLIT_OF.get(name.lower())


def split_named(given: str, known: Sequence[str]) -> str:
    """The split of `known` that a person means: by its own name, or by another that means the same.

    >>> split_named("validation", ["train", "val"]), split_named("val", ["Validation", "train"])
    ('val', 'Validation')
    """
    if given in known:
        return given
    alike = [name for name in known if split_of(name) is not None and split_of(name) == split_of(given)]
    return alike[0] if len(alike) == 1 else given
