"""Stored layers as a torch data set: read chunk by chunk in a shuffled order, shuffled within each chunk.

The store's order is a random permutation of the data set already, so a chunk is a fair sample; shuffling the chunks and
the rows of each gives every epoch its own order without a random access. Batches are cut from that order, so that they
are the same however many workers there are: each takes a run of whole batches, and a chunk that two of them share is
read twice. The next chunk is read while the last is handed out. Memory: two chunks of every layer, in each worker.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from cvbench.errors import DataUnavailableError, UsageError
from cvbench.jobs.catalogue.layers import find_layer
from cvbench.jobs.catalogue.passes import Passes
from cvbench.storage.features import FeatureLayer, FeatureStore


@dataclass(frozen=True)
class _Piece:
    """Readable rows of a range of the store: their positions, and each layer's values."""

    rows: NDArray[np.int64]
    values: tuple[NDArray[Any], ...]

    def take(self, chosen: NDArray[np.int64]) -> _Piece:
        return _Piece(self.rows[chosen], tuple(values[chosen] for values in self.values))

    def joined(self, other: _Piece) -> _Piece:
        pairs = zip(self.values, other.values, strict=True)
        return _Piece(np.concatenate([self.rows, other.rows]), tuple(np.concatenate(pair) for pair in pairs))


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
        rest: _Piece | None = None
        for piece, chosen in self._parts(epoch, first, last):
            size = self._batch or len(chosen)
            at = 0
            if rest is not None:
                at = size - len(rest.rows)
                rest = rest.joined(piece.take(chosen[:at]))
                if len(rest.rows) < size:
                    continue
                yield rest
            while at + size <= len(chosen):
                yield piece.take(chosen[at : at + size])
                at += size
            rest = piece.take(chosen[at:]) if at < len(chosen) else None
        if rest is not None:
            yield rest

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
        with ThreadPoolExecutor(1, thread_name_prefix="features") as pool:
            ahead = pool.submit(self._read, order[0]) if order else None
            for following in [*order[1:], None]:
                if ahead is None:
                    return
                piece = ahead.result()
                ahead = None if following is None else pool.submit(self._read, following)
                yield piece

    def _read(self, number: int) -> _Piece:
        start, stop = self._pieces[number]
        first, last = np.searchsorted(self._rows, (start, stop))
        rows = self._rows[first:last]
        if len(rows) < stop - start and any(not _covers(layer, start, stop) for layer in self._layers):
            start, stop = int(rows[0]), int(rows[-1]) + 1  # units that one of the layers lacks
        values = tuple(layer.read(start, stop) for layer in self._layers)
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
