"""What a reader found and did not take: by kind, count and a few names.

An input that is read in part says so: `datasets verify` and `extract` show these entries, the store keeps them beside
the sample table. They are no part of a data set's digest, which is over what was taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError
from cvbench.texts import printable

SHOWN = 3
"""Names that are kept of each kind but columns."""

_COLUMNS = 20

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "fewer": "images fewer than were published",
        "more": "images more than were published",
        "extension": "files that are no images by their extension",
        "beside": "images beside the class folders",
        "below": "folders below class folders, which are not looked into",
        "folder": "folders that hold no image",
        "link": "links, devices or other entries that are no plain files",
        "name": "files whose name is hidden or has no extension",
        "keys": "keys without an image",
        "second": "further images of a sample",
        "unlisted": "images that no list of the data set names",
        "empty-class": "classes without an image",
        "column": "columns that are not read",
        "choice": "columns of class names that are factors",
        "image": "rows without an image",
        "label": "samples without a label",
        "split": "rows without a split",
        "box": "columns taken as the box of the object, in pixels",
        "no-box": "columns with names as of a box that stay factors",
        "mask": "masks that are not there",
        "objects": "images with several objects, a crowd or an empty box, which have no box",
        "shards": "shards of the same numbered set that are not read",
        "missing": "shards that are not there, by the numbers of the others",
    }
)
"""Kind -> what its entries are."""


def shown_of(kind: str) -> int:
    """Number of names that are kept of a kind: more of columns, among which one that is missed is looked for."""
    return _COLUMNS if kind == "column" else SHOWN


@dataclass(frozen=True)
class LeftOut:
    """Entries of one kind.

    Attributes:
        kind: One of KINDS.
        count: How many there are.
        names: The first few.
        why: What more is to be said, such as which extensions there are; may be empty.
    """

    kind: str
    count: int
    names: tuple[str, ...] = ()
    why: str = ""

    @property
    def text(self) -> str:
        """One line to read; characters that a terminal would obey are written as their codes.

        >>> LeftOut("extension", 4, ("a/x.avif", "a/y.avif"), "avif 3, txt 1").text
        'files that are no images by their extension: 4 (avif 3, txt 1): a/x.avif, a/y.avif, ...'
        """
        why = f" ({self.why})" if self.why else ""
        names = f": {', '.join(self.names)}{', ...' if self.count > len(self.names) else ''}" if self.names else ""
        return printable(f"{KINDS[self.kind]}: {self.count:,}{why}{names}")

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON and for the store."""
        return {"kind": self.kind, "count": self.count, "names": list(self.names), "why": self.why}


def text_of(record: Mapping[str, Any]) -> str:
    """The line of an entry that a store keeps, whichever version wrote it.

    Raises:
        IntegrityError: It is no such entry.
    """
    match record:
        case {"kind": str(kind), "count": int(count), "names": [*names], "why": str(why)} if kind in KINDS:
            return LeftOut(kind, count, tuple(map(str, names)), why).text
    raise IntegrityError("the store says in an unknown form what was not read", where=str(record)[:80])


class Tally:
    """Counts what is left out while a data set is read; memory does not grow with the number of entries."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._names: dict[str, list[str]] = {}
        self._sorts: dict[str, Counter[str]] = {}
        self._why: dict[str, str] = {}

    def add(self, kind: str, name: str, sort: str = "") -> None:
        """One entry; `sort`, such as its extension, is counted within its kind."""
        self._counts[kind] += 1
        first = self._names.setdefault(kind, [])
        if len(first) < shown_of(kind):
            first.append(_text(name))
        sorts = self._sorts.setdefault(kind, Counter())
        if sort and (sort in sorts or len(sorts) < 100):
            sorts[_text(sort)] += 1

    def file(self, name: str) -> None:
        """A file that is no image by its name."""
        stem, dot, extension = name.rpartition("/")[2].rpartition(".")
        self.add("extension", name, extension.lower()[:20] if dot and stem else "none")

    def say(self, kind: str, why: str) -> None:
        """Why entries of a kind are left out; of several reasons the first."""
        self._why.setdefault(kind, _text(why))

    def extend(self, other: Tally) -> None:
        """Count what another tally counted, after what is here."""
        self._counts += other._counts
        for kind, names in other._names.items():
            self._names[kind] = [*self._names.get(kind, ()), *names][: shown_of(kind)]
            self._sorts[kind] = self._sorts.get(kind, Counter()) + other._sorts[kind]
        self._why = other._why | self._why

    def result(self) -> tuple[LeftOut, ...]:
        """The entries by kind, in the order of KINDS."""
        return tuple(
            LeftOut(
                kind,
                self._counts[kind],
                tuple(self._names[kind]),
                self._why.get(kind) or sorts_text(self._sorts[kind]),
            )
            for kind in KINDS
            if kind in self._counts
        )


def merged(tallies: Sequence[Tally]) -> tuple[LeftOut, ...]:
    """The entries of several tallies as one."""
    joined = Tally()
    for tally in tallies:
        joined.extend(tally)
    return joined.result()


def joined(entries: Sequence[LeftOut]) -> tuple[LeftOut, ...]:
    """Entries with one of each kind; what more is said of them is that of the first.

    >>> joined([LeftOut("link", 1, ("a",)), LeftOut("link", 2, ("b", "c"))])
    (LeftOut(kind='link', count=3, names=('a', 'b', 'c'), why=''),)
    """
    found: dict[str, LeftOut] = {}
    for one in entries:
        held = found.get(one.kind, LeftOut(one.kind, 0, (), one.why))
        found[one.kind] = LeftOut(
            one.kind, held.count + one.count, (*held.names, *one.names)[: shown_of(one.kind)], held.why
        )
    return tuple(found.values())


def sorts_text(sorts: Mapping[str, int]) -> str:
    """Counts in words, the largest first.

    >>> sorts_text({"txt": 1, "avif": 3})
    'avif 3, txt 1'
    """
    shown = sorted(sorts.items(), key=lambda item: (-item[1], item[0]))
    more = f" and {len(shown) - 8} more" if len(shown) > 8 else ""
    return ", ".join(f"{name} {count:,}" for name, count in shown[:8]) + more


def unlabelled(ids: Sequence[str], labels: NDArray[np.int64], why: str = "") -> tuple[LeftOut, ...]:
    """The samples whose label is -1, as an entry; empty if there is none."""
    without = np.flatnonzero(labels < 0)
    if not len(without):
        return ()
    return (LeftOut("label", len(without), tuple(ids[i] for i in without[:SHOWN].tolist()), why),)


def without_image(classes: Sequence[str], labels: NDArray[np.int64]) -> tuple[LeftOut, ...]:
    """The classes that no sample has, as an entry; empty if there is none."""
    empty = np.setdiff1d(np.arange(len(classes)), labels)
    if not len(empty):
        return ()
    return (LeftOut("empty-class", len(empty), tuple(classes[i] for i in empty[:SHOWN].tolist())),)


def _text(name: str) -> str:
    """The name as text that any store and stream can hold: bytes that are no UTF-8 are escaped."""
    return name.encode("utf-8", "backslashreplace").decode()
