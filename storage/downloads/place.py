"""Fetch, check, unpack and put in place all archives of one data set. Until it is whole nothing of it shows.

Everything happens in `<data root>/.cvbench/<data set>/`, on the same disk: downloads (kept if something fails, so that
the next attempt goes on), then a tree, which is moved to its place in one step.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cvbench.errors import IntegrityError, ResourceError, UsageError
from cvbench.storage.downloads.archive import Archive, Source
from cvbench.storage.downloads.fetch import Fetched, Listener, fetch
from cvbench.storage.downloads.unpack import unpack
from cvbench.storage.objects.folders import EMPTY, listing

WORK = ".cvbench"
RECORD = "downloads.json"


@dataclass(frozen=True)
class Placed:
    """Folder of a data set, number of files that were unpacked, and what was fetched for it."""

    folder: Path
    files: int
    fetched: tuple[Fetched, ...]


def place(source: Source, root: Path, *, listen: Listener, keep: bool = False, pause: float = 1.0) -> Placed:
    """Download a data set below `root`.

    Args:
        keep: Keep the archives.
        pause: Seconds before a second attempt of a request.

    Raises:
        UsageError: Its folder is there already.
        IntegrityError, DataUnavailableError, ResourceError: As `fetch` and `unpack`.
    """
    target = root / source.folder
    if target.exists() and listing(target) != EMPTY:
        raise UsageError(
            f"the folder of {source.dataset} is there, but it is not the whole data set",
            where=str(target),
            why=f"found {listing(target)}",
            fix=f"move it away: mv {target} {target}.old",
        )
    work = root / WORK / source.dataset
    with _alone(work):
        known = _recorded(root)
        fetched = tuple(
            fetch(archive, work, sha256=known.get(f"{source.dataset}/{archive.file}"), listen=listen, pause=pause)
            for archive in source.archives
        )
        tree = work / "tree"
        shutil.rmtree(tree, ignore_errors=True)
        tree.mkdir()
        files = _fill(source, work, tree)
        _record(root, {f"{source.dataset}/{file.path.name}": file.sha256 for file in fetched})
        with contextlib.suppress(OSError):
            target.rmdir()  # an empty one
        os.rename(tree, target)
        if not keep:
            shutil.rmtree(work, ignore_errors=True)
    return Placed(target, files, fetched)


def _fill(source: Source, work: Path, tree: Path) -> int:
    """Unpack all archives into one tree; the number of files."""
    files = 0
    for archive in source.archives:
        if not archive.unpack:
            shutil.copyfile(work / archive.file, _folder_of(archive, tree) / archive.file)
            files += 1
            continue
        try:
            files += unpack(work / archive.file, tree)
        except IntegrityError:
            if not archive.vouched:  # nothing vouches for it, so the next attempt must not find it
                (work / archive.file).unlink()
            raise
        for inner in archive.inner:
            path = tree / inner
            if path.is_file():
                files += unpack(path, path.parent) - 1
                path.unlink()
    return files


def _folder_of(archive: Archive, tree: Path) -> Path:
    """The folder of a file that is used as it is."""
    if archive.beside is None:
        return tree
    return next((path.parent for path in sorted(tree.rglob(archive.beside))), tree)


@contextlib.contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Keep other processes out of the folder."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        handle = os.open(work.parent / f"{work.name}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as err:
        raise ResourceError(
            "the data root cannot be written to", where=str(work), why=err.strerror, fix="--data-root DIR"
        ) from err
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            raise ResourceError(
                "another process is downloading this data set", where=str(work), fix="wait until it has ended"
            ) from err
        yield
    finally:
        os.close(handle)


def _recorded(root: Path) -> dict[str, str]:
    """File -> SHA-256 of an earlier download."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        content = json.loads((root / WORK / RECORD).read_text())
        return {str(k): str(v) for k, v in content.items()} if isinstance(content, dict) else {}
    return {}


def _record(root: Path, digests: dict[str, str]) -> None:
    path = root / WORK / RECORD
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(_recorded(root) | digests, indent=1, sort_keys=True))
    os.replace(temporary, path)
