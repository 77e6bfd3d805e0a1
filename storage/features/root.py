"""The root node of a store: what makes a place one of ours, and of which format."""

from __future__ import annotations

import itertools
import os
import re
import shlex
from pathlib import Path
from typing import Literal

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.hints import command, option_words
from cvbench.storage.features.keys import record_key
from cvbench.storage.features.ledger import FORMAT, unseal
from cvbench.storage.features.nodes import create_root
from cvbench.storage.features.parse import Fields, read_json
from cvbench.storage.objects.base import TEMPORARY, Objects
from cvbench.storage.objects.keys import LEDGER, REPAIR

Mode = Literal["r", "r+", "a"]
"""Read; read and write what exists; read, write and make: as in h5py and zarr."""


def open_root(objects: Objects, mode: Mode) -> tuple[int, bool]:
    """The format of the store that lies here, and whether it does: with mode "a" `make_root` may make one.

    Raises:
        DataUnavailableError: Nothing is there, and the mode is not "a".
        IntegrityError: Something is there that is no store of ours, or one of a newer format; or the root node is lost
            or damaged. Mode "a" writes a lost one anew, since it is a constant.
    """
    root = objects.get("zarr.json")
    if root is None:
        known = _refuse_if_nothing(objects, mode)
        if known is None:
            return FORMAT, False
        create_root(objects, known)
        root = objects.get("zarr.json") or b""  # now ours, or that of a process that was faster
    return _format_of(root, objects), True


def make_root(objects: Objects, format: int) -> None:
    """Make a place a store of ours, if it is none: the first write into it."""
    if objects.get("zarr.json") is None:
        create_root(objects, format)
        _format_of(objects.get("zarr.json") or b"", objects)  # that of a process that was faster may be another's


def _refuse_if_nothing(objects: Objects, mode: Mode) -> int | None:
    """Find the format of a store that may be mended at a place without a root node, None where one may be made; else
    raise."""
    known = evidence(objects)
    stray = _stray(objects)
    if known and mode != "a":
        raise IntegrityError(
            "the root node of the store is lost", where=f"{objects.url}/zarr.json", fix=f"{REPAIR}; so does `extract`"
        )
    if mode != "a":
        free = objects.url if stray is None else _beside(objects.url)
        new = f"{command('extract', dataset='digits', store=free)}  # makes one; or name another"
        raise DataUnavailableError(
            "there is no feature store",
            where=objects.url,
            why=None if stray is None else f"the place holds other files, such as {stray}, and is not a feature store",
            fix=_another(objects.url) if _around(objects.url) else new,
        )
    if stray is not None and not known and objects.get("zarr.json") is None:  # else another process was faster
        raise IntegrityError(
            "the place is not empty and holds no feature store",
            where=objects.url,
            why=f"there is {stray}",
            fix=_another(objects.url),
        )
    if not known and "://" not in objects.url and (around := _around(objects.url)):
        why = f"the store {around} is around it"
        raise IntegrityError("the place lies in a feature store", where=objects.url, why=why, fix=_another(objects.url))
    return known


def _is_of_root(key: str) -> bool:
    """Whether it is a root node, or the unfinished write of one, which another process may be at."""
    folder, _, name = key.rpartition("/")
    return folder in ("", LEDGER) and (name == "zarr.json" or name.startswith(TEMPORARY))


def _stray(objects: Objects) -> str | None:
    """Something at a place, or instead of it, that is of no store; None if there is nothing."""
    if "://" not in objects.url and (file := _file_at(objects.url)):
        return f"the file {file.name}"
    return next((key for key, kind in objects.survey() if kind != "folder" and not _is_of_root(key)), None)


def _beside(url: str) -> str:
    """A place for a store beside one that is taken; of a URL nobody looks whether it is free."""
    taken = url.rstrip("/") if "://" in url else str(_file_at(url) or Path(url))
    numbered = (f"{taken}-{number}.zarr" for number in itertools.count(2))
    names = itertools.chain([f"{taken}.zarr"], numbered)
    return next(name for name in names if "://" in url or not os.path.lexists(name))


def _another(url: str) -> str:
    """A fix for a place that is no store."""
    return f"{shlex.join(option_words({'store': _around(url) or _beside(url)}))}, or another store of cvbench"


def _around(url: str) -> str | None:
    """The store that a place is a part of, if it is; of a URL nobody looks, its names tell."""
    if "://" in url:
        found = re.match(r"\w+://[^/]+/.*[^/]\.zarr(?=/+[^/])", url)
        return None if found is None else found[0]
    return next((str(path) for path in Path(url).parents if (path / LEDGER / "zarr.json").is_file()), None)


def _file_at(url: str) -> Path | None:
    """The file that is where a folder would be, or one above it."""
    return next((path for path in (Path(url), *Path(url).parents) if path.is_file()), None)


def evidence(objects: Objects) -> int | None:
    """The format of the records of ours that lie here, which make this a store even without its root node."""
    for key, kind in objects.survey(f"{LEDGER}/"):
        place = record_key(key) if kind == "file" else None
        if place is None or place.kind not in ("split", "fingerprint", "array"):
            continue
        try:
            format = unseal(objects.get(key) or b"", key).get("format")
        except IntegrityError:
            continue
        if type(format) is int and 1 <= format <= FORMAT:
            return format
    return None


def _format_of(root: bytes, objects: Objects) -> int:
    """The format of a store, from the attributes of its root.

    Raises:
        IntegrityError: The root is damaged, is none of ours, or is of a newer format.
    """
    url = objects.url
    try:
        node = Fields(read_json(root, url), url)
        version = node.object("attributes").object("cvbench").integer("format", least=1)
    except IntegrityError as error:
        _refuse_damaged_root(objects)
        raise IntegrityError(
            "there is a zarr store, but it is not one of cvbench",
            where=url,
            why=error.why or error.what,
            fix=_another(url),
        ) from error
    if version > FORMAT:
        _refuse_damaged_root(objects)
        raise IntegrityError(
            f"the store has format {version}, this cvbench reads up to {FORMAT}", where=url, fix="use a newer cvbench"
        )
    return version


def _refuse_damaged_root(objects: Objects) -> None:
    """Say that a root node which is none of ours is a damaged one, where the records are ours."""
    if evidence(objects):
        raise IntegrityError("the root node of the store is damaged", where=f"{objects.url}/zarr.json", fix=REPAIR)
