"""Stored layers as a torch data set: read chunk by chunk in a shuffled order, shuffled within each chunk.

The store's order is a random permutation of the data set already, so a chunk is a fair sample; shuffling the chunks and
the rows of each gives every epoch its own order without a random access. Batches are cut from that order, so that they
are the same however many workers there are: each takes a run of whole batches, and a chunk that two of them share is
read twice. The next chunks are read while the last is handed out. Memory: a batch, and three chunks of every layer, in
each worker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from cvbench.errors import DataUnavailableError, UsageError
from cvbench.jobs.catalogue.layers import find_layer
from cvbench.jobs.catalogue.passes import Passes
from cvbench.storage.features import FeatureLayer, FeatureStore

AHEAD = 2
"""Chunks that are read at a time."""


@dataclass(frozen=True)
class _Piece:
    """Readable rows of a range of the store: their positions, and each layer's values."""

    rows: NDArray[np.int64]
    values: tuple[NDArray[Any], ...]

    def empty(self, count: int) -> _Piece:
        """Room for so many rows of the same layers."""
        return _Piece(
            np.empty(count, np.int64), tuple(np.empty((count, *own.shape[1:]), own.dtype) for own in self.values)
        )

    def put(self, at: int, other: _Piece, chosen: NDArray[np.int64]) -> None:
        """Copy chosen rows of another to the place `at`."""
        for own, values in zip((self.rows, *self.values), (other.rows, *other.values), strict=True):
            # All are there; "raise" would copy once more.
            np.take(values, chosen, axis=0, out=own[at : at + len(chosen)], mode="clip")


class TorchFeatures(IterableDataset[dict[str, Any]]):
    """The samples that are committed and readable in every layer.

    Yields dicts: `features` (a tensor, or layer -> tensor where several were named), `label` (class number, -1 for
    none) and `row` (place in the store). With `batch_size` these are batches, for `DataLoader(batch_size=None)`: the
    fast way. `len` is the number of items: of batches, else of samples. Workers of a `DataLoader` share the batches
    out, and their own come in turns, so that the smaller one at the end of an epoch may not be the last.

    Each pass is the next epoch, in all workers, persistent ones too; `set_epoch` says which.

    Attributes:
        samples: How many there are, in all workers together.
    """

    def __init__(
        self,
        layers: Sequence[FeatureLayer],
        *,
        single: bool,
        batch_size: int | None,
        shuffle: bool,
        seed: int,
        drop_last: bool,
    ) -> None:
        super().__init__()
        if batch_size is not None and batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}", fix="a positive number, or None for single samples")
        self._layers, self._single = tuple(layers), single
        self._batch, self._shuffle, self._seed, self._drop_last = batch_size, shuffle, seed, drop_last
        self._passes = Passes()
        self._pass: dict[str, int] = {}
        self._resumed: dict[str, int] = {}
        first = layers[0]
        self._labels = first.store.samples(first.group.dataset, first.group.split)["label"]
        rows = first.rows
        for other in layers[1:]:
            rows = np.intersect1d(rows, other.rows, assume_unique=True)
        if not len(rows):
            raise DataUnavailableError("no sample is there for all of these layers", where=first.store.objects.url)
        self._rows, self.samples = rows, len(rows)
        # Of the layer with the largest chunks: the others' are read whole within these.
        pieces = min((list(layer.pieces()) for layer in layers), key=len)
        held = [int(np.diff(np.searchsorted(rows, piece))[0]) for piece in pieces]
        self._pieces = [piece for piece, size in zip(pieces, held, strict=True) if size]
        self._sizes = np.array([size for size in held if size], dtype=np.int64)

    def __len__(self) -> int:
        size = self._batch or 1
        return self.samples // size if self._drop_last else -(-self.samples // size)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the order of the next pass: each epoch has its own, the same again for the same seed.

        Without it the first pass is epoch 0, and each further one the next.

        Args:
            epoch: Which.
            start: Items of it that are left out, such as the batches that were taken before a restart: the pass goes
                on behind them, with as many workers as then. Items that are samples are taken by one process.

        Raises:
            UsageError: There is no such epoch or item.
        """
        if epoch < 0 or not 0 <= start <= len(self):
            raise UsageError(
                f"there is no item {start} of epoch {epoch}", fix=f"epochs from 0, items from 0 to {len(self)}"
            )
        self._passes.choose(epoch, start)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        own, of = (0, 1) if worker is None else (worker.id, worker.num_workers)
        resumed, self._resumed = self._resumed, {}
        epoch, start = self._passes.begin(resumed.get("epoch"))
        if start and of > 1 and self._batch is None:
            raise UsageError(
                "which samples were taken cannot be told with several workers",
                fix="batch_size of torch_dataset and DataLoader(batch_size=None), or num_workers=0",
            )
        if resumed.get("given") and (resumed["worker"], resumed["workers"]) != (own, of):
            raise UsageError(
                f"the state is of worker {resumed['worker']} of {resumed['workers']}, not of {own} of {of}",
                fix="as many workers as when it was saved, each with its own state, as torchdata's StatefulDataLoader "
                "gives them; or set_epoch(epoch, start)",
            )
        share = resumed.get("share", (own + start) % of)  # items come from the workers in turns, from the first on
        each, more = divmod(len(self), of)
        first, last = (one * each + min(one, more) for one in (share, share + 1))
        taken = resumed.get("given", -(-max(0, start - share) // of))
        self._pass = {"epoch": epoch, "given": taken, "share": share, "worker": own, "workers": of}
        return self._items(self._pass, min(first + taken, last), last)

    def state_dict(self) -> dict[str, int]:
        """The state of the last pass of this process; torchdata's `StatefulDataLoader` asks each worker for its own."""
        return dict(self._pass or {"epoch": self._passes.following})

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Let the next pass of this process go on where the one of a state was."""
        self._resumed = dict(state)

    def _items(self, state: dict[str, int], first: int, last: int) -> Iterator[dict[str, Any]]:
        """Items `first` to `last` of an epoch, counted in the state of the pass."""
        size = self._batch or 1
        for batch in self._batches(state["epoch"], first * size, min(last * size, self.samples)):
            for at in range(1 if self._batch else len(batch.rows)):
                item = self._item(batch) if self._batch else self._sample(batch, at)
                state["given"] += 1
                yield item

    def _batches(self, epoch: int, first: int, last: int) -> Iterator[_Piece]:
        """Rows `first` to `last` of the order in batches; in parts of any size where single samples are asked for."""
        batch, filled = None, 0
        for piece, chosen in self._parts(epoch, first, last):
            while len(chosen):
                if batch is None:
                    batch, filled = piece.empty(min(self._batch or len(chosen), last - first)), 0
                own = chosen[: len(batch.rows) - filled]
                batch.put(filled, piece, own)
                filled, first, chosen = filled + len(own), first + len(own), chosen[len(own) :]
                if filled == len(batch.rows):
                    yield batch
                    batch = None

    def _parts(self, epoch: int, first: int, last: int) -> Iterator[tuple[_Piece, NDArray[np.int64]]]:
        """Rows `first` to `last` of the order: chunk by chunk, and which of its rows in their order."""
        order = np.arange(len(self._pieces))
        if self._shuffle:
            order = np.random.default_rng((self._seed, epoch)).permutation(order)
        stops = np.cumsum(self._sizes[order])
        starts = stops - self._sizes[order]
        places = np.flatnonzero((starts < last) & (stops > first)).tolist()
        for place, piece in zip(places, self._read_ahead(order[places].tolist()), strict=True):
            chosen = np.arange(len(piece.rows))
            if self._shuffle:
                chosen = np.random.default_rng((self._seed, epoch, int(order[place]), 1)).permutation(chosen)
            yield piece, chosen[max(0, first - int(starts[place])) : last - int(starts[place])]

    def _read_ahead(self, order: Sequence[int]) -> Iterator[_Piece]:
        """The pieces of that order, each good until the next is asked for: memory that was touched before is faster."""
        longest = max((stop - start for start, stop in self._pieces), default=0)
        free = [
            [np.empty((longest, *layer.shape[1:]), layer.dtype) for layer in self._layers] for _ in range(AHEAD + 1)
        ]
        following, ahead = iter(order), deque[tuple[list[NDArray[Any]], Future[_Piece]]]()

        def begin(pool: ThreadPoolExecutor, count: int) -> None:
            for number in islice(following, count):
                room = free.pop()
                ahead.append((room, pool.submit(self._read, number, room)))

        with ThreadPoolExecutor(AHEAD, thread_name_prefix="features") as pool:
            begin(pool, AHEAD)
            while ahead:
                room, reading = ahead.popleft()
                piece = reading.result()
                begin(pool, 1)
                yield piece
                free.append(room)

    def _read(self, number: int, room: Sequence[NDArray[Any]]) -> _Piece:
        start, stop = self._pieces[number]
        first, last = np.searchsorted(self._rows, (start, stop))
        rows = self._rows[first:last]
        if len(rows) < stop - start and any(not _covers(layer, start, stop) for layer in self._layers):
            start, stop = int(rows[0]), int(rows[-1]) + 1  # units that one of the layers lacks
        values = tuple(
            layer.read(start, stop, own[: stop - start]) for layer, own in zip(self._layers, room, strict=True)
        )
        if len(rows) < stop - start:
            values = tuple(one[rows - start] for one in values)
        return _Piece(rows, values)

    def _item(self, batch: _Piece) -> dict[str, Any]:
        return {
            "features": self._named([torch.from_numpy(values) for values in batch.values]),
            "label": torch.from_numpy(self._labels[batch.rows]),
            "row": torch.from_numpy(batch.rows),
        }

    def _sample(self, batch: _Piece, at: int) -> dict[str, Any]:
        row = int(batch.rows[at])
        features = self._named([torch.from_numpy(np.array(values[at])) for values in batch.values])
        return {"features": features, "label": int(self._labels[row]), "row": row}

    def _named(self, tensors: Sequence[torch.Tensor]) -> Any:
        if self._single:
            return tensors[0]
        return dict(zip((layer.tap for layer in self._layers), tensors, strict=True))


def _covers(layer: FeatureLayer, start: int, stop: int) -> bool:
    """Whether all rows of a range are committed."""
    return sum(max(0, min(stop, unit.stop) - max(start, unit.start)) for unit in layer.units) == stop - start


def torch_features(
    store: FeatureStore,
    dataset: str | None,
    backbone: str | None,
    layers: str | Sequence[str],
    view: str,
    **options: Any,
) -> TorchFeatures:
    """The data set of layers by their names, see `TorchFeatures`.

    Raises:
        UnknownNameError, DataUnavailableError: The store has no such data set, backbone, view or layer.
        UsageError: No layer is named, or one twice.
    """
    names = [layers] if isinstance(layers, str) else list(layers)
    if not names or len(names) != len({*names}):
        raise UsageError("name one layer or several, each once", fix="store.layers() has their names")
    found = [find_layer(store, dataset, backbone, name, view) for name in names]
    return TorchFeatures(found, single=isinstance(layers, str), **options)
