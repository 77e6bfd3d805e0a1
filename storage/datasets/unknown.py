"""What is said of a data set that there is not: near names, and files of that name with the spec that opens them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from cvbench.errors import CvbenchError, UnknownNameError
from cvbench.storage.datasets.base import Dataset

_ENDS = {".csv": "table", ".tsv": "table", ".jsonl": "table", ".parquet": "parquet", ".tar": "wds"}


def unknown(
    spec: str,
    name: str,
    argument: str | None,
    known: Sequence[str],
    kinds: Sequence[str],
    opened: Callable[[str], Sequence[Dataset]],
) -> UnknownNameError:
    """The error for a spec of no reader.

    Args:
        spec: As it was given.
        name: What stands before its colon.
        argument: What stands behind it; None if there is none.
        known: Names of the registry.
        kinds: Beginnings of the specs of files, such as "folder:".
        opened: Spec of files -> the splits of them.
    """
    given = spec if argument is None else argument
    path = Path(given)
    kind = "folder" if given and path.is_dir() else _ENDS.get(path.suffix.lower(), "") if path.is_file() else ""
    if f"{kind}:" in kinds:
        held = _held(opened, f"{kind}:{path}")
        return UnknownNameError(
            f"unknown dataset {spec!r}",
            why=f"there is a {'folder' if kind == 'folder' else 'file'} of this name",
            fix=f"--dataset {shlex.quote(f'{kind}:{path}')}{f' ({held})' if held else ''}",
        )
    error = UnknownNameError.among("dataset", spec if argument is None else name, known, fix="cvbench datasets ls")
    if argument is not None:
        error.why = f"files of one's own are opened by {', '.join(kinds)}"
    return error


def _held(opened: Callable[[str], Sequence[Dataset]], spec: str) -> str:
    """Classes and images of files, in words; "" where they cannot be opened."""
    try:
        splits = opened(spec)
    except CvbenchError:
        return ""
    images = f"{sum(map(len, splits)):,} images"
    classes = max((len(one.classes) for one in splits), default=0)
    return f"{classes:,} classes, {images}" if classes else images
