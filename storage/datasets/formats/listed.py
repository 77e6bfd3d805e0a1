"""What every data set is whose samples are listed when it is opened, wherever their images lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.storage.datasets.base import manifest_digest
from cvbench.storage.datasets.left_out import LeftOut


@dataclass(frozen=True, eq=False)
class Listed:
    """The list of a data set's samples; what each field is says `base.Dataset`."""

    name: str
    split: str
    spec: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    factors: Mapping[str, NDArray[Any]] = field(default_factory=dict, kw_only=True)
    left_out: tuple[LeftOut, ...] = field(default=(), kw_only=True)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def transform(self) -> None:
        """None: the images are taken as they are."""

    @cached_property
    def digest(self) -> str:
        """Hex sha256 over the manifest: name, split, classes, ids, labels, factors, and what `images` gives."""
        factors = {f"factor {name}": values for name, values in self.listed_factors.items()}
        return manifest_digest(
            name=self.name,
            split=self.split,
            classes=self.classes,
            ids=self.ids,
            arrays={"label": self.labels, **self.images(), **factors},
        )

    @property
    def listed_factors(self) -> Mapping[str, NDArray[Any]]:
        """The factors that the digest is of."""
        return self.factors

    def images(self) -> Mapping[str, NDArray[Any]]:
        """Arrays that tell the images of one data set from those of another in its digest."""
        raise NotImplementedError
