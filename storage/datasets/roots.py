"""Where data sets are looked for, and what is said when they are not there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from cvbench.errors import DataUnavailableError, UsageError
from cvbench.hints import command
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.objects.folders import listing

ENVIRONMENT = "CVBENCH_DATA"


def data_root(given: str | Path | None) -> Path | None:
    """The folder that holds the data sets: as given, else from CVBENCH_DATA, else None. Always absolute.

    Raises:
        UsageError: It is a URL.
    """
    chosen = given if given is not None else os.environ.get(ENVIRONMENT) or None
    if chosen is not None and "://" in str(chosen):
        raise UsageError(
            f"a data root is a folder of this machine, not {chosen}",
            fix="--data-root DIR; wds:URL and parquet:URL are read from anywhere",
        )
    return None if chosen is None else Path(os.path.abspath(Path(chosen).expanduser()))


def absolute_path(argument: str, root: Path | None) -> str:
    """The path in a spec made absolute: below the data root, or the working folder if there is none. URLs stay."""
    if "://" in argument:
        return argument
    path = Path(argument).expanduser()
    return os.path.abspath(path if root is None else root / path)


def first_match(root: Path | None, folders: Iterable[str], accept: Callable[[Path], bool]) -> Path | None:
    """The first of `root / folder` that `accept` takes."""
    if root is None:
        return None
    return next((root / folder for folder in folders if accept(root / folder)), None)


def absent(info: DatasetInfo, root: Path | None, places: Sequence[str] = ()) -> DataUnavailableError:
    """The error for a tree that is nowhere under the root.

    Args:
        places: Folders that nobody but this data set has: of one that exists, it is said what is in it.
    """
    from cvbench.storage.downloads.sources import SOURCES

    expected = f"expected {', '.join(info.tree.splitlines())}"
    place = "DIR" if root is None else str(root)
    download = f"{command('datasets download', info.name, data_root=place)}  # or " if info.name in SOURCES else ""
    if root is None:
        return DataUnavailableError(
            f"{info.name}: no data root is given",
            why=expected,
            fix=f"{download}get it from {info.homepage}, then pass --data-root DIR or set {ENVIRONMENT}=DIR",
        )
    folder = next((root / place for place in places if place and (root / place).is_dir()), None)
    if folder is not None:
        return DataUnavailableError(
            f"{info.name}: the folder does not look like it",
            where=str(folder),
            why=f"{expected}; found {listing(folder)}",
            fix=f"get it from {info.homepage}, unpack it there, or point --data-root to where it is",
        )
    return DataUnavailableError(
        f"{info.name} is not under the data root",
        where=str(root),
        why=f"{expected}; found {listing(root)}",
        fix=f"{download}get it from {info.homepage}, unpack it there, or point --data-root or {ENVIRONMENT} to it",
    )


def lacks(what: str, missing: Sequence[str], folder: Path, fix: str | None = None) -> DataUnavailableError:
    """The error for a data set some of whose files are not in a folder; what is there is said."""
    return DataUnavailableError(
        f"{what} lacks {', '.join(missing)}", where=str(folder), why=f"found {listing(folder)}", fix=fix
    )


def unreadable(err: OSError) -> DataUnavailableError:
    """The error for a folder that cannot be listed."""
    return DataUnavailableError("a folder of images cannot be read", where=str(err.filename), why=err.strerror)


def refuse_unreadable(err: OSError) -> None:
    """Raise for a folder that `os.walk` would skip; one that is not there, such as a class of another split, passes.

    Raises:
        DataUnavailableError: As `unreadable`.
    """
    if not isinstance(err, FileNotFoundError):
        raise unreadable(err) from err
