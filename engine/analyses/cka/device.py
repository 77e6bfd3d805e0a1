"""HSIC_1 of all pairs of layers on a CUDA device: one Gram matrix for each layer and batch, everything else at the end.

Nothing is fetched while layers are added. The Gram matrices of all layers lie side by side, so that U(K) and the pairs
take as many launches as those of one layer would. See `cvbench.engine.analyses.cka.hsic` for the symbols.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cvbench.engine.analyses.cka import hsic
from cvbench.engine.arrays.array import Array, namespace, table
from cvbench.errors import UsageError


class DeviceHsic:
    """Gram matrices of the layers of one unit or batch, cut into CKA batches; layers are added one by one.

    Memory: L * batches * b * b * 8 bytes, and the layer that is added, in float32.

    Args:
        layers: How many.
        cuts: Of the rows, one for each CKA batch.
    """

    def __init__(self, layers: int, cuts: Sequence[slice]) -> None:
        self._layers, self._cuts = layers, list(cuts)
        self._grams: list[Array] = []  # per batch (L, b, b)
        self._added: set[int] = set()

    def add(self, index: int, activations: Array) -> None:
        """Take layer `index`: (n, ...) of any float type, n what the cuts are of."""
        x = hsic.flatten_as_stored(activations)
        if not self._grams:
            sizes = [cut.stop - cut.start for cut in self._cuts]
            self._grams = [namespace(x).empty((self._layers, size, size)) for size in sizes]
        for grams, cut in zip(self._grams, self._cuts, strict=True):
            grams[index] = hsic.gram(x[cut])
        self._added.add(index)

    def sums(self) -> list[Array]:
        """For each batch (L, L) float64 on the device; a layer with values that are not finite has none but such."""
        if len(self._added) != self._layers:
            raise UsageError(f"{len(self._added)} of {self._layers} layers were added")
        return [_hsic(grams) for grams in self._grams]


def _hsic(grams: Array) -> Array:
    """(L, b, b) Gram matrices -> (L, L) HSIC_1 of every pair."""
    layers, b, _ = grams.shape
    off = _off_diagonal.on(grams, b)
    u = namespace(grams).where(off, grams, 0.0)
    rows = u.sum(axis=2)
    shift = rows / (b - 2) - rows.sum(axis=1, keepdims=True) / (2 * (b - 1) * (b - 2))
    u -= shift[:, :, None]
    u -= shift[:, None, :]
    u *= off
    flat = u.reshape(layers, b * b)
    return hsic.symmetric(flat @ flat.T) / (b * (b - 3))


@table
def _off_diagonal(b: int) -> Array:
    """(b, b) bool, False on the diagonal."""
    return ~np.eye(b, dtype=bool)
