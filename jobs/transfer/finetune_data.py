"""The images of some splits as uint8 tensors: decoded once where they fit in memory, else by threads in every epoch."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.models.host_copy import staging
from cvbench.engine.pictures.decode import Geometry, decode
from cvbench.engine.pictures.transforms import render
from cvbench.errors import DecodeError, IncompleteError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from cvbench.storage.datasets import Dataset

I64 = NDArray[np.int64]
AHEAD = 2
MAX_UNREADABLE = 0.01
"""The share of unreadable samples that a run tolerates, as `extract` does."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """Some rows of `Images`: those that could be read.

    Attributes:
        rows: (b,) int64.
        images: (b, 3, h, w) uint8 on the host, page-locked for a CUDA device.
        labels: (b,) int64, likewise.
    """

    rows: I64
    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class ReadOutcome:
    """Outcome of reading some samples of a split.

    Attributes:
        n: How many.
        unreadable: Those that could not be read, each with its reason.
    """

    n: int
    unreadable: tuple[str, ...]

    def joined(self, other: ReadOutcome) -> ReadOutcome:
        """Both."""
        return ReadOutcome(self.n + other.n, (*self.unreadable, *other.unreadable))

    def check(self, where: str) -> None:
        """Refuse more than `MAX_UNREADABLE` of unreadable samples.

        Raises:
            IncompleteError: There are more.
        """
        failed = len(self.unreadable)
        if failed > MAX_UNREADABLE * self.n:
            raise IncompleteError(
                f"{failed:,} of {self.n:,} samples could not be read",
                where=where,
                why="; ".join(self.unreadable[:3]) + ("; ..." if failed > 3 else ""),
                fix="repair or remove these files; or --partial, which leaves them out",
            )


class Images:
    """The samples of one or more splits in one row of numbers, split after split.

    Memory: all images if they take no more than `cache` bytes, and 3 batches.

    Args:
        splits: In their order.
        geometry: What the images are fitted to.
        threads: That decode.
        cache: Bytes of images that are decoded once.
        device: That the batches go to.
    """

    def __init__(
        self, splits: Sequence[Dataset], geometry: Geometry, *, threads: int, cache: int, device: str = "cpu"
    ) -> None:
        self._splits, self._geometry, self._device = list(splits), geometry, device
        self._starts = np.cumsum([0, *(len(split) for split in splits)])
        self.labels: I64 = np.concatenate([split.labels for split in splits])
        if len(self.labels) == 0 or self.labels.min() < 0:
            names = ", ".join(f"{split.name}/{split.split}" for split in splits)
            raise UsageError(f"{int((self.labels < 0).sum())} of {len(self.labels)} samples have no label", where=names)
        self.bad: dict[int, str] = {}  # row -> sample and reason, as they are read
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._kept: NDArray[np.uint8] | None = None
        if len(self) * 3 * geometry.size[0] * geometry.size[1] <= cache:
            kept = np.zeros((len(self), *self._shape), np.uint8)
            list(self._pool.map(lambda row: self._load(row, kept[row]), range(len(self))))
            self._kept = kept
            self._pool.shutdown()

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, groups: Sequence[I64]) -> Iterator[Loaded]:
        """The rows of each group, in order; unreadable ones are left out and named in `bad`."""
        if self._kept is not None:
            for rows in groups:
                yield self._loaded(*self._gathered(self._kept, rows, rows))
            return
        waiting: deque[tuple[I64, Tensor, list[Future[None]]]] = deque()
        todo = iter(groups)
        while True:
            while len(waiting) <= AHEAD and (following := next(todo, None)) is not None:
                images = staging((len(following), *self._shape), self._device)
                outs = images.numpy()
                futures = [self._pool.submit(self._load, int(r), outs[i]) for i, r in enumerate(following)]
                waiting.append((following, images, futures))
            if not waiting:
                return
            rows, images, futures = waiting.popleft()
            for future in futures:
                future.result()
            if not self._readable(rows).all():
                rows, images = self._gathered(images.numpy(), np.arange(len(rows)), rows)
            yield self._loaded(rows, images)

    def read_outcomes(self, rows: I64) -> dict[str, ReadOutcome]:
        """Split -> the outcome of reading those of the rows that are its own, so far."""
        of = np.searchsorted(self._starts, rows, side="right") - 1
        found = {}
        for i, split in enumerate(self._splits):
            own = rows[of == i].tolist()
            found[split.split] = ReadOutcome(len(own), tuple(self.bad[row] for row in own if row in self.bad))
        return found

    @property
    def _shape(self) -> tuple[int, int, int]:
        return 3, *self._geometry.size

    def _readable(self, rows: I64) -> NDArray[np.bool_]:
        return np.array([row not in self.bad for row in rows.tolist()], dtype=bool)

    def _gathered(self, source: NDArray[np.uint8], places: I64, rows: I64) -> tuple[I64, Tensor]:
        """Those of the rows that could be read, and their images, which lie at `places` of `source`."""
        good = self._readable(rows)
        images = staging((int(good.sum()), *self._shape), self._device)
        source.take(places[good], axis=0, out=images.numpy(), mode="clip")  # as "raise", without a copy between
        return rows[good], images

    def _loaded(self, rows: I64, images: Tensor) -> Loaded:
        import torch

        labels = torch.from_numpy(self.labels[rows])
        return Loaded(rows, images, labels.pin_memory() if self._device.startswith("cuda") else labels)

    def _load(self, row: int, out: NDArray[np.uint8]) -> None:
        split = int(np.searchsorted(self._starts, row, side="right")) - 1
        dataset, index = self._splits[split], row - int(self._starts[split])
        try:
            out[:] = render(decode(dataset.read(index), self._geometry.rules), self._geometry, dataset.transform)
        except DecodeError as error:
            self.bad[row] = f"{dataset.ids[index]}: {error.what}"
