"""Samples that are drawn when they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.storage.datasets.base import Reader, manifest_digest
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

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._names:
            return self.known[name]
        if self._found is None:
            self._found = self._measure()
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

    def mask(self, index: int) -> NDArray[np.bool_]:
        """(S, S) bool: where the objects are; the sample's box is its extent."""
        return mask(self.scenes[index], self.size)

    @property
    def nbytes(self) -> int:
        """Size of the pixels of all samples."""
        return 3 * self.size * self.size * len(self)

    @cached_property
    def digest(self) -> str:
        """Hex sha256 over the manifest; of the factors, those that are measured follow from the scenes."""
        factors = {f"factor {name}": values for name, values in self.factors.known.items()}
        return manifest_digest(
            name=self.name,
            split=self.split,
            classes=self.classes,
            ids=self.ids,
            arrays={"label": self.labels, **self.images(), **factors},
        )

    def images(self) -> Mapping[str, NDArray[Any]]:
        """The arrays that determine the pixels."""
        return {"scene": table(self.scenes), "drawn": np.array([RENDERER_VERSION, self.size], dtype=np.int64)}

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reader.open, (self.argument, None, self.split)
