"""Reads and decodes the samples of a unit, ahead of the device, in bounded memory."""

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
from cvbench.errors import DecodeError
from cvbench.storage.features import BadSample

if TYPE_CHECKING:
    import torch

    from cvbench.storage.datasets import Dataset
    from cvbench.storage.features.units import Unit


@dataclass(frozen=True)
class Batch:
    """One batch of a unit, always of full size: past `size` the images are black, so that every forward has one shape.

    Attributes:
        offset: Row of the first sample within the unit.
        size: How many rows are samples.
        images: For each geometry (batch, 3, height, width) uint8 on the host.
        bad: The samples that could not be read; their images are black.
    """

    offset: int
    size: int
    images: dict[Geometry, torch.Tensor]
    bad: list[BadSample]


class Feed:
    """Decodes each sample once, applies the data set's transform, and fits it to every geometry that backbones ask for.

    Memory: `ahead` + 1 batches for every unit being read, whatever the size of the data set.
    """

    def __init__(
        self,
        dataset: Dataset,
        order: NDArray[np.int64],
        geometries: Sequence[Geometry],
        *,
        batch: int,
        device: str,
        threads: int,
        ahead: int = 2,
    ) -> None:
        self._dataset = dataset
        self._order = order
        self._geometries = list(dict.fromkeys(geometries))
        self._batch = batch
        self._device = device
        self._ahead = ahead
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def start(self, unit: Unit) -> Iterator[Batch]:
        """Begin to decode `unit` at once; iterate over its batches in order."""
        offsets = iter(range(0, len(unit), self._batch))
        queue: deque[tuple[Batch, list[Future[BadSample | None]]]] = deque()

        def submit() -> None:
            offset = next(offsets, None)
            if offset is not None:
                queue.append(self._submit(unit, offset))

        for _ in range(self._ahead):
            submit()

        def batches() -> Iterator[Batch]:
            while queue:
                batch, futures = queue.popleft()
                submit()
                batch.bad.extend(bad for future in futures if (bad := future.result()) is not None)
                yield batch

        return batches()

    def _submit(self, unit: Unit, offset: int) -> tuple[Batch, list[Future[BadSample | None]]]:
        size = min(self._batch, len(unit) - offset)
        images = {g: staging((self._batch, 3, *g.size), self._device) for g in self._geometries}
        views = {g: image.numpy() for g, image in images.items()}
        first = unit.start + offset
        futures = [self._pool.submit(self._load, first + row, row, views) for row in range(size)]
        return Batch(offset, size, images, []), futures

    def _load(self, position: int, row: int, views: dict[Geometry, NDArray[np.uint8]]) -> BadSample | None:
        index = int(self._order[position])
        try:
            payload = self._dataset.read(index)
            for rules in dict.fromkeys(geometry.rules for geometry in views):
                image = decode(payload, rules)
                for geometry, out in views.items():
                    if geometry.rules == rules:
                        out[row] = render(image, geometry, self._dataset.transform)
        except DecodeError as error:
            return BadSample(position, self._dataset.ids[index], error.reason, error.what)
        return None
