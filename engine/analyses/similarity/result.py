"""From the partials of `similarity` to a labelled result: means, intervals, matrices, differences on one grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Partial, Result
from cvbench.engine.analyses.common_grid import labelled_means, number_owners
from cvbench.engine.statistics.mean_interval import student_reach
from cvbench.engine.statistics.measure import Measure, grid_notes, share
from cvbench.engine.statistics.running import INTERVAL, Means, interval_notes, thin_notes
from cvbench.engine.statistics.verdict import FAMILY

F64 = NDArray[np.float64]
Data = dict[str, tuple[tuple[str, ...], NDArray[Any]]]

VERSIONS = ("raw", "centred")
_SUM = "centred features sum to zero, so it is near -1/(P - 1) for P positions"
TABLE = (
    Measure("mean", "mean patch similarity", least=-1.0, most=1.0),
    share("mean_absolute", "the same of absolute values"),
    Measure("contrast", "neighbour contrast", 3, "two distances", least=-2.0, most=2.0),
    Measure("length", "correlation length, grid steps", 4, "a profile of fewer than four steps", least=0.0),
    Measure("centred mean", "mean patch similarity", None, _SUM, least=-1.0, most=1.0),
    share("centred mean_absolute", "the same of absolute values", 3, "four features that sum to zero"),
    Measure("centred contrast", "neighbour contrast", 3, "two distances", least=-2.0, most=2.0),
    Measure("centred length", "correlation length, grid steps", 4, "a profile of fewer than four steps", least=0.0),
)
"""The measures of both versions, with the smallest grid of each. On 2 x 2 the profile has one distance beside 0, whose
mean is the level it falls to: the length is 1 - 1/e whatever the features."""

MEASURES = tuple(measure.name for measure in TABLE[: len(TABLE) // 2])

FLOOR = 1.0
UNRESOLVED = "not measurable on this grid: a length below one step"
"""Note of a correlation length that the grid does not resolve, and of a difference from one, which has no number."""
"""Grid steps: a correlation length below that of the next position lies between a position and its neighbours, where
nothing is measured; it is at its floor, 1 - 1/e, where neighbours are no more alike than any two positions."""

LARGEST_MATRIX = 784
"""Positions P up to which a layer's P x P matrix is kept."""


def similarity_result(
    layers: Sequence[Layer],
    partial: Partial,
    means: Means,
    compared: Sequence[Layer],
    inputs: Mapping[str, tuple[int, int]],
    said: Mapping[str, Any],
) -> Result:
    """The labelled result.

    Args:
        layers: L layers, in the partial's order.
        partial: Of all images (`merge`), what is there per image left out.
        means: Of the columns of `image_numbers`.
        compared: Layers that were measured on the common grid too.
        inputs: Backbone -> (height, width) of its input in pixels.
        said: Parameters; resamples, confidence and seed among them.

    Returns:
        Each variable but the matrices and the counts also with `_low` and `_high`, and what is of measures with
        `_class_low` and `_class_high` over resampled classes if there are enough of them; on dimensions
        layer, version, measure: `measures`, with `n_undefined` images left out;
        layer, version, step: `profile`, c(r) at r grid steps, NaN beyond the layer's own; `profile_undefined` images
        without direction, on layer, version;
        version, lag_row_*, lag_column_*: `correlogram_i` of layer number i, by signed offset (dy, dx);
        version, patch_P, patch_P: `matrix_i`, float32, the mean S of layer number i; not where P > 784;
        pair, version, measure: `difference`, first less second backbone on the common grid, with
        `difference_undefined` images left out and its verdict (see `labelled_means`), if there is a pair; and `common`,
        `common_undefined` (compared, version, measure), the two themselves.
        The attribute `layers` has each layer's names, grid, channels and stride in pixels (null if unknown).
    """
    axes = {"version": len(VERSIONS), "measure": len(MEASURES)}
    data, coords = labelled_means(layers, compared, means, "measures", axes)
    data |= _profiles(partial, len(layers), said["confidence"])
    counts = np.stack([partial[f"counts/{i}"] for i in range(len(layers))])
    data["profile_undefined"] = (("layer", "version"), means.images - counts.astype(np.int64))
    steps = data["profile"][1].shape[-1]
    coords |= {"version": list(VERSIONS), "measure": list(MEASURES), "step": list(range(steps))}
    described = [_described(layer, partial[f"grid/{i}"], inputs) for i, layer in enumerate(layers)]
    for i, layer in enumerate(described):
        data |= _correlogram(partial, i, layer["grid"], said["confidence"], coords)
        data |= _matrix(partial, i, layer["grid"])
    owners = number_owners(layers, compared)
    names = [f"{version} {name} of {owner}" for owner in owners for version in VERSIONS for name in MEASURES]
    thin = thin_notes(names, means)
    grids = {f"{layer['backbone']}/{layer['tap']}": layer["grid"] for layer in described}
    small = grid_notes(TABLE, grids | ({"common": said["common_grid"]} if "pair" in coords else {}))
    notes = [*interval_notes(means.images), *thin, *small, *_notes(described, "pair" in coords)]
    notes += _floor_notes(data["measures"][1][..., MEASURES.index("length")], list(grids))
    attrs = {**said, "samples": means.images, "notes": notes, "layers": described, "interval": _INTERVAL}
    attrs["family"] = FAMILY
    return Result(name="similarity", coords=coords, data=data, attrs=attrs)


_INTERVAL = f"measures, difference {INTERVAL}; over classes: bootstrap; profile, correlogram: Student's t over images"


def _floor_notes(lengths: F64, names: Sequence[str]) -> list[str]:
    """Layers (L, v) whose correlation length is below a step."""
    notes = []
    for version, values in zip(VERSIONS, lengths.T, strict=True):
        below = [name for name, value in zip(names, values, strict=True) if value < FLOOR]
        if below:
            more = f" and {len(below) - 4} more" if len(below) > 4 else ""
            notes.append(
                f"correlation length, {version}, below one grid step (its floor is 0.63), not resolved by the grid: "
                f"{', '.join(below[:4])}{more}"
            )
    return notes


def _described(layer: Layer, shape: F64, inputs: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    height, width, channels = (int(v) for v in shape)
    stride = None
    if layer.backbone in inputs:
        down, across = inputs[layer.backbone][0] / height, inputs[layer.backbone][1] / width
        stride = down if abs(down - across) < 1e-9 else None  # else a step has no one length
    names = {"backbone": layer.backbone, "tap": layer.tap}
    return {**names, "grid": [height, width], "channels": channels, "stride": stride}


def _notes(described: Sequence[Mapping[str, Any]], pairs: bool) -> list[str]:
    notes = []
    large = [layer for layer in described if layer["grid"][0] * layer["grid"][1] > LARGEST_MATRIX]
    if large:
        names = ", ".join(f"{layer['backbone']}/{layer['tap']}" for layer in large)
        notes.append(f"no matrix and no mean |similarity| of grids above {LARGEST_MATRIX} positions: {names}")
    if len({layer["backbone"] for layer in described}) > 1 and not pairs:
        notes.append("no differences: the coarsest of the last layers' grids has no spatial extent")
    return notes


def _moments(sums: F64, count: F64, confidence: float) -> tuple[F64, F64, F64]:
    """Mean and interval (v, m) of sums and sums of squares (2, v, m) over `count` (v,) images."""
    n = np.where(count > 0, count, np.nan)[:, None]
    student = np.array([student_reach(float(value), confidence) for value in count])[:, None]
    mean = sums[0] / n
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = np.maximum(sums[1] / n - mean**2, 0) * n / np.where(n > 1, n - 1, np.nan)
    reach = student * np.sqrt(variance / n)
    return mean, mean - reach, mean + reach


def _profiles(partial: Partial, layers: int, confidence: float) -> Data:
    found = [_moments(partial[f"profile/{i}"], partial[f"counts/{i}"], confidence) for i in range(layers)]
    width = max(mean.shape[1] for mean, _, _ in found)

    def padded(values: F64) -> F64:
        return np.pad(values, ((0, 0), (0, width - values.shape[1])), constant_values=np.nan)

    return {
        f"profile{suffix}": (("layer", "version", "step"), np.stack([padded(kinds[j]) for kinds in found]))
        for j, suffix in enumerate(("", "_low", "_high"))
    }


def _correlogram(
    partial: Partial, index: int, grid: Sequence[int], confidence: float, coords: dict[str, list[Any]]
) -> Data:
    """All signed offsets: the half that was measured, and its mirror image."""
    height, width = grid
    rows, columns = f"lag_row_{height}", f"lag_column_{width}"
    coords[rows], coords[columns] = list(range(1 - height, height)), list(range(1 - width, width))
    data: Data = {}
    moments = _moments(partial[f"lags/{index}"], partial[f"counts/{index}"], confidence)
    for suffix, values in zip(("", "_low", "_high"), moments, strict=True):
        half = values.reshape(len(VERSIONS), height, 2 * width - 1)
        signed = np.concatenate([half[:, :0:-1, ::-1], half], axis=1)
        data[f"correlogram_{index}{suffix}"] = (("version", rows, columns), signed)
    return data


def _matrix(partial: Partial, index: int, grid: Sequence[int]) -> Data:
    packed, size = partial[f"matrix/{index}"], grid[0] * grid[1]
    if not packed.size:
        return {}
    count = partial[f"counts/{index}"]
    square = np.empty((len(VERSIONS), size, size), dtype=np.float32)
    upper = np.triu_indices(size)
    with np.errstate(invalid="ignore"):
        mean = packed / np.where(count > 0, count, np.nan)[:, None]
    for version in range(len(VERSIONS)):
        square[version][upper] = mean[version]
        square[version].T[upper] = mean[version]
    return {f"matrix_{index}": (("version", f"patch_{size}", f"patch_again_{size}"), square)}
