"""The error for a file of images, or a list of them, that is not where it was named."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from cvbench.errors import DataUnavailableError
from cvbench.storage.objects.folders import EMPTY, listing


def absent(what: str, where: str, suffixes: Sequence[str]) -> DataUnavailableError:
    """Make the error, with the names near it that are there.

    Args:
        what: What is not there, such as "the table".
        where: The absolute path, or a URL.
        suffixes: What the name of such a file ends in.
    """
    fix = f"give the path of a file that ends in {', '.join(suffixes)}"
    if "://" in where:
        return DataUnavailableError(f"{what} is not there", where=where, fix=fix)
    path = Path(where)
    beside = sorted(os.listdir(path.parent)) if path.parent.is_dir() else []
    fitting = [name for name in beside if name.endswith(tuple(suffixes))]
    return DataUnavailableError(
        f"{what} is not there",
        where=where,
        why=holds(path),
        fix=f"{fix}, such as {path.parent / fitting[0]}" if fitting else f"{fix}; a relative one is below --data-root",
        did_you_mean=difflib.get_close_matches(path.name, fitting, n=3, cutoff=0.5),
    )


def holds(path: Path) -> str:
    """Say what is there: of the folder itself, or of the nearest one above it.

    >>> holds(Path("/no/such/place")).partition("; ")[0]
    'there is no such file or folder'
    """
    if path.is_dir():
        found = listing(path)
        return "the folder is empty" if found == EMPTY else f"the folder holds: {found}"
    if path.is_file():
        return "it is a file of another kind"
    above = next((one for one in path.parents if one.is_dir()), Path("/"))
    return f"there is no such file or folder; {above} holds: {listing(above)}"
