"""Samples that are drawn when they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.storage.datasets.base import Reader
from cvbench.storage.datasets.formats.listed import Listed
from cvbench.storage.datasets.scenes.render import RENDERER_VERSION, mask, render
from cvbench.storage.datasets.scenes.scene import Scene, table


class Measured(Mapping[str, NDArray[Any]]):
    """Columns of which some are measured when the first of them is asked for.

    Attributes:
        known: The others.
    """

    def __init__(
        self, known: Mapping[str, NDArray[Any]], names: Sequence[str], measure: Callable[[], Mapping[str, NDArray[Any]]]
    ) -> None:
        self.known, self._names, self._measure = known, tuple(names), measure
        self._found: Mapping[str, NDArray[Any]] | None = None
        self._lock = Lock()  # a data set that is kept is read by several threads

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._names:
            return self.known[name]
        with self._lock:
            if self._found is None:
                found = dict(self._measure())
                for values in found.values():
                    values.setflags(write=False)
                self._found = found
        return self._found[name]

    def __contains__(self, name: object) -> bool:
        return name in self.known or name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter((*self.known, *self._names))

    def __len__(self) -> int:
        return len(self.known) + len(self._names)


@dataclass(frozen=True, eq=False)
class RenderedDataset(Listed):
    """A data set whose sample `i` is `scenes[i]`, drawn at `size` pixels. Memory: the table of samples.

    It is pickled by its reader: another process makes the scenes again rather than receive them.

    Attributes:
        argument: What the reader was given of the spec.
    """

    scenes: tuple[Scene, ...]
    size: int
    reader: Reader
    factors: Measured = field(kw_only=True)
    argument: str = ""

    def read(self, index: int) -> NDArray[np.uint8]:
        """(S, S, 3) RGB uint8."""
        return render(self.scenes[index], self.size)

    @property
    def has_masks(self) -> bool:
        """Every scene has one."""
        return True

    def mask(self, index: int) -> NDArray[np.bool_]:
        """(S, S) bool: where the objects are; the sample's box is its extent."""
        return mask(self.scenes[index], self.size)

    @property
    def nbytes(self) -> int:
        """Size of the pixels of all samples."""
        return 3 * self.size * self.size * len(self)

    @property
    def listed_factors(self) -> Mapping[str, NDArray[Any]]:
        """The factors without those that are measured, which follow from the scenes."""
        return self.factors.known

    def images(self) -> Mapping[str, NDArray[Any]]:
        """The arrays that determine the pixels."""
        return {"scene": table(self.scenes), "drawn": np.array([RENDERER_VERSION, self.size], dtype=np.int64)}

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reader.open, (self.argument, None, self.split)
