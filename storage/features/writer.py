"""Writing one unit: rows in, whole objects out, then the record by which they exist."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError
from cvbench.hints import command
from cvbench.storage.features.encoding import Encoding
from cvbench.storage.features.fingerprint import canonical
from cvbench.storage.features.keys import GroupKey
from cvbench.storage.features.ledger import BadSample, Commit, Ledger, ObjectRecord, TapRecord, digest
from cvbench.storage.features.stats import Contents, contents
from cvbench.storage.features.units import Unit
from cvbench.storage.objects.keys import REPAIR

if TYPE_CHECKING:
    from cvbench.storage.objects.base import Buffer

_THREADS = 2  # encoding of one object overlaps with the write of another; a third thread computes digests meanwhile
_IN_FLIGHT = 4  # objects waiting to be written, per writer: the memory bound


@dataclass
class _Layer:
    encoding: Encoding
    seen: NDArray[np.bool_]  # (len(unit),)
    blocks: dict[int, NDArray[Any]] = field(default_factory=dict)  # object index -> rows so far
    filled: dict[int, int] = field(default_factory=dict)
    written: dict[int, tuple[ObjectRecord, Contents]] = field(default_factory=dict)


class UnitWriter:
    """Writes the taps of one unit; made by `FeatureStore.writer`.

    Memory: one object per tap being filled, and a few on their way to the store. Leaving the `with` block without
    `commit` leaves nothing that a reader can see.
    """

    def __init__(
        self, ledger: Ledger, group: GroupKey, encodings: Mapping[str, Encoding], unit: Unit, fingerprint: str
    ) -> None:
        self.group, self.unit, self._fingerprint = group, unit, fingerprint
        self._ledger, self._objects = ledger, ledger.objects
        self._layers = {tap: _Layer(e, np.zeros(len(unit), np.bool_)) for tap, e in encodings.items()}
        self._bad: dict[int, BadSample] = {}
        self._pool = ThreadPoolExecutor(_THREADS)
        self._describer = ThreadPoolExecutor(1)
        self._pending: deque[Future[None]] = deque()

    def exclude(self, bad: Iterable[BadSample]) -> None:
        """Name unreadable samples before their rows are written: whatever is written there becomes NaN."""
        for sample in bad:
            if not self.unit.start <= sample.row < self.unit.stop:
                raise IntegrityError(f"bad sample {sample.id} at {sample.row} is not in {self._place()}")
            self._bad[sample.row] = sample

    def write(self, tap: str, offset: int, rows: NDArray[Any]) -> None:
        """Add rows (n, ...) of `tap` at `offset` within the unit. They are copied; order and batch sizes are free.

        Raises:
            IntegrityError: Wrong tap, shape, dtype or range, or rows that were written before.
            ResourceError: The store is full.
        """
        layer = self._checked(tap, offset, rows)
        layer.seen[offset : offset + len(rows)] = True
        size = layer.encoding.rows
        position = self.unit.start + offset
        while len(rows):
            index, at = divmod(position, size)
            part = rows[: size - at]
            block = layer.blocks.get(index)
            if block is None:
                block = layer.blocks[index] = np.empty(layer.encoding.block_shape, layer.encoding.dtype)
                layer.filled[index] = 0
            block[at : at + len(part)] = part
            for row in self._bad.keys() & range(position, position + len(part)) if self._bad else ():
                block[row - index * size] = np.nan
            layer.filled[index] += len(part)
            if layer.filled[index] == self._rows_of(layer, index):
                self._flush(tap, index)
            position, rows = position + len(part), rows[len(part) :]

    def commit(
        self,
        bad: Sequence[BadSample] = (),
        provenance: Mapping[str, Any] | None = None,
        *,
        nonfinite_budget: float = 1.0,
    ) -> Commit:
        """Make the unit exist. If another writer was first, its record is checked against ours and returned.

        Args:
            bad: Unreadable samples (with those of `exclude`); their rows must be NaN throughout.
            provenance: JSON about the making: versions and device kind. It must not differ from run to run of the same
                work, such as times and hosts do, or stores made twice would differ.
            nonfinite_budget: Most allowed share of non-finite values per tap, over readable samples.

        Raises:
            IntegrityError: Rows missing, bad rows with values, too many non-finite values (the tap is named), or
                another record that disagrees.
        """
        self.exclude(bad)
        while self._pending:
            self._pending.popleft().result()
        taps = {tap: self._record(tap, layer, nonfinite_budget) for tap, layer in sorted(self._layers.items())}
        keys = [key for record in taps.values() for key in record.objects]
        self._objects.settle(keys)
        excluded = tuple(self._bad[row] for row in sorted(self._bad))
        ok = len(self.unit) - len(excluded)
        ours = Commit(self.unit, taps, ok, excluded, canonical(provenance or {}), self._fingerprint)
        ours = ours.in_format(self._ledger.format)
        key = self.group.commit(self.unit, taps)
        self._ledger.put(key, ours.as_dict())
        stored = self._ledger.commit(key)
        if stored is None:
            raise IntegrityError(
                "a commit record vanished right after it was written",
                where=key,
                why="somebody removed it, or the disk or service does not keep what it said it kept",
                fix="the same command again",
            )
        if not stored.same_work(ours):
            raise IntegrityError(
                "another writer committed this unit with other results",
                where=key,
                why="the same work gave other bytes, or other samples were unreadable; the first record stands",
            )
        self.close()
        return stored

    def close(self) -> None:
        """Drop what was not committed; wait for writes under way."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._describer.shutdown(wait=True)
        self._pending.clear()
        for layer in self._layers.values():
            layer.blocks.clear()

    def __enter__(self) -> UnitWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _place(self) -> str:
        return f"unit {self.unit.index} [{self.unit.start}, {self.unit.stop}) of {self.group.path}"

    def _rows_of(self, layer: _Layer, index: int) -> int:
        size = layer.encoding.rows
        return min((index + 1) * size, self.unit.stop) - index * size

    def _checked(self, tap: str, offset: int, rows: NDArray[Any]) -> _Layer:
        layer = self._layers.get(tap)
        if layer is None:
            raise IntegrityError(f"tap {tap!r} is not among those of this writer", where=self._place())
        expected = layer.encoding.shape[1:]
        where = f"{self._place()}, tap {tap}"
        if rows.shape[1:] != expected or rows.ndim != len(expected) + 1:
            raise IntegrityError(
                f"expected rows of shape (n, {', '.join(map(str, expected))}), got {rows.shape}", where=where
            )
        if rows.dtype != layer.encoding.dtype:
            raise IntegrityError(f"expected rows of {layer.encoding.dtype}, got {rows.dtype}", where=where)
        if offset < 0 or offset + len(rows) > len(self.unit):
            raise IntegrityError(f"rows {offset} to {offset + len(rows)} are outside the unit", where=where)
        if layer.seen[offset : offset + len(rows)].any():
            raise IntegrityError(f"some rows from {offset} to {offset + len(rows)} were written before", where=where)
        return layer

    def _flush(self, tap: str, index: int) -> None:
        layer = self._layers[tap]
        block, filled = layer.blocks.pop(index), layer.filled.pop(index)
        block[filled:] = np.nan  # beyond N, in the last object only
        while len(self._pending) >= _IN_FLIGHT:
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(self._put, layer, index, block, filled))

    def _put(self, layer: _Layer, index: int, block: NDArray[Any], filled: int) -> None:
        key = layer.encoding.key(index)
        parts = layer.encoding.encode(block)
        described = self._describer.submit(_describe, layer.encoding, key, parts, block, filled)
        created = self._objects.create(key, *parts)
        record, stats = described.result()
        if not created:
            self._adopt(layer.encoding, key, record, parts)
        layer.written[index] = (record, stats)

    def _adopt(self, encoding: Encoding, key: str, ours: ObjectRecord, parts: Sequence[Buffer]) -> None:
        """Take the object of an earlier attempt instead of ours: only if both are the same, byte for byte.

        No tolerance would be right: where samples differ by less than machines round, a neighbour's rows would pass.
        And it is never replaced: whoever wrote it may be about to commit it.

        Args:
            ours: The record of what this unit computed.
            parts: Its bytes.
        """
        data = self._objects.get(key)
        if data is None:
            raise IntegrityError(
                "an object vanished while it was being adopted",
                where=key,
                why="somebody removed it meanwhile",
                fix="the same command again, while nobody tidies the store",
            )
        if (len(data), digest(data)) == (ours.size, ours.blake3):
            return
        try:
            why = _difference(encoding.decode(data, key), encoding.decode(b"".join(parts), key))
        except IntegrityError as error:
            why = f"it is damaged: {error.why}"
        raise self._refused(key, why)

    def _refused(self, key: str, why: str) -> IntegrityError:
        """The error for an object that is there and is not what this unit computed."""
        committed = any(key in tap.objects for c in self._ledger.commits(self.group) for tap in c.taps.values())
        if committed:
            what = "another writer committed this unit with other results"
            return IntegrityError(what, where=key, why=f"{why}; the first record stands", fix=REPAIR)
        tidy = command("store gc", orphans=True, store=self._objects.url)
        return IntegrityError(
            "an earlier attempt, not committed, left an object that is not what this unit computed",
            where=key,
            why=why,
            fix=f"{tidy}  # while nothing else runs; then the same command again",
        )

    def _record(self, tap: str, layer: _Layer, budget: float) -> TapRecord:
        where = f"{self._place()}, tap {tap}"
        unseen = int(np.count_nonzero(~layer.seen))
        if unseen:
            raise IntegrityError(f"{unseen} of {len(self.unit)} rows were never written", where=where)
        nonfinite, empty = {}, set()
        for index, (_, stats) in layer.written.items():
            first = index * layer.encoding.rows
            nonfinite.update({first + row: count for row, count in stats.nonfinite.items()})
            empty |= {first + row for row in stats.empty}
        with_values = sorted(self._bad.keys() - empty)
        if with_values:
            raise IntegrityError(
                f"bad samples at {with_values[:5]} have values; write NaN or call exclude", where=where
            )
        count = sum(n for row, n in nonfinite.items() if row not in self._bad)
        values = (len(self.unit) - len(self._bad)) * int(np.prod(layer.encoding.shape[1:]))
        if count > budget * values:
            raise IntegrityError(
                f"tap {tap}: {count} of {values} values are not finite", where=where, fix="--precision fp32"
            )
        order = sorted(layer.written)
        lows = [s.low for _, s in layer.written.values() if s.low is not None]
        highs = [s.high for _, s in layer.written.values() if s.high is not None]
        objects = {layer.encoding.key(i): layer.written[i][0] for i in order}
        return TapRecord(objects, count, min(lows, default=None), max(highs, default=None))


def _describe(
    encoding: Encoding, key: str, parts: Sequence[Buffer], block: NDArray[Any], filled: int
) -> tuple[ObjectRecord, Contents]:
    """The record of our object, and what a reader will see in it: after a lossy filter, if there is one."""
    record = encoding.record(*parts)
    seen = block if encoding.raw else encoding.decode(b"".join(parts), key)
    return record, contents(seen[:filled])


def _difference(theirs: NDArray[Any], ours: NDArray[Any]) -> str:
    """Describe how two blocks differ: another machine rounds otherwise, another sample or network differs far more."""
    if not np.array_equal(np.isfinite(theirs), np.isfinite(ours)):
        return "it found other samples unreadable, or other values not finite"
    finite = np.isfinite(ours)
    mine = ours[finite].astype(np.float64)
    apart = np.abs(theirs[finite].astype(np.float64) - mine).max(initial=0.0)
    return f"its values differ by up to {apart:.3g}, and those of this unit reach {np.abs(mine).max(initial=0.0):.3g}"
