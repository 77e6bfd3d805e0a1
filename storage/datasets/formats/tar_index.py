"""Where the samples of a WebDataset shard lie: one pass over a tar file's headers.

A sample is the files that share a key, the name up to the first dot of its last part: `n01/0012.jpg`, `n01/0012.cls`.
Its image is the file with an image's extension. Where there is none, names with more dots are cut at the last one, so
that `22.05.png` is the image of `22.05`, with the label of `22.05.cls`, else of `22.cls`; but of `22.image.png` and
`22.mask.png` the first is the image of `22`, and the other is left out. A label is what `.cls` holds,
else `label` or `cls` of `.json`: a number, or the name of a class. What is left out, such as links, keys without an
image and hidden names, is counted.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections import Counter
from dataclasses import dataclass, field
from typing import BinaryIO

from cvbench.errors import IntegrityError
from cvbench.storage.datasets.left_out import Tally
from cvbench.storage.datasets.suffixes import SUFFIXES

Label = int | str
"""A number from 0, -1 for none, or a class's name."""

_NAME = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]*)", re.DOTALL)
_IMAGES = {suffix[1:] for suffix in SUFFIXES}
_LABELS = ("cls", "json")
_FIELDS = ("image", "img", "input", "rgb")  # of several images of a key, the one that is the sample's
_MAX_LABEL = 64
_MAX_JSON = 1_000_000
_MAX_FIELDS = 1_000
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstd"}


@dataclass
class Member:
    """A sample: its key, where its image lies, and its label."""

    key: str
    offset: int = -1
    size: int = 0
    label: Label = -1


@dataclass
class Index:
    """Contents of a shard.

    Attributes:
        fields: Extension -> how many files have it, of those that are neither images nor labels.
    """

    members: list[Member]
    tally: Tally
    fields: Counter[str] = field(default_factory=Counter)


@dataclass
class _Key:
    """The files whose names agree up to the first dot.

    Attributes:
        member: The sample that names with one dot make.
        rest: (name, extension, offset, bytes) of images and labels with more dots in their names.
    """

    member: Member
    rest: list[tuple[str, str, int, int]] = field(default_factory=list)


def index_tar(handle: BinaryIO, where: str) -> Index:
    """The samples of a shard, in the order of their first files.

    Raises:
        IntegrityError: It is compressed, no tar, damaged or cut short; a sample has two images, or a damaged label.
    """
    found: dict[str, _Key] = {}
    labelled: set[str] = set()
    index = Index([], Tally())
    try:
        with tarfile.open(fileobj=handle, mode="r:") as tar:
            for entry in tar:
                _take(entry, handle, found, labelled, index, where)
            _check_end(handle, tar.offset, where)
    except (tarfile.TarError, EOFError, OverflowError) as err:
        raise _not_a_tar(handle, where, err) from err
    for key in found.values():
        index.members += _samples(key, handle, index.tally, where)
    return index


def _take(
    entry: tarfile.TarInfo,
    handle: BinaryIO,
    found: dict[str, _Key],
    labelled: set[str],
    index: Index,
    where: str,
) -> None:
    """Sort one entry in: an image, a label, another field of a sample, or what is left out."""
    name = entry.name.removeprefix("./")
    match = _NAME.fullmatch(name)
    if entry.isdir():
        return
    if not entry.isfile():
        index.tally.add("link", name)
        return
    if match is None or match[1].rpartition("/")[2].startswith("__"):
        index.tally.add("name", name)
        return
    key = found.setdefault(match[1], _Key(Member(match[1])))
    inner, _, extension = match[2].lower().rpartition(".")
    if extension not in _IMAGES and extension not in _LABELS:
        if match[2].lower() in index.fields or len(index.fields) < _MAX_FIELDS:
            index.fields[match[2].lower()] += 1
        return
    if entry.sparse is not None:
        raise IntegrityError("a sparse file cannot be read by range", where=f"{where}: {name}", fix="write it again")
    if inner:
        key.rest.append((name, extension, entry.offset_data, entry.size))
    elif extension in _IMAGES:
        _place(key.member, entry.offset_data, entry.size, f"{where}: {name}")
    elif extension == "cls" or key.member.key not in labelled:
        key.member.label = _label(handle, entry.offset_data, entry.size, extension, f"{where}: {name}")
        labelled |= {key.member.key} if extension == "cls" else set()


def _samples(key: _Key, handle: BinaryIO, tally: Tally, where: str) -> list[Member]:
    """The samples of a key: one if it has an image of its own, else one for each image with more dots in its name."""
    images = [piece for piece in key.rest if piece[1] in _IMAGES]
    if key.member.offset < 0 and len(images) > 1:
        named = [piece for piece in images if piece[0][len(key.member.key) + 1 :].split(".")[0].lower() in _FIELDS]
        if len(named) == 1:
            (name, _, offset, size), *_ = named
            _place(key.member, offset, size, f"{where}: {name}")
            images.remove(named[0])
    if key.member.offset >= 0:
        for name, *_ in images:
            tally.add("second", name)
        return [key.member]
    if not images:
        tally.add("keys", key.member.key)
        return []
    found: dict[str, Member] = {}
    for name, extension, offset, size in images:
        stem = name[: -len(extension) - 1]
        _place(found.setdefault(stem, Member(stem, label=key.member.label)), offset, size, f"{where}: {name}")
    # .json before .cls, which wins
    for name, extension, offset, size in sorted(key.rest, key=lambda piece: piece[1] == "cls"):
        stem = name[: -len(extension) - 1]
        if extension in _LABELS and stem in found:
            label = _label(handle, offset, size, extension, f"{where}: {name}")
            found[stem].label = found[stem].label if label == -1 else label
    return list(found.values())


def _place(member: Member, offset: int, size: int, where: str) -> None:
    if member.offset >= 0:
        raise IntegrityError("a sample has two images", where=where, fix="keep one image for each key")
    member.offset, member.size = offset, size


def _label(handle: BinaryIO, offset: int, size: int, extension: str, where: str) -> Label:
    """Read the label in a .cls or .json file; -1 if the latter says nothing."""
    if size > (_MAX_LABEL if extension == "cls" else _MAX_JSON):
        most = _MAX_LABEL if extension == "cls" else _MAX_JSON
        raise IntegrityError(
            f"a label of {size:,} bytes",
            where=where,
            why=f"a .{extension} file holds a class and has {most:,} bytes at most",
            fix="put the number or the name of the class there, and nothing else",
        )
    handle.seek(offset)
    text = handle.read(size)
    if len(text) != size:
        raise IntegrityError("the shard is cut short", where=where, fix="get the shard again")
    try:
        if extension == "cls":
            word = text.decode().strip()
            label: object = int(word) if re.fullmatch(r"-?\d+", word) else word
        else:
            content = json.loads(text)
            fields = content if isinstance(content, dict) else {}
            label = fields.get("label", fields.get("cls", -1))
    except (ValueError, RecursionError) as err:
        raise IntegrityError("a label cannot be read", where=where, why=str(err)) from err
    if isinstance(label, str) and label and len(label) <= _MAX_LABEL:
        return label
    if type(label) is not int or not -1 <= label < 2**63:
        said = label if isinstance(label, int | float | str) else type(label).__name__  # it may be nested deeply
        raise IntegrityError(f"the label {str(said)[:40]!r} is no number from 0", where=where)
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
