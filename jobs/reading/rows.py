"""Which rows of a unit count."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from cvbench.storage.features import FeatureLayer
from cvbench.storage.features.units import Unit


def readable_rows(layers: Iterable[FeatureLayer], unit: Unit) -> NDArray[np.int64]:
    """Rows of the unit whose sample could be read, the same for every layer."""
    keep = np.ones(len(unit), dtype=bool)
    for layer in layers:
        keep[[sample.row - unit.start for sample in layer.commit(unit).bad]] = False
    return np.flatnonzero(keep)
