"""Layerwise CKA of every pair of layers of every backbone, in one pass (minibatch CKA, Nguyen et al. 2021).

Per batch of b samples, HSIC_1 of all L x L pairs; over batches their sums S; then once CKA = S_xy / sqrt(S_xx S_yy).
HSIC_1 is unbiased, so the batches' size does not bias S, and independent features give 0 however wide they are. Values
may fall slightly below 0 or above 1; nothing is clamped. The kernels and formulas are in `cvbench.engine.kernels.hsic`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Partial, Result
from cvbench.engine.analyses.cka_result import cka_result
from cvbench.engine.array import Array, namespace, to_host
from cvbench.engine.kernels import hsic
from cvbench.errors import IntegrityError, UsageError

MIN_BATCH = 4
"""HSIC_1 divides by b - 3."""


def choose_batch(n_unit: int, n_total: int) -> int:
    """The default batch size: the largest of 256, 128, 64, 32 that gives at least 30 batches in all, for the interval.

    With too few samples for that, 32, or the whole unit if that is smaller.

    >>> choose_batch(4096, 50_000), choose_batch(256, 1797), choose_batch(20, 20)
    (256, 32, 20)

    Args:
        n_unit: Samples per unit; a batch never spans two units.
        n_total: Samples in all.

    Raises:
        UsageError: fewer than 4 samples per unit.
    """
    if min(n_unit, n_total) < MIN_BATCH:
        raise UsageError(
            f"CKA needs at least {MIN_BATCH} samples, there are {min(n_unit, n_total)}",
            fix="extract more samples (a larger --limit)",
        )
    whole, rest = divmod(n_total, n_unit)
    for batch in (256, 128, 64, 32):
        if batch <= n_unit and whole * (n_unit // batch) + rest // batch >= 30:
            return batch
    return min(32, n_unit, n_total)


class UnitHsic:
    """HSIC_1 of all pairs of layers for each batch of one unit; layers are added one by one and can be let go at once.

    While all layers together are narrower than a batch, their features are kept and multiplied as p x p cross products;
    the first layer that makes them wider turns them into Gram matrices. Both are the same estimator.

    Memory: the one layer that is being added, and L * batches * b(b-1)/2 * 8 bytes: 4 bytes per Gram entry, in float64.
    """

    def __init__(self, layers: int, n: int, batch: int, *, threads: int = 1) -> None:
        self.layers, self.n, self.batch, self.threads = layers, n, batch, threads
        self.batches = n // batch
        self._features: dict[int, Array] = {}
        self._packed: Array | None = None
        self._triangle: Array | None = None
        self._added: set[int] = set()

    def add(self, index: int, activations: Array, name: str) -> None:
        """Take layer `index`: activations (n, ...) of any float type; `name` is for the error messages.

        Raises:
            IntegrityError: not n rows, or a value that is not finite.
        """
        if len(activations) != self.n:
            raise IntegrityError(f"{name} has {len(activations)} samples where the unit has {self.n}", where=name)
        self._added.add(index)
        x = hsic.flatten_as_stored(activations)[: self.batches * self.batch]
        if self._packed is None and self._width() + x.shape[1] < self.batch:
            self._require_finite(x.sum(dtype=namespace(x).float64), name)
            self._features[index] = x.copy()  # the caller may reuse its buffer
            return
        for kept in list(self._features):
            self._add_grams(kept, self._features.pop(kept), name)
        self._add_grams(index, x, name)

    def per_batch(self) -> NDArray[np.float64]:
        """(batches, L, L) float64 on the host, once every layer has been added."""
        if len(self._added) != self.layers:
            raise UsageError(f"{len(self._added)} of {self.layers} layers were added")
        if self._packed is not None:
            found = [hsic.hsic_packed(self._packed[i], self.batch) for i in range(self.batches)]
        else:
            cuts = [slice(i * self.batch, (i + 1) * self.batch) for i in range(self.batches)]
            found = [hsic.hsic_features([self._features[i][cut] for i in range(self.layers)]) for cut in cuts]
        return np.array([to_host(s) for s in found], dtype=np.float64).reshape(-1, self.layers, self.layers)

    def _width(self) -> int:
        return sum(x.shape[1] for x in self._features.values())

    def _add_grams(self, index: int, x: Array, name: str) -> None:
        xp = namespace(x)
        if self._packed is None:
            self._triangle = xp.asarray(hsic.triangle(self.batch))
            self._packed = xp.empty((self.batches, self.layers, len(self._triangle)), dtype=xp.float64)
        for i in range(self.batches):
            k = hsic.gram(x[i * self.batch : (i + 1) * self.batch], threads=self.threads)
            self._packed[i, index] = hsic.u_centred(k).ravel()[self._triangle]
        self._require_finite(self._packed[:, index].sum(), name)

    def _require_finite(self, total: Array, name: str) -> None:
        if not bool(namespace(total).isfinite(total)):
            raise IntegrityError(
                f"{name} holds values that are not finite",
                where=name,
                fix="extract this layer again with --precision fp32 or bf16",
            )


@dataclass(frozen=True)
class MinibatchCka:
    """The analysis `cka`.

    Attributes:
        batch: Samples per batch, b >= 4. A remainder of a unit that fills no batch is dropped and counted.
        resamples, confidence, seed: Of the bootstrap over batches.
    """

    batch: int = 64
    resamples: int = 2000
    confidence: float = 0.95
    seed: int = 0
    name: ClassVar[str] = "cka"

    def __post_init__(self) -> None:
        if self.batch < MIN_BATCH:
            raise UsageError(
                f"a CKA batch needs at least {MIN_BATCH} samples, not {self.batch}",
                where="--cka-batch",
                why="the unbiased estimator divides by b - 3",
            )

    def measure(self, layers: Sequence[Layer], read: Callable[[Layer], Array], n: int) -> Partial:
        """HSIC_1 of every pair of layers, per batch of one unit.

        Memory: one layer's unit as `read` gives it, and L * batches * b(b-1)/2 * 8 bytes.

        Returns:
            hsic (batches, L, L); rows, dropped (1,): samples used, and left over.

        Raises:
            IntegrityError: a layer with values that are not finite, or of another number of samples.
        """
        unit = UnitHsic(len(layers), n, self.batch)
        if unit.batches:
            for index, layer in enumerate(layers):
                unit.add(index, read(layer), str(layer))
        found = unit.per_batch() if unit.batches else np.empty((0, len(layers), len(layers)))
        used = unit.batches * self.batch
        return {"hsic": found, "rows": np.array([float(used)]), "dropped": np.array([float(n - used)])}

    def summarise(self, layers: Sequence[Layer], partials: Iterable[Partial]) -> Result:
        """CKA of every pair with its bootstrap interval over batches; see `cka_result`.

        Memory: batches * L * L * 8 bytes, and twice resamples * L(L+1)/2 * 8.

        Raises:
            UsageError: no unit fills a batch.
        """
        parts = list(partials)
        batches = np.concatenate([np.empty((0, len(layers), len(layers))), *(part["hsic"] for part in parts)])
        rows, dropped = (int(sum(part[key].sum() for part in parts)) for key in ("rows", "dropped"))
        if not len(batches):
            raise UsageError(
                f"no unit fills a CKA batch of {self.batch} samples",
                where="--cka-batch",
                why=f"{dropped} samples in {len(parts)} units",
                fix=f"a smaller --cka-batch (at least {MIN_BATCH}), or extract more samples",
            )
        attrs = {"estimator": "minibatch", "batch_size": self.batch, "samples": rows, "dropped": dropped}
        return cka_result(layers, batches, {**attrs, **self.summary_dict()})

    def as_dict(self) -> Mapping[str, Any]:
        return {"analysis": self.name, "version": 1, "estimator": "minibatch", "kernel": "linear", "batch": self.batch}

    def summary_dict(self) -> Mapping[str, Any]:
        return {"resamples": self.resamples, "confidence": self.confidence, "seed": self.seed}
