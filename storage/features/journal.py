"""A journal of repairs and removals, written before the first step: killed at any point, it ends as if run once.

The journal is one sealed record. Whoever opens the store for writing next finishes it, be it another repair or the
command that makes again what was forgotten; so no command sees a state between two steps. Every step says what it
expects to find, and leaves alone what is something else: what was made anew in the meantime is not removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cvbench.errors import IntegrityError
from cvbench.storage.features.keys import JOURNAL, record_key
from cvbench.storage.features.ledger import seal, unseal
from cvbench.storage.features.nodes import constant_node
from cvbench.storage.objects.base import Objects
from cvbench.storage.objects.keys import LEDGER, REPAIR, check_key

ANY = ""
"""Digest of a step that removes what is there, whatever it is: of sound objects, which need not be read to go."""

_LAST_TO_GO = ("commit", "result", "partial", "array", "fingerprint", "split")
"""Records in the order in which a removal takes them: each before the one that it needs."""


@dataclass(frozen=True)
class Step:
    """One object to remove.

    Attributes:
        key: Which.
        blake3: Of the bytes that are to go; None for a link, a pipe or a folder in the place of an object; `ANY` for
            whatever is there.
    """

    key: str
    blake3: str | None


@dataclass(frozen=True)
class Journal:
    """Objects to remove, and nodes of the hierarchy to write; the bytes of the nodes are constants.

    Attributes:
        records_first: What is sound goes with its records first, so that none names what is gone. Damaged objects go
            before the records that name them: a record that is left says that there is something to forget.
    """

    remove: tuple[Step, ...]
    write: tuple[str, ...]
    format: int
    records_first: bool = False

    def __bool__(self) -> bool:
        return bool(self.remove or self.write)

    def put(self, objects: Objects) -> None:
        """Write it down; from here on it will be carried out."""
        steps = [[step.key, step.blake3] for step in self.remove]
        record = {"format": self.format, "remove": steps, "write": list(self.write)}
        objects.create(JOURNAL, seal({**record, "records_first": True} if self.records_first else record))
        objects.settle([JOURNAL])

    @classmethod
    def get(cls, objects: Objects) -> Journal | None:
        """The journal of a repair that was interrupted, or None.

        Raises:
            IntegrityError: It is damaged, or names what no repair touches.
        """
        data = objects.get(JOURNAL)
        if data is None:
            return None
        try:
            record = unseal(data, JOURNAL)
            steps = tuple(Step(_own(key), digest) for key, digest in _pairs(record))
            first = record.get("records_first", False) is True
            return cls(steps, tuple(_node(key) for key in record["write"]), int(record["format"]), first)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise IntegrityError(
                "the journal of a repair cannot be understood", where=JOURNAL, why=repr(error), fix=REPAIR
            ) from error

    def carry_out(self, objects: Objects) -> None:
        """Do what is left of it, and forget it."""
        for step in sorted(self.remove, key=self._place):
            if step.blake3 == ANY or _is_as_said(objects, step):
                objects.delete(step.key)
        for key in self.write:
            objects.create(key, constant_node(key, self.format))
        objects.settle(self.write)
        objects.delete(JOURNAL)

    def _place(self, step: Step) -> tuple[int, str]:
        """The place of a step in the order of all."""
        if not self.records_first:
            return int(step.key.startswith(f"{LEDGER}/")), step.key
        record = record_key(step.key)
        return len(_LAST_TO_GO) if record is None else _LAST_TO_GO.index(record.kind), step.key


def resume(objects: Objects) -> Journal | None:
    """Finish a repair that was interrupted; what it was."""
    journal = Journal.get(objects)
    if journal is not None:
        journal.carry_out(objects)
    return journal


def _is_as_said(objects: Objects, step: Step) -> bool:
    try:
        found = objects.blake3(step.key)
    except IntegrityError:  # no plain object
        return step.blake3 is None
    return found is not None and found == step.blake3


def _pairs(record: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    for key, digest in record["remove"]:
        if digest is not None and not isinstance(digest, str):
            raise TypeError(f"a digest of {key!r}")
        yield key, digest


def _own(key: Any) -> str:
    """`key` if a repair may remove it: a record, a node or a chunk, never a file of somebody else in the folder."""
    if record_key(check_key(key)) is None and key.rpartition("/")[2] != "zarr.json" and not _is_chunk(key):
        raise IntegrityError(
            "the journal of a repair names what is not of a store", where=JOURNAL, why=f"it names {key!r}", fix=REPAIR
        )
    return str(key)


def _is_chunk(key: str) -> bool:
    parts: Sequence[str] = key.split("/")
    return any(part == "c" or part.startswith("c.") for part in parts[1:])


def _node(key: Any) -> str:
    if key.rpartition("/")[2] != "zarr.json":
        raise IntegrityError("the journal of a repair names what is no node", where=JOURNAL, why=f"it names {key!r}")
    return check_key(key)
