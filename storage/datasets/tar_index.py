"""Where the samples of a WebDataset shard lie: one pass over a tar file's headers.

A sample is the files that share a key, the name up to the first dot of its last part: `n01/0012.jpg`, `n01/0012.cls`.
Its image is the file with an image's extension; its label is the number in `.cls`, else `label` or `cls` of `.json`.
Keys without an image, hidden names and names that start with `__` are left out, as readers of the format do.
"""

from __future__ import annotations

import json
import re
import tarfile
from dataclasses import dataclass
from typing import BinaryIO

from cvbench.errors import IntegrityError
from cvbench.storage.datasets.folder import SUFFIXES

_NAME = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]*)")
_IMAGES = {suffix[1:] for suffix in (*SUFFIXES, ".ppm", ".pgm")}
_MAX_LABEL = 64
_MAX_JSON = 1_000_000
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstd"}


@dataclass
class Member:
    """A sample: its key, where its image lies, and its label (-1 for none)."""

    key: str
    offset: int = -1
    size: int = 0
    label: int = -1


def index_tar(handle: BinaryIO, where: str) -> list[Member]:
    """The samples of a shard, in the order of their first files.

    Raises:
        IntegrityError: It is compressed, no tar, damaged or cut short; a sample has two images, or a damaged label.
    """
    found: dict[str, Member] = {}
    from_cls: set[str] = set()
    try:
        with tarfile.open(fileobj=handle, mode="r:") as tar:
            for entry in tar:
                match = _NAME.fullmatch(entry.name.removeprefix("./"))
                if not entry.isfile() or match is None or match[1].rpartition("/")[2].startswith("__"):
                    continue
                key, extension = match[1], match[2].lower()
                member = found.setdefault(key, Member(key))
                if extension in _IMAGES:
                    _place(member, entry, f"{where}: {entry.name}")
                elif extension == "cls" or (extension == "json" and key not in from_cls):
                    member.label = _label(tar, entry, extension, f"{where}: {entry.name}")
                    from_cls |= {key} if extension == "cls" else set()
            _check_end(handle, tar.offset, where)
    except (tarfile.TarError, EOFError, OverflowError) as err:
        raise _not_a_tar(handle, where, err) from err
    return [member for member in found.values() if member.offset >= 0]


def _place(member: Member, entry: tarfile.TarInfo, where: str) -> None:
    if member.offset >= 0:
        raise IntegrityError("a sample has two images", where=where, fix="keep one image for each key")
    if entry.sparse is not None:
        raise IntegrityError("a sparse file cannot be read by range", where=where, fix="write the shard again")
    member.offset, member.size = entry.offset_data, entry.size


def _label(tar: tarfile.TarFile, entry: tarfile.TarInfo, extension: str, where: str) -> int:
    """The number in a .cls file, or in a .json file; -1 if the latter has none."""
    limit = _MAX_LABEL if extension == "cls" else _MAX_JSON
    handle = tar.extractfile(entry)
    if handle is None or entry.size > limit:
        raise IntegrityError(f"a label of {entry.size:,} bytes", where=where)
    text = handle.read()
    try:
        if extension == "cls":
            label: object = int(text)
        else:
            content = json.loads(text)
            fields = content if isinstance(content, dict) else {}
            label = fields.get("label", fields.get("cls", -1))
    except (ValueError, RecursionError) as err:
        raise IntegrityError("a label cannot be read", where=where, why=str(err)) from err
    if type(label) is not int or label < -1:
        raise IntegrityError(f"the label {str(label)[:40]!r} is no number from 0", where=where)
    return label


def _check_end(handle: BinaryIO, offset: int, where: str) -> None:
    """tarfile stops at a damaged header as if it were the end; the real end is empty blocks, or nothing."""
    handle.seek(offset)
    block = handle.read(tarfile.BLOCKSIZE)
    if block.strip(b"\0"):
        raise IntegrityError(f"the shard is damaged at byte {offset:,}", where=where, fix="get the shard again")


def _not_a_tar(handle: BinaryIO, where: str, err: Exception) -> IntegrityError:
    handle.seek(0)
    kind = _COMPRESSED.get(handle.read(2))
    if kind:
        return IntegrityError(
            f"the shard is compressed ({kind}), so a sample of it cannot be read alone",
            where=where,
            fix="unpack it to a plain .tar; images in it are compressed already",
        )
    return IntegrityError("the shard is no tar file, damaged or cut short", where=where, why=str(err))
