"""What `cvbench datasets download` does: say the conditions, then fetch, check, unpack and put in place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cvbench.errors import DataUnavailableError, UsageError
from cvbench.hints import command
from cvbench.storage.datasets import dataset_info, locate
from cvbench.storage.datasets.roots import ENVIRONMENT
from cvbench.storage.datasets.roots import data_root as resolve_root
from cvbench.storage.downloads import SOURCES, About, Source, place

Listener = Callable[[str, int, int | None], None]
"""Hears (file, bytes so far, bytes in all or None)."""


@dataclass(frozen=True)
class Terms:
    """Conditions that a person agrees to before a download.

    Attributes:
        files: Where the archives are, the first place of each.
        folder: Where the data set will be.
        unchecked: Files of which no checksum is published.
    """

    dataset: str
    title: str
    licence: str
    homepage: str
    files: tuple[str, ...]
    folder: str
    unchecked: tuple[str, ...] = ()


@dataclass(frozen=True)
class Downloaded:
    """Folder of a data set, and what was fetched for it.

    Attributes:
        fetched: (file, bytes, SHA-256, where from) of each archive; empty if the data set was there already. "where
            from" is empty for a file that an earlier attempt had brought.
    """

    dataset: str
    folder: str
    files: int
    fetched: tuple[tuple[str, int, str, str], ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        names = ("file", "bytes", "sha256", "url")
        return {**asdict(self), "fetched": [dict(zip(names, row, strict=True)) for row in self.fetched]}


def present(spec: str, data_root: str | Path | None) -> Downloaded | None:
    """The data set, if it is under the data root already."""
    found = _located(spec, data_root)
    return None if found is None else Downloaded(spec, str(found), files=0, fetched=())


def terms(spec: str, data_root: str | Path | None) -> Terms:
    """The conditions of a data set.

    Raises:
        UnknownNameError: No such data set.
        DataUnavailableError: Its archives may not be, or cannot be, fetched by a program.
        UsageError: No data root.
    """
    source = _source(spec)
    about = source.about or _about(spec)
    return Terms(
        dataset=source.dataset,
        title=about.title,
        licence=about.licence,
        homepage=about.homepage,
        files=tuple(archive.urls[0] for archive in source.archives),
        folder=str(_root(data_root) / source.folder),
        unchecked=tuple(archive.file for archive in source.archives if not archive.vouched),
    )


def download(
    spec: str,
    data_root: str | Path | None,
    *,
    accepted: bool,
    keep: bool = False,
    listen: Listener = lambda file, done, total: None,
    pause: float = 1.0,
) -> Downloaded:
    """Fetch a data set below the data root; nothing to do if it is there.

    Args:
        accepted: The person has accepted the licence.
        keep: Keep the archives.
        pause: Seconds before a second attempt of a request.

    Raises:
        UsageError: Not accepted, no data root, or the folder is taken.
        DataUnavailableError: No place serves an archive, or what it serves does not make the data set.
        IntegrityError: An archive is not what was published.
        ResourceError: The disk is full.
    """
    there = present(spec, data_root)
    if there is not None:
        return there
    source, root = _source(spec), _root(data_root)
    if not accepted:
        raise UsageError(
            f"the licence of {source.dataset} is not accepted",
            why=(source.about or _about(spec)).licence,
            fix=command("datasets download", spec, data_root=str(root), accept_licence=True),
        )
    placed = place(source, root, listen=listen, keep=keep, pause=pause)
    if _located(spec, root) is None:
        raise DataUnavailableError(
            f"the archives are unpacked, but they do not make {source.dataset}",
            where=str(placed.folder),
            why=f"expected {', '.join(dataset_info(spec).tree.splitlines())}",
        )
    return Downloaded(
        dataset=spec,
        folder=str(placed.folder),
        files=placed.files,
        fetched=tuple((file.path.name, file.size, file.sha256, file.url) for file in placed.fetched),
    )


def _located(spec: str, data_root: str | Path | None) -> Path | None:
    """The folder of the data set, or of the annotations, if it is there and whole as far as names tell."""
    source = SOURCES.get(spec)
    if source is None or source.about is None:
        return locate(spec, data_root=data_root)
    root = resolve_root(data_root)
    folder = None if root is None else root / source.folder
    complete = folder is not None and all((folder / archive.file).is_file() for archive in source.archives)
    return folder if complete else None


def _about(spec: str) -> About:
    info = dataset_info(spec)
    return About(info.title, info.licence, info.homepage)


def _source(spec: str) -> Source:
    name = spec.partition(":")[0]
    if name in SOURCES and SOURCES[name].about is not None and name == spec:
        return SOURCES[name]
    info = dataset_info(spec)
    if name not in SOURCES:
        raise DataUnavailableError(
            f"{name} cannot be downloaded by cvbench",
            why=f"these can: {', '.join(sorted(SOURCES))}",
            fix=f"get it from {info.homepage}" if not info.of_files else None,
        )
    return SOURCES[name]


def _root(data_root: str | Path | None) -> Path:
    root = resolve_root(data_root)
    if root is None:
        raise UsageError("no data root is given", fix=f"--data-root DIR, or set {ENVIRONMENT}=DIR")
    return root
