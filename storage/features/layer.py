"""One stored layer, read through the ledger: committed units only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.hints import command
from cvbench.storage.features.encoding import Encoding
from cvbench.storage.features.keys import GroupKey
from cvbench.storage.features.ledger import BadSample, Commit, ObjectRecord
from cvbench.storage.features.nodes import plain_dims
from cvbench.storage.features.units import Unit
from cvbench.storage.objects.base import Objects
from cvbench.storage.objects.keys import REPAIR
from cvbench.storage.objects.local import LocalObjects

if TYPE_CHECKING:
    import dask.array
    import xarray

_THREADS = 2  # one reads while the other checks


class Source(Protocol):
    """Store that a layer is in, as far as it asks; it travels with the layer, which then reads its commits anew."""

    @property
    def objects(self) -> Objects:
        """The objects of the store."""

    def encoding(self, group: GroupKey, tap: str) -> Encoding:
        """The encoding of a tap's array."""

    def commits(self, group: GroupKey) -> Sequence[Commit]:
        """All commit records of a group."""

    def samples(self, dataset: str, split: str) -> Mapping[str, NDArray[Any]]:
        """The sample table in store order, arrays (N,)."""

    def spec_to_type(self, dataset: str, split: str | None = None) -> str:
        """The spec of a data set for a command to paste."""


class FeatureLayer:
    """The features (N, ...) of one tap; made by `FeatureStore.layer`.

    It shows the commits that it was given, else those of the moment it was made. Bad samples are NaN in `read`, and
    left out of `rows`, `numpy`, `dask` and `xarray`.
    """

    def __init__(self, store: Source, group: GroupKey, tap: str, commits: Sequence[Commit] | None = None) -> None:
        self.store, self.group, self.tap = store, group, tap
        self._encoding: Encoding = store.encoding(group, tap)
        self.shape: tuple[int, ...] = self._encoding.shape
        self.dtype: np.dtype[Any] = self._encoding.dtype
        self.dims: tuple[str, ...] = tuple(plain_dims(self._encoding.document))
        self.attrs: dict[str, Any] = dict(self._encoding.document["attributes"])
        known = store.commits(group) if commits is None else commits
        self._commits: dict[int, Commit] = {c.unit.index: c for c in known if tap in c.taps}

    def __reduce__(self) -> tuple[Any, ...]:
        return (FeatureLayer, (self.store, self.group, self.tap))

    def __repr__(self) -> str:
        return f"FeatureLayer({self.group.path}/{self.tap}, {self.shape}, {self.dtype}, {len(self.units)} units)"

    @cached_property
    def units(self) -> list[Unit]:
        """Committed units, in order."""
        return sorted(commit.unit for commit in self._commits.values())

    @property
    def bad(self) -> list[BadSample]:
        """Unreadable samples of the committed units."""
        return [sample for unit in self.units for sample in self._commits[unit.index].bad]

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Store positions that are committed and readable, ascending."""
        return self._ok(np.concatenate([np.arange(u.start, u.stop) for u in self.units] or [np.empty(0, np.int64)]))

    def _ok(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        return positions[~np.isin(positions, [sample.row for sample in self.bad])]

    def commit(self, unit: Unit) -> Commit:
        """The record of a unit: statistics, bad samples, digests."""
        return self._commits[unit.index]

    def read(self, start: int, stop: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Rows start <= i < stop, (stop - start, ...); bad samples are NaN. With `out`, of that shape and type, there.

        Raises:
            DataUnavailableError: Some of the rows are not committed.
            IntegrityError: An object is missing or damaged; its key and unit are named.
        """
        if out is None:
            out = np.empty((max(stop - start, 0), *self.shape[1:]), self.dtype)
        self._fill(start, stop, out)
        return out

    def read_unit(self, unit: Unit) -> NDArray[Any]:
        """All rows of a unit."""
        return self.read(unit.start, unit.stop)

    def numpy(self) -> NDArray[Any]:
        """The rows `self.rows` as one array in memory."""
        out = np.empty((sum(map(len, self.units)), *self.shape[1:]), self.dtype)
        at = 0
        for start, stop in self._runs():
            self._fill(start, stop, out[at : at + stop - start])
            at += stop - start
        if not self.bad:
            return out
        positions = np.concatenate([np.arange(u.start, u.stop) for u in self.units])
        return out[np.isin(positions, self.rows)]

    def dask(self) -> dask.array.Array:
        """The rows `self.rows` as a lazy array, one chunk per stored object."""
        import dask.array
        from dask.delayed import delayed

        da: Any = dask.array
        load: Any = delayed(_load, pure=True)
        parts = []
        for start, stop in self.pieces():
            keep = self._ok(np.arange(start, stop)) - start
            shape = (len(keep), *self.shape[1:])
            parts.append(da.from_delayed(load(self, start, stop, keep), shape=shape, dtype=self.dtype))
        lazy: dask.array.Array = da.concatenate(parts) if parts else da.empty((0, *self.shape[1:]), dtype=self.dtype)
        return lazy

    def xarray(self) -> xarray.DataArray:
        """`dask()` with names: coordinates sample (store position), id, label and the factors."""
        import xarray

        table = self.store.samples(self.group.dataset, self.group.split)
        coords: dict[str, Any] = {name: (self.dims[0], values[self.rows]) for name, values in table.items()}
        coords[self.dims[0]] = self.rows
        return xarray.DataArray(self.dask(), dims=self.dims, coords=coords, name=self.tap, attrs=self.attrs)

    def _runs(self) -> Iterator[tuple[int, int]]:
        """Committed ranges, neighbouring units joined."""
        start = stop = -1
        for unit in self.units:
            if unit.start != stop:
                if stop >= 0:
                    yield start, stop
                start = unit.start
            stop = unit.stop
        if stop >= 0:
            yield start, stop

    def pieces(self) -> Iterator[tuple[int, int]]:
        """Committed ranges [start, stop), one per stored object."""
        for unit in self.units:
            size = self._encoding.rows
            for start in range(unit.start, unit.stop, size):
                yield start, min(start + size, unit.stop)

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        return np.array([unit.start for unit in self.units], np.int64)

    def _unit_at(self, row: int) -> Unit | None:
        index = int(np.searchsorted(self._starts, row, side="right")) - 1
        unit = self.units[index] if index >= 0 else None
        return unit if unit is not None and row < unit.stop else None

    def _fill(self, start: int, stop: int, out: NDArray[Any]) -> None:
        size = self._encoding.rows
        indices = range(start // size, -(-stop // size)) if start < stop else range(0)
        for index in indices:
            if start < 0 or stop > self.shape[0] or self._unit_at(max(index * size, start)) is None:
                raise DataUnavailableError(
                    f"rows {start} to {stop} of {self.group.path}/{self.tap} are not all extracted",
                    where=self.store.objects.url,
                    why=f"committed: {sum(map(len, self.units))} of {self.shape[0]}",
                    fix=self._extract(),
                )
        # Only raw files read straight into place let a second thread help: the rest holds the interpreter's lock.
        if len(indices) > 1:
            with ThreadPoolExecutor(_THREADS) as pool:
                list(pool.map(lambda index: self._fill_from(index, start, stop, out), indices))
        else:
            for index in indices:
                self._fill_from(index, start, stop, out)

    def _extract(self) -> str:
        """The command that extracts the rest, as it can be typed."""
        model, _, size = self.group.backbone.partition("@")
        where: dict[str, object] = {
            "dataset": self.store.spec_to_type(self.group.dataset, self.group.split),
            "split": self.group.split,
        }
        where |= {"backbone": model, "image_size": size or None, "view": self.group.view}
        return command("extract", **where, store=self.store.objects.url)

    def _fill_from(self, index: int, start: int, stop: int, out: NDArray[Any]) -> None:
        """Copy into `out` what object `index` holds of [start, stop)."""
        size = self._encoding.rows
        first, last = max(index * size, start), min((index + 1) * size, stop)
        target = out[first - start : last - start]
        unit = self._unit_at(first)
        try:
            record = self._record(index, unit)
            if last - first == size and self._encoding.raw and isinstance(self.store.objects, LocalObjects):
                self._read_raw(index, record, target)
            else:
                target[...] = self._block(index, record)[first - index * size : last - index * size]
        except IntegrityError as error:
            error.where = f"{error.where} (unit {unit.index if unit else '?'} of {self.group.path}/{self.tap})"
            raise

    def _record(self, index: int, unit: Unit | None) -> ObjectRecord:
        """The record of object `index` in the commit of its unit."""
        key = self._encoding.key(index)
        objects = self._commits[unit.index].taps[self.tap].objects if unit is not None else {}
        if key not in objects:
            raise IntegrityError("the commit of a unit does not name this object", where=key, fix=REPAIR)
        return objects[key]

    def _read_raw(self, index: int, record: ObjectRecord, out: NDArray[Any]) -> None:
        objects, key = self.store.objects, self._encoding.key(index)
        assert isinstance(objects, LocalObjects)
        try:
            with objects.reading(key) as file:
                self._encoding.read_file(file, key, out, record)
        except FileNotFoundError as error:
            raise _vanished(key) from error

    def _block(self, index: int, record: ObjectRecord) -> NDArray[Any]:
        key = self._encoding.key(index)
        data = self.store.objects.take(key, record.size)
        if data is None:
            raise _vanished(key)
        return self._encoding.decode(data, key, record)


def _vanished(key: str) -> IntegrityError:
    return IntegrityError("a committed object is missing", where=key, fix=REPAIR)


def _load(layer: FeatureLayer, start: int, stop: int, keep: NDArray[np.int64]) -> NDArray[Any]:
    rows = layer.read(start, stop)
    return rows if len(keep) == len(rows) else rows[keep]
