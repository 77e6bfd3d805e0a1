"""What the readers of shards share: the argument, the name of the data set, the names of the classes."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from cvbench.errors import IntegrityError, UsageError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.roots import absolute_path
from cvbench.storage.datasets.shards import Shards

CLASS_FILES = ("classes.txt", "classnames.txt")


def pattern_of(info: DatasetInfo, argument: str, root: Path | None) -> str:
    """The absolute pattern behind `wds:` or `parquet:`."""
    if not argument:
        raise UsageError(f"{info.name} needs a path", fix=f"{info.name}:PATH, a file, a folder, a pattern or a URL")
    return absolute_path(argument, root)


def place_of(argument: str, root: Path | None) -> Path | None:
    """The local folder that a pattern starts from, if it is there."""
    if not argument or "://" in argument:
        return None
    fixed = re.split(r"[{*?\[]", absolute_path(argument, root))[0]
    path = Path(fixed)
    folder = path if path.is_dir() else path.parent
    return folder if folder.is_dir() else None


def store_key(kind: str, pattern: str) -> str:
    """The data set's key in a store: "wds-val" for ".../val-{000..009}.tar", and for ".../val/*.tar" too."""
    for part in reversed(pattern.partition("://")[2].split("/") if "://" in pattern else pattern.split("/")):
        bare = re.sub(r"\.(tar|parquet)$", "", re.sub(r"\{[^}]*\}|\[[^]]*\]|[*?]", "", part)).lower()
        slug = re.sub(r"[^a-z0-9._]+", "-", bare).strip("-._")
        if re.search("[a-z]", slug) and slug != "data":
            return f"{kind}-{slug}"
    return f"{kind}-{hashlib.sha256(pattern.encode()).hexdigest()[:8]}"


def listed_classes(shards: Shards) -> tuple[str, ...]:
    """The lines of classes.txt (or classnames.txt) beside the shards or one level above; empty if there is none."""
    found = shards.beside(*CLASS_FILES)
    if found is None:
        return ()
    where, data = found
    try:
        names = tuple(line.strip() for line in data.decode().splitlines() if line.strip())
    except UnicodeDecodeError as err:
        raise IntegrityError("the list of classes is no text", where=where, why=str(err)) from err
    if len(set(names)) != len(names):
        raise IntegrityError("a class is listed twice", where=where)
    return names


def classes_for(names: tuple[str, ...], highest: int, where: str) -> tuple[str, ...]:
    """Names for labels up to `highest`: those known, else the numbers.

    Raises:
        IntegrityError: There are names, but too few.
    """
    if names and highest >= len(names):
        raise IntegrityError(f"label {highest} has no name: {len(names)} classes are listed", where=where)
    return names or tuple(str(label) for label in range(highest + 1))
