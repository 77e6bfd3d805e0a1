"""Reads and decodes the samples of a unit, ahead of the device, in bounded memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.models.host_copy import Copies, staging
from cvbench.engine.pictures.geometry import Geometry
from cvbench.errors import DecodeError, raise_if_lacking
from cvbench.jobs.extraction.decoding.choice import Decoding
from cvbench.jobs.extraction.decoding.fill import Refusal, fill
from cvbench.jobs.extraction.decoding.layout import Layout
from cvbench.jobs.extraction.decoding.processes import Decoders, Nursery, Sample
from cvbench.jobs.extraction.decoding.ring import Ring
from cvbench.storage.features import BadSample

if TYPE_CHECKING:
    import torch

    from cvbench.engine.pictures.transforms import Transform
    from cvbench.storage.datasets import Dataset
    from cvbench.storage.features.units import Unit

UNITS = 2
"""Units that are read at once from a ring of slots; a third waits for one of them to end."""
ROWS = 8
"""Samples that a decoding process is given at a time."""


@dataclass(frozen=True)
class Batch:
    """One batch of a unit, always of full size: past `size` the images are black, so that every forward has one shape.

    Attributes:
        offset: Row of the first sample within the unit.
        size: How many rows are samples.
        images: For each geometry (batch, 3, height, width) uint8 on the host; theirs until the next batch is asked for,
            when all that is to go to the device must have been sent by the feed's `Copies`.
        bad: The samples that could not be read; their images are black.
    """

    offset: int
    size: int
    images: dict[Geometry, torch.Tensor]
    bad: list[BadSample]


class Place(Protocol):
    """Memory of one batch, and how samples get into it."""

    @property
    def images(self) -> dict[Geometry, torch.Tensor]:
        """For each geometry (batch, 3, height, width) uint8."""
        ...

    def decode(self, samples: Sequence[Sample]) -> dict[int, Refusal]:
        """Decode samples into their rows: row -> why it is refused, and black."""
        ...

    def give_back(self) -> None:
        """Let the memory be used again; once."""
        ...


class _Own:
    """Memory of a batch's own; the thread that asks decodes."""

    def __init__(self, images: dict[Geometry, torch.Tensor], transform: Transform | None) -> None:
        self.images = images
        self._arrays = {geometry: tensor.numpy() for geometry, tensor in images.items()}
        self._transform = transform

    def decode(self, samples: Sequence[Sample]) -> dict[int, Refusal]:
        found = {}
        for row, _, payload in samples:
            rows = {geometry: images[row] for geometry, images in self._arrays.items()}
            if (refusal := fill(payload, rows, self._transform)) is not None:
                found[row] = refusal
        return found

    def give_back(self) -> None:
        """Nothing: the memory goes when nobody has it any more."""


class _Slot:
    """A slot of a ring; processes decode."""

    def __init__(self, ring: Ring, decoders: Decoders, size: int) -> None:
        self._ring, self._decoders, self._number = ring, decoders, ring.take()
        self.images = ring.tensors(self._number)
        for images in self.images.values():
            images[size:] = 0

    def decode(self, samples: Sequence[Sample]) -> dict[int, Refusal]:
        return self._decoders.decode(samples, self._number)

    def give_back(self) -> None:
        self._ring.give_back(self._number)


class Feed:
    """Decodes each sample once, applies the data set's transform, and fits it to every geometry that backbones ask for.

    Samples are read in this process, whoever decodes them. The images are the same to the byte, and so are bad samples
    and errors.

    Args:
        order: (N,) position -> sample.
        geometries: What the images are fitted to; each once.
        batch: Images of a batch.
        copies: By which the batches go to the device.
        decoding: Who decodes.
        ahead: Batches of a unit that are decoded before they are asked for.
        nursery: Of the processes, if one was begun already.

    Memory: `ahead` + 1 batches for every unit being read, whatever the size of the data set; with processes as much
    from the start for two units, and what each process holds of one image.
    """

    def __init__(
        self,
        dataset: Dataset,
        order: NDArray[np.int64],
        geometries: Sequence[Geometry],
        *,
        batch: int,
        copies: Copies,
        decoding: Decoding,
        ahead: int = 2,
        nursery: Nursery | None = None,
    ) -> None:
        self._dataset = dataset
        self._order = order
        self._geometries = tuple(dict.fromkeys(geometries))
        self._batch = batch
        self._copies = copies
        self._ahead = ahead
        self._ring: Ring | None = None
        self._decoders: Decoders | None = None
        self._units = threading.Semaphore(UNITS)
        threads = decoding.number
        if decoding.processes:
            threads = 2 * decoding.number  # one reads the next samples while another waits for a decoder
            self._ring = Ring(Layout(self._geometries, batch, UNITS * (ahead + 1)), copies)
            self._decoders = Decoders(self._ring, dataset.transform, decoding.number, nursery)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def start(self, unit: Unit) -> UnitBatches:
        """Begin to decode `unit` at once; iterate over its batches in order, and close it."""
        if self._ring is not None:
            self._units.acquire()  # so that every unit that has begun has all the slots it needs to end
        return UnitBatches(self, unit)

    def close(self) -> None:
        """End the processes that decode, if there are any."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._decoders is not None:
            self._decoders.close()

    def _place(self, size: int) -> Place:
        if self._ring is not None and self._decoders is not None:
            return _Slot(self._ring, self._decoders, size)
        images = {g: staging((self._batch, 3, *g.size), self._copies.device) for g in self._geometries}
        return _Own(images, self._dataset.transform)

    def _submit(self, unit: Unit, offset: int) -> _Coming:
        size = min(self._batch, len(unit) - offset)
        place, step = self._place(size), 1 if self._ring is None else ROWS
        first = unit.start + offset
        parts = [range(row, min(row + step, size)) for row in range(0, size, step)]
        coming = _Coming(Batch(offset, size, place.images, []), place, [])
        try:
            for rows in parts:
                coming.futures.append(self._pool.submit(self._load, first, rows, place))
        except RuntimeError as error:  # no thread: what was handed in may be waiting for one
            coming.drop()
            raise_if_lacking(error)
            raise
        return coming

    def _load(self, first: int, rows: range, place: Place) -> list[BadSample]:
        """Read and decode some rows of the batch that begins at position `first` of the order."""
        samples, refused = [], dict[int, Refusal]()
        ids = {row: int(self._order[first + row]) for row in rows}
        for row, index in ids.items():
            try:
                samples.append(Sample(row, self._dataset.ids[index], self._dataset.read(index)))
            except DecodeError as error:
                refused[row] = Refusal(error.reason, error.what)
                for images in place.images.values():
                    images[row] = 0
        if samples:
            refused |= place.decode(samples)
        return [BadSample(first + row, self._dataset.ids[ids[row]], *refused[row]) for row in sorted(refused)]


@dataclass(frozen=True)
class _Coming:
    """A batch that is being decoded."""

    batch: Batch
    place: Place
    futures: list[Future[list[BadSample]]]

    def drop(self) -> None:
        """Let nothing more be written to it, and give its memory back."""
        for future in self.futures:
            future.cancel()
        wait(self.futures)
        self.place.give_back()


class UnitBatches(Iterator[Batch]):
    """The batches of a unit, in order; decoding is ahead of whoever asks."""

    def __init__(self, feed: Feed, unit: Unit) -> None:
        self._feed, self._unit = feed, unit
        self._offsets = iter(range(0, len(unit), feed._batch))
        self._queue: deque[_Coming] = deque()
        self._last: Place | None = None
        self._open = True
        try:
            for _ in range(feed._ahead):
                self._submit()
        except BaseException:
            self.close()  # another unit may have what this one had
            raise

    def __next__(self) -> Batch:
        self._give_back()
        if not self._queue:
            raise StopIteration
        self._submit()
        coming = self._queue[0]
        for future in coming.futures:
            coming.batch.bad.extend(future.result())
        self._queue.popleft()
        self._last = coming.place
        return coming.batch

    def _give_back(self) -> None:
        if self._last is not None:
            self._last.give_back()
            self._last = None

    def _submit(self) -> None:
        offset = next(self._offsets, None)
        if offset is not None:
            self._queue.append(self._feed._submit(self._unit, offset))

    def close(self) -> None:
        """Give back all that was not asked for, and the batch that was given last; a second time does nothing."""
        if not self._open:
            return
        self._open = False
        while self._queue:
            self._queue.popleft().drop()
        self._give_back()
        if self._feed._ring is not None:
            self._feed._units.release()
