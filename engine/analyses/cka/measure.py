"""Layerwise CKA of every pair of layers of every backbone, in one pass (minibatch CKA, Nguyen et al. 2021).

Per batch of b samples, HSIC_1 of all L x L pairs; over batches their sums S; then once CKA = S_xy / sqrt(S_xx S_yy).
HSIC_1 is unbiased, so the batches' size does not bias S, and independent features give 0 however wide they are. Values
may fall slightly below 0 or above 1; nothing is clamped. The kernels and formulas are in
`cvbench.engine.analyses.cka.hsic`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import NOT_FINITE, Layer, Partial, Result, Rows
from cvbench.engine.analyses.checks import check_samples, not_finite
from cvbench.engine.analyses.cka import hsic
from cvbench.engine.analyses.cka.device import DeviceHsic
from cvbench.engine.analyses.cka.result import COMPARED, INTERVAL, cka_result
from cvbench.engine.arrays.array import Array, namespace, to_host
from cvbench.engine.arrays.fetch import fetched
from cvbench.engine.statistics.verdict import FAMILY
from cvbench.errors import IntegrityError, UsageError

MIN_BATCH = 4
"""HSIC_1 divides by b - 3."""


SIZES = (256, 128, 64, 32, 16, 8)
"""Default sizes of a batch, the largest first."""
MANY_BATCHES = 30
"""So many batches cost an interval nothing in width."""
SMALL = 32
"""Up to this size batches are made smaller for the interval alone: below it HSIC_1 itself loses precision."""
SOME_BATCHES = 8
"""With fewer the quantile of t makes an interval wide: it is 12.7 for two batches and 2.4 for eight."""


def choose_batch(piece: int, n_total: int) -> int:
    """The default batch size, of those that cut a piece evenly: the largest that gives at least 30 batches in all.

    With too few samples for that: the largest up to 32 that gives at least 8; else the smallest that cuts evenly and
    gives two. If there is none: the piece, or all samples if they are fewer.

    >>> choose_batch(4096, 50_000), choose_batch(256, 1797), choose_batch(64, 200), choose_batch(50, 900)
    (256, 32, 16, 25)

    Args:
        piece: Samples that lie side by side: of one unit, or of one batch of the forward pass, since live CKA needs all
            layers of a batch. A batch never spans two pieces.
        n_total: Samples in all.

    Raises:
        UsageError: fewer than 4 samples per piece.
    """
    if min(piece, n_total) < MIN_BATCH:
        raise UsageError(
            f"CKA needs at least {MIN_BATCH} samples, there are {min(piece, n_total)}",
            fix="extract more samples (a larger --limit)",
        )
    fitting = [size for size in SIZES if piece % size == 0]
    if not fitting:
        fitting = [size for size in range(min(piece, SIZES[0]), SIZES[-1] - 1, -1) if piece % size == 0] or [piece]
    for sizes, least in (
        ([size for size in fitting if size >= SMALL], MANY_BATCHES),
        ([size for size in fitting if size <= SMALL], SOME_BATCHES),
        (fitting[::-1], 2),
    ):
        for size in sizes:
            if n_total // size >= least:
                return size
    return min(piece, n_total)


def batches_of(rows: Rows, batch: int) -> list[slice]:
    """Cut the samples of a unit into CKA batches.

    A batch is a run of `batch` positions of the unit, so that it is the same whoever cuts it, and whatever others lack.
    One that has lost samples (unreadable ones, or the end of the unit) counts with those it has, since HSIC_1 is
    unbiased for every size, if they are at least half of it and MIN_BATCH; else they are dropped.

    >>> batches_of(np.array([0, 1, 2, 3, 4, 5, 7, 8, 9, 16]), 8)
    [slice(0, 7, None)]

    Args:
        rows: Positions in the unit, ascending.
        batch: Positions per batch.

    Returns:
        Slices of `rows`.
    """
    edges = np.searchsorted(rows, np.arange(0, (rows[-1] if len(rows) else 0) + batch + 1, batch))
    least = max(MIN_BATCH, (batch + 1) // 2)
    return [slice(int(a), int(z)) for a, z in itertools.pairwise(edges) if z - a >= least]


class UnitHsic:
    """HSIC_1 of all pairs of layers for each batch of one unit; layers are added one by one and can be let go at once.

    While all layers together are narrower than a batch, their features are kept and multiplied as p x p cross products;
    the first layer that makes them wider turns them into Gram matrices. Both are the same estimator.

    Memory: the one layer that is being added, and L * batches * b(b-1)/2 * 8 bytes: 4 bytes per Gram entry, in float64.

    Args:
        layers: How many.
        rows: Of the samples in their unit, see `batches_of`; or their number, if none is missing.
        batch: b.
    """

    def __init__(self, layers: int, rows: Rows | int, batch: int) -> None:
        positions = np.arange(rows) if isinstance(rows, int) else rows
        self.layers, self.n, self.batch = layers, len(positions), batch
        self.cuts = batches_of(positions, batch)
        self._features: dict[int, Array] = {}
        self._packed: Array | None = None
        self._triangles: dict[int, Array] = {}  # by size of batch, where the layers are
        self._added: set[int] = set()

    @property
    def used(self) -> int:
        """Samples that fall into a batch."""
        return sum(cut.stop - cut.start for cut in self.cuts)

    def add(self, index: int, activations: Array, name: str) -> None:
        """Take layer `index`: activations (n, ...) of any float type; `name` is for the error messages.

        Raises:
            IntegrityError: not n rows, or a value that is not finite.
        """
        if len(activations) != self.n:
            raise IntegrityError(f"{name} has {len(activations)} samples where the unit has {self.n}", where=name)
        self._added.add(index)
        x = hsic.flatten_as_stored(activations)
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
            found = [hsic.hsic_packed(self._packed[i], cut.stop - cut.start) for i, cut in enumerate(self.cuts)]
        else:
            found = [hsic.hsic_features([self._features[i][cut] for i in range(self.layers)]) for cut in self.cuts]
        return np.array([to_host(s) for s in found], dtype=np.float64).reshape(-1, self.layers, self.layers)

    def _width(self) -> int:
        return sum(x.shape[1] for x in self._features.values())

    def _add_grams(self, index: int, x: Array, name: str) -> None:
        xp = namespace(x)
        if self._packed is None:
            size = self.batch * (self.batch - 1) // 2
            self._packed = xp.zeros((len(self.cuts), self.layers, size), dtype=xp.float64)
        for i, cut in enumerate(self.cuts):
            k = hsic.gram(x[cut])
            if len(k) not in self._triangles:
                self._triangles[len(k)] = xp.asarray(hsic.triangle(len(k)))
            above = hsic.u_centred(k).ravel()[self._triangles[len(k)]]
            self._packed[i, index, : len(above)] = above  # a short batch leaves zeros, which add nothing
        self._require_finite(self._packed[:, index].sum(), name)

    def _require_finite(self, total: Array, name: str) -> None:
        if not bool(namespace(total).isfinite(total)):
            raise IntegrityError(
                f"{name} holds values that are not finite",
                where=name,
                fix=NOT_FINITE,
            )


@dataclass(frozen=True)
class MinibatchCka:
    """The analysis `cka`.

    Attributes:
        batch: Samples per batch, b >= 4. See `batches_of` for one that is not full.
        confidence: Of the intervals over batches.
    """

    batch: int = 64
    confidence: float = 0.95
    name: ClassVar[str] = "cka"

    def __post_init__(self) -> None:
        if self.batch < MIN_BATCH:
            raise UsageError(
                f"a CKA batch needs at least {MIN_BATCH} samples, not {self.batch}",
                where="--cka-batch",
                why="the unbiased estimator divides by b - 3",
            )

    def measure(self, layers: Sequence[Layer], read: Callable[[Layer], Array], rows: Rows) -> Partial:
        """HSIC_1 of every pair of layers, per batch of one unit.

        Memory: one layer's unit as `read` gives it, and L * batches * b(b-1)/2 * 8 bytes.

        Returns:
            hsic (batches, L, L); rows, dropped (1,): samples used, and left over.

        Raises:
            IntegrityError: a layer with values that are not finite, or of another number of samples.
        """
        unit = LiveCka(self, layers)
        unit.begin(rows)
        if unit.wanted:
            for index, layer in enumerate(layers):
                unit.add(index, read(layer))
        return unit.partial()

    def live(self, layers: Sequence[Layer]) -> LiveCka:
        """A collector for one unit; its batches must hold whole CKA batches."""
        return LiveCka(self, layers)

    def summarise(self, layers: Sequence[Layer], partials: Iterable[Partial]) -> Result:
        """CKA of every pair with its interval over batches; see `cka_result`.

        Memory: batches * L * L * 8 bytes, three times.

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
        return {"analysis": self.name, "version": 4, "estimator": "minibatch", "kernel": "linear", "batch": self.batch}

    def summary_dict(self) -> Mapping[str, Any]:
        return {"confidence": self.confidence, "interval": INTERVAL, "family": FAMILY, "compared": [*COMPARED]}


class LiveCka:
    """Collects one unit of `MinibatchCka`: the Gram matrices of one batch at a time, and HSIC_1 of those before."""

    def __init__(self, analysis: MinibatchCka, layers: Sequence[Layer]) -> None:
        self._analysis, self._layers = analysis, layers
        self._found: list[NDArray[np.float64]] = [np.empty((0, len(layers), len(layers)))]
        self._rows: Rows = np.arange(0)
        self._cuts: list[slice] = []
        self._current: UnitHsic | None = None  # on the host
        self._there: DeviceHsic | None = None  # on a device
        self._empty = False  # the present batch counts, and has no layer yet
        self._used = self._seen = 0

    @property
    def wanted(self) -> bool:
        """Whether any sample of the present batch counts."""
        return bool(self._cuts)

    def begin(self, rows: Rows) -> None:
        """The next batch, see `LiveUnit`."""
        self._close()
        self._rows, self._cuts = rows, batches_of(rows, self._analysis.batch)
        self._empty = bool(self._cuts)
        self._seen += len(rows)
        self._used += sum(cut.stop - cut.start for cut in self._cuts)

    def add(self, index: int, maps: Array) -> None:
        """One layer of the batch, see `LiveUnit`.

        Raises:
            IntegrityError: another number of samples; on the host, a layer with values that are not finite.
        """
        if not self._cuts:
            return
        self._empty, layer = False, self._layers[index]
        if namespace(maps) is np:
            self._current = self._current or UnitHsic(len(self._layers), self._rows, self._analysis.batch)
            self._current.add(index, maps, str(layer))
        else:
            check_samples(layer, len(maps), len(self._rows))
            self._there = self._there or DeviceHsic(len(self._layers), self._cuts)
            self._there.add(index, maps)

    def take(self) -> list[Array]:
        """See `DeviceUnit`."""
        there, self._there = self._there, None
        return there.sums() if there else []

    def give(self, numbers: list[NDArray[np.float64]]) -> None:
        """See `DeviceUnit`.

        Raises:
            IntegrityError: A layer with values that are not finite.
        """
        for sums in numbers:
            for layer, own in zip(self._layers, sums.diagonal(), strict=True):
                if not np.isfinite(own):
                    raise not_finite(layer)
            self._found.append(sums[None])

    def partial(self) -> Partial:
        """The partial that `MinibatchCka.measure` gives."""
        self._close()
        dropped = self._seen - self._used
        return {
            "hsic": np.concatenate(self._found),
            "rows": np.array([float(self._used)]),
            "dropped": np.array([float(dropped)]),
        }

    def _close(self) -> None:
        if self._empty:
            raise UsageError(f"0 of {len(self._layers)} layers were added")
        if self._current is not None:
            self._found.append(self._current.per_batch())
        self._current = None
        if self._there is not None:  # nobody has taken it
            self.give(fetched(self.take()))
