"""Cosine similarity between the local features of every layer, per image (kernel in
`cvbench.engine.analyses.similarity.kernel`).

Two versions: `raw`, and `centred`, where the image's mean feature is subtracted first. A third that is in use, with the
mean of each position over the data set subtracted, is not computed: it takes a pass over the data before the first.

Per image: the mean over i != j of S ("mean patch similarity", Gong et al. 2021 with |S|, which is `mean_absolute`),
the neighbour contrast and the correlation length in grid steps; intervals as in
`cvbench.engine.statistics.mean_interval`. What a grid is too small for is not measured on it, and the mean of centred
similarities, which is fixed by their definition, nowhere (`similarity_result.TABLE`). The distance profile and the lag
correlogram keep sums and sums of squares, so that memory does not grow with the images; their intervals are Student's.

The P x P matrices are summed over images where P <= 784 (28 x 28); a 56 x 56 grid would need 10 million numbers. There
the means by offset come from autocorrelations, a hundredth of the arithmetic, and `mean_absolute` stays undefined.
An image whose features are all zero (centred: all equal) has no direction to compare: undefined, left out, counted.

Numbers of two grids are not comparable. The last layers of all backbones are therefore averaged to the coarsest of
their grids, and only there is one subtracted from the other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Partial, Result, Rows
from cvbench.engine.analyses.checks import check_grid, not_finite
from cvbench.engine.analyses.common_grid import image_numbers, last_on_common_grid, number_columns
from cvbench.engine.analyses.layerwise import LayerwiseUnit, Measured, layer_by_layer
from cvbench.engine.analyses.similarity import kernel
from cvbench.engine.analyses.similarity.result import LARGEST_MATRIX, MEASURES, TABLE, VERSIONS, similarity_result
from cvbench.engine.arrays.array import Array, namespace, table, to_host
from cvbench.engine.arrays.pooling import pool_to
from cvbench.engine.arrays.threads import in_order
from cvbench.engine.statistics.options import USUAL, IntervalOptions
from cvbench.engine.statistics.running import INTERVALS, RunningMeans, class_count
from cvbench.errors import DataUnavailableError

HOST_GROUP, DEVICE_GROUP = 2**20, 2**26
"""Values taken at a time, whole images: what stays near a core, and what fills a GPU."""

_PER_IMAGE, _FIXED = ("scalars", "common"), "grid"
WANTS = "similarity between positions"


@dataclass(frozen=True)
class Similarity:
    """The analysis `similarity`.

    Attributes:
        compared: The layers that are also measured on the `common` grid, one of each backbone; see `between`.
        common: (h, w), not finer than the grid of any of them.
        inputs: (backbone, (height, width) of its input in pixels), for lengths in pixels; those left out have none.
        intervals: How they are made; only the bootstrap of classes draws.
        classes: Of the readable images, in unit order; None for no interval over classes.
    """

    compared: tuple[Layer, ...] = ()
    common: tuple[int, int] | None = None
    inputs: tuple[tuple[str, tuple[int, int]], ...] = ()
    intervals: IntervalOptions = USUAL
    classes: NDArray[np.int64] | None = field(default=None, compare=False, repr=False)
    name: ClassVar[str] = "similarity"

    @classmethod
    def between(
        cls, grids: Mapping[Layer, tuple[int, int]], inputs: Mapping[str, tuple[int, int]], **options: Any
    ) -> Similarity:
        """The analysis that compares the last layers of all backbones.

        Args:
            grids: (H, W) of each layer, in the order of the result; a backbone's last is its last one here.
            inputs: Backbone -> (height, width) of its input in pixels, as far as known.
            options: `intervals` and `classes`.
        """
        return cls(*last_on_common_grid(grids), tuple(inputs.items()), **options)

    def measure(self, layers: Sequence[Layer], read: Callable[[Layer], Array], rows: Rows) -> Partial:
        """Similarities of every image of one unit, see `layer_by_layer`."""
        return layer_by_layer(self.measure_layer, layers, read, rows)

    def live(self, layers: Sequence[Layer]) -> LayerwiseUnit:
        """A collector for one unit."""
        return LayerwiseUnit(layers, self.measured, merge)

    def measure_layer(self, index: int, layer: Layer, maps: Array) -> Partial:
        """One layer's part of a partial, of any number of images; `merge` joins those of several batches.

        Memory, for each thread: a group of images in float32 twice, a block of the kernel, and 2 P^2 * 8 bytes where
        P <= 784.

        Args:
            index: Of the layer in the result.
            layer: Which one.
            maps: (n, H, W, C) float16, float32 or float64, NumPy or CuPy, without prefix tokens.

        Returns:
            float64 on the host, v = 2 versions, K = H (2W-1) lags dy >= 0 (see the kernel), R = max(H, W):
            `scalars/i` (n, v, 4) MEASURES; `common/i` (n, v, 4) the same on the common grid, for compared layers of
            another grid; `counts/i` (v,) images with a direction; over these the sums and sums of squares
            `profile/i` (2, v, R), `lags/i` (2, v, K); `matrix/i` (v, P(P+1)/2) the sums of S, its upper triangle row
            by row, (v, 0) where P > 784; `grid/i` (3,) H, W, C.

        Raises:
            UsageError: A layer without spatial extent.
            IntegrityError: Values that are not finite.
        """
        return self.measured(index, layer, maps).partial()

    def measured(self, index: int, layer: Layer, maps: Array) -> Measured:
        """`measure_layer`, with all but its last step where the maps lie."""
        grid = check_grid(layer, maps.shape, WANTS)
        shape = np.array(maps.shape[1:], dtype=np.float64)
        versions = _versions(layer, maps, keep_matrix=grid[0] * grid[1] <= LARGEST_MATRIX)
        pooled = None
        if self.common is not None and layer in self.compared and self.common != grid:
            pooled = _versions(layer, maps, pool=self.common)
        own = len(versions.numbers)

        def finish(numbers: list[NDArray[np.float64]]) -> Partial:
            found = versions.finish(numbers[:own])
            if pooled is not None:
                found["common"] = pooled.finish(numbers[own:])["scalars"]
            found["grid"] = shape
            return {f"{key}/{index}": values for key, values in found.items()}

        return Measured([*versions.numbers, *(pooled.numbers if pooled else ())], finish)

    def summarise(self, layers: Sequence[Layer], partials: Iterable[Partial]) -> Result:
        """Means over images with their intervals; see `similarity_result` for what they are called.

        Memory: one partial, the matrices, 32 bytes for each number of an image; with classes, what `RunningMeans` says.

        Raises:
            DataUnavailableError: No image.
        """
        said = {**self.as_dict(), **self.summary_dict()}
        running: RunningMeans | None = None
        sums: Partial = {}
        for partial in partials:
            table = image_numbers(layers, partial, "scalars", self.compared)
            if running is None:
                grids = [partial[f"grid/{i}"][:2] for i in range(len(layers))]
                columns = number_columns(layers, self.compared, TABLE, grids, self.common)
                running = RunningMeans(columns, self.intervals, self.classes)
            running.add(table)
            rest = {key: values for key, values in partial.items() if key.partition("/")[0] not in _PER_IMAGE}
            sums = merge([sums, rest])
        if running is None or not running.images:
            raise DataUnavailableError("there is no readable image", fix="extract more samples (a larger --limit)")
        return similarity_result(layers, sums, running.means(), self.compared, dict(self.inputs), said)

    def as_dict(self) -> Mapping[str, Any]:
        return {
            "analysis": self.name,
            "version": 3,
            "epsilon": kernel.EPSILON,
            "largest_matrix": LARGEST_MATRIX,
            "compared": [str(layer) for layer in self.compared],
            "common_grid": list(self.common) if self.common else None,
        }

    def summary_dict(self) -> Mapping[str, Any]:
        return {
            "intervals": INTERVALS,
            **asdict(self.intervals),
            "classes": class_count(self.classes),
            "inputs": {name: list(size) for name, size in self.inputs},
        }


def merge(partials: Iterable[Partial]) -> Partial:
    """One partial of several, in their order: rows of images one after the other, sums added.

    So the partial of a unit may come from its batches, and that of a run from its units. Only float64 rounding depends
    on where they were cut. No partial gives an empty one.
    """
    rows: dict[str, list[NDArray[np.float64]]] = {}
    sums: Partial = {}
    for partial in partials:
        for key, values in partial.items():
            kind = key.partition("/")[0]
            if kind in _PER_IMAGE:
                rows.setdefault(key, []).append(values)
            elif kind == _FIXED or key not in sums:
                sums[key] = values.copy()
            else:
                sums[key] += values
    return {**{key: np.concatenate(parts) for key, parts in rows.items()}, **sums}


def _versions(layer: Layer, maps: Array, *, keep_matrix: bool = False, pool: tuple[int, int] | None = None) -> Measured:
    """The arrays of `measure_layer`, by kind; of the maps averaged to `pool` if given."""
    grid = pool or (int(maps.shape[1]), int(maps.shape[2]))
    size = max(1, (HOST_GROUP if namespace(maps) is np else DEVICE_GROUP) // math.prod(maps.shape[1:]))
    starts = range(0, len(maps), size)

    def of_group(start: int) -> list[Array]:
        group = maps[start : start + size]
        values = pool_to(group, pool) if pool else group
        if values.dtype == np.float16 and namespace(values) is np:
            values = values.astype(np.float32)  # once for both versions; a device does it on the way
        return [array for centred in (False, True) for array in _numbers(values, grid, centred, keep_matrix)]

    def part_of(numbers: list[Array]) -> Partial:
        return _of_group(layer, numbers, grid)

    def merged(parts: Iterable[Partial]) -> Partial:
        return merge(itertools.chain([_empty(grid, keep_matrix)], parts))

    if namespace(maps) is np:  # to the end of each group, so that few groups are there at a time
        partial = merged(in_order(lambda start: part_of(of_group(start)), starts))
        return Measured([], lambda _: partial)
    found = [of_group(start) for start in starts]
    each = len(found[0]) if found else 1
    return Measured(
        [array for group in found for array in group],
        lambda numbers: merged(part_of(numbers[at : at + each]) for at in range(0, len(numbers), each)),
    )


def _empty(grid: tuple[int, int], keep_matrix: bool) -> Partial:
    """Sums of no image."""
    return {
        "scalars": np.empty((0, len(VERSIONS), len(MEASURES))),
        "counts": np.zeros(len(VERSIONS)),
        "profile": np.zeros((2, len(VERSIONS), max(grid))),
        "lags": np.zeros((2, len(VERSIONS), grid[0] * (2 * grid[1] - 1))),
        "matrix": np.zeros((len(VERSIONS), math.prod(grid) * (math.prod(grid) + 1) // 2 if keep_matrix else 0)),
    }


_STACKED = {"scalars": 1, "counts": 0, "profile": 1, "lags": 1, "matrix": 0}
_NUMBERS = 4
"""Arrays of one version, see `_numbers`."""


def _numbers(values: Array, grid: tuple[int, int], centred: bool, keep: bool) -> list[Array]:
    """One version of one group of images, where they lie: lag means, mean |S|, whether an image has a direction, and
    the upper triangle of the summed matrix."""
    xp = namespace(values)
    units, defined = kernel.unit_features(values, centred=centred)
    if grid[0] * grid[1] > LARGEST_MATRIX:
        pairs = kernel.lag_statistics(units, grid)
    else:
        pairs = kernel.pair_statistics(units, grid, matrix=keep)
    matrix = pairs.lags[:0, 0] if pairs.matrix is None else pairs.matrix.ravel()[_upper.on(values, math.prod(grid))]
    return [pairs.lags, pairs.absolute, defined.astype(xp.float64), matrix]


def _of_group(layer: Layer, numbers: Sequence[NDArray[np.float64]], grid: tuple[int, int]) -> Partial:
    """The arrays of one group, by kind, of the numbers of both versions on the host."""
    parts = [_version(layer, numbers[at : at + _NUMBERS], grid) for at in range(0, len(numbers), _NUMBERS)]
    return {key: np.stack([part[key] for part in parts], axis=axis) for key, axis in _STACKED.items()}


def _version(layer: Layer, numbers: Sequence[NDArray[np.float64]], grid: tuple[int, int]) -> Partial:
    """One version of one group of images: its arrays by kind."""
    means, absolute, defined, matrix = numbers
    if not np.isfinite(means).all():
        raise not_finite(layer)
    lags = kernel.lags(*grid)
    profile, off = means @ lags.profile, means @ lags.off
    length = kernel.correlation_length(profile, off)
    scalars = np.stack([off, absolute, means @ (lags.near - lags.far), length], axis=1)
    there = defined > 0
    scalars[~there] = math.nan  # its features are zero: they add nothing to the sums either
    return {
        "scalars": scalars,
        "counts": np.array(float(there.sum())),
        "profile": np.stack([profile.sum(axis=0), (profile**2).sum(axis=0)]),
        "lags": np.stack([means.sum(axis=0), (means**2).sum(axis=0)]),
        "matrix": matrix,
    }


@table
def _upper(size: int) -> NDArray[np.intp]:
    """Flat positions of the upper triangle, row by row."""
    return np.flatnonzero(np.tri(size, dtype=bool).T)


def image_matrices(maps: Array) -> NDArray[np.float32]:
    """The whole matrices of single images.

    Args:
        maps: (n, H, W, C).

    Returns:
        (n, 2, P, P) float32, VERSIONS; zero for an image without direction.
    """
    xp = namespace(maps)
    found = []
    for centred in (False, True):
        units, _ = kernel.unit_features(maps, centred=centred)
        found.append(units @ units.transpose(0, 2, 1))
    return np.asarray(to_host(xp.stack(found, axis=1)), dtype=np.float32)
