"""What packages installed beside cvbench add to it, by entry points: listed without importing any of them.

[project.entry-points."cvbench.views"]
norms = "my_package.views:NORMS"
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, TypeVar

from cvbench.errors import UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Kind = TypeVar("Kind")


@cache
def plugins(group: str) -> dict[str, tuple[EntryPoint, ...]]:
    """Name -> the entry points of a group that have it, sorted by name; more than one is a mistake, see `load_plugin`.

    Args:
        group: Such as "cvbench.views".
    """
    from importlib.metadata import entry_points

    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in sorted(entry_points(group=group), key=lambda point: (point.name, point.value)):
        known = found.setdefault(point.name, ())
        if all((point.value, package_of(point)) != (other.value, package_of(other)) for other in known):
            found[point.name] = (*known, point)  # a package that is on the path twice is one
    return found


def load_plugin(group: str, name: str, kind: type[Kind]) -> Kind:
    """Import what an entry point names.

    Args:
        group, name: Of the entry point, which is one of `plugins`.
        kind: What it must be.

    Raises:
        UsageError: Several have the name; it cannot be imported; or it is something else.
    """
    point, *others = plugins(group)[name]
    if others:
        raise UsageError(
            f"several packages add {name!r} to {group}",
            where=", ".join(f"{one.value} of {package_of(one)}" for one in (point, *others)),
            fix="uninstall all but one",
        )
    try:
        found = point.load()
    except Exception as error:  # whatever the code of a stranger raises as it is imported
        raise UsageError(
            f"{name!r} of {group} cannot be imported",
            where=f"{point.value} of {package_of(point)}",
            why=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
            fix=f"mend or uninstall {package_of(point)}",
        ) from error
    if not isinstance(found, kind):
        raise UsageError(
            f"{name!r} of {group} is no {kind.__name__}",
            where=f"{point.value} of {package_of(point)}",
            why=f"it is of type {type(found).__name__}",
        )
    return found


def package_of(point: EntryPoint) -> str:
    """The distribution that an entry point comes from, with its version."""
    return "an unknown package" if point.dist is None else f"{point.dist.name} {point.dist.version}"
