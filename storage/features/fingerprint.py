"""Same name, same bytes: a run whose settings differ from the stored ones is refused before it writes anything."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from cvbench.errors import FingerprintMismatchError, UsageError


def canonical(value: Mapping[str, Any]) -> dict[str, Any]:
    """`value` as JSON gives it back, so that tuples equal lists and 1.0 stays 1.0.

    Raises:
        UsageError: It holds something that JSON cannot hold exactly.
    """
    try:
        back: dict[str, Any] = json.loads(json.dumps(value, sort_keys=True, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UsageError(f"a fingerprint must be plain JSON: {error}") from error
    return back


def differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """One line per differing field, nested fields by dotted names, with both values.

    >>> differences({"a": 1, "p": {"mean": 0.5, "size": 224}}, {"a": 1, "p": {"mean": 0.4}, "b": "x"})
    ["b: stored nothing, now 'x'", 'p.mean: stored 0.5, now 0.4', 'p.size: stored 224, now nothing']
    """
    old, new = dict(_flat(canonical(stored))), dict(_flat(canonical(wanted)))
    show = {name: (repr(old[name]) if name in old else "nothing") for name in old.keys() | new.keys()}
    return [
        f"{name}: stored {show[name]}, now {new[name]!r}"
        if name in new
        else f"{name}: stored {show[name]}, now nothing"
        for name in sorted(show)
        if name not in old or name not in new or old[name] != new[name]
    ]


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _flat(item, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", item


def refuse_if_different(stored: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> None:
    """Raise FingerprintMismatchError naming every differing field with both values; else do nothing."""
    lines = differences(stored, wanted)
    if lines:
        names = ", ".join(line.split(":", 1)[0] for line in lines)
        raise FingerprintMismatchError(
            f"the store holds these features made in another way ({names}); nothing was written",
            where=where,
            why="; ".join(lines),
            fix="run with the stored settings, or use another --store",
        )
