"""Where an annotation file is looked for, and what is said when it is not there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cvbench.errors import DataUnavailableError
from cvbench.hints import command
from cvbench.storage.objects.folders import listing

ANNOTATIONS = "a file of annotations"
"""What these files are called in errors."""


def find_file(
    place: str | Path, names: Sequence[str], folders: Sequence[str], what: str, homepage: str, source: str = ""
) -> Path:
    """The file itself if `place` is one, else the first of `place / folder / name`.

    Args:
        names: What the file may be called.
        folders: Folders below `place`, such as those of a checkout of the repository; `place` itself comes first.
        what: Of whom the file is, for the error.
        homepage: Where to get it.
        source: What `cvbench datasets download` calls it; empty: it does not know it.

    Raises:
        DataUnavailableError: It is in none of these places.
    """
    path = Path(os.path.abspath(Path(place).expanduser()))
    if path.is_file():
        return path
    for folder in ("", *folders):
        for name in names:
            if (path / folder / name).is_file():
                return path / folder / name
    raise DataUnavailableError(
        f"the annotations of {what} are not there",
        where=str(path),
        why=f"expected {' or '.join(names)}, there or in {', '.join(folders)}; found {listing(path)}",
        fix=f"{_download(path, source)}get the file from {homepage} and name it or its folder",
    )


def _download(path: Path, source: str) -> str:
    """The command that gets it, into the data root of which `path` is the folder of the source, or which it is."""
    if not source:
        return ""
    root = path.parent if path.name == source else path
    return f"{command('datasets download', source, data_root=str(root))}  # or "
