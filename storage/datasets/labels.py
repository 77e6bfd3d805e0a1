"""Names of classes for labels that are numbers, in bounded memory: no label decides how much is allocated."""

from __future__ import annotations

from cvbench.errors import IntegrityError

MAX_UNNAMED = 100_000
"""Classes without names that a data set may have, however few samples it has: of a small sample of a large set."""


def classes_for(names: tuple[str, ...], highest: int, samples: int, where: str) -> tuple[str, ...]:
    """Names for labels up to `highest`: those known, else the numbers.

    Args:
        highest: The largest label, -1 if there is none.
        samples: How many samples there are: there may be as many classes.
        where: The sample with the largest label, for messages.

    Raises:
        IntegrityError: There are names, but too few; or none, and the label is beyond what any data set needs.
    """
    if names and highest >= len(names):
        raise IntegrityError(f"label {highest} has no name: {len(names)} classes are listed", where=where)
    if names:
        return names
    most = max(MAX_UNNAMED, samples)
    if highest >= most:
        raise IntegrityError(
            f"the label {highest} is too large",
            where=where,
            why=f"without names of the classes, labels are below {most:,}",
            fix="if it is right, list the classes in classes.txt beside the files, one a line",
        )
    return tuple(str(label) for label in range(highest + 1))
