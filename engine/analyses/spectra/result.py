"""The partials of `spectra` as labelled means with intervals, one axis for all grids; pairs of backbones compared."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Partial, Result
from cvbench.engine.analyses.spectra import kernel as spectrum
from cvbench.engine.analyses.spectra.kernel import F64, HalfPlane
from cvbench.engine.statistics.mean_interval import student_reach
from cvbench.engine.statistics.measure import Column, Measure, grid_notes, share
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.engine.statistics.running import INTERVAL, Means, RunningMeans, interval_notes, judged_columns, thin_notes
from cvbench.engine.statistics.verdict import FAMILY
from cvbench.errors import DataUnavailableError

TABLE = (
    *(
        share(f"share_above_{cut}", f"energy share above {cut} pi, DC left out", round(2 / cut), "none lies below")
        for cut in spectrum.CUTS
    ),
    share("dc_share", "energy share of DC"),
    Measure("centroid", "energy-weighted mean radial frequency, pi", 4, "one or two radii", least=0.0, most=2**0.5),
    Measure("corners", "relative log amplitude beyond the last radial bin, nat", 4, "no such coefficients"),
    Measure("slope", "least-squares slope of ln|F| over ln rho", 5, "fewer than four radii for a line"),
    Measure("variance", "spatial variance of a channel, squared units of the activation", least=0.0, unit=0.0),
)
"""The measures, with the smallest grid of each. On N x N the lowest frequency is 2/N pi: a cut below that is missed by
no coefficient. Up to pi, where the slope ends, 2 x 2 has one radius, 3 x 3 two, 4 x 4 three, 5 x 5 four."""

MEASURES = tuple(measure.name for measure in TABLE)


def spectra_result(
    layers: Sequence[Layer],
    partials: Iterable[Partial],
    inputs: Mapping[str, tuple[int, int]],
    said: Mapping[str, Any],
    intervals: IntervalOptions,
    classes: NDArray[np.int64] | None = None,
) -> Result:
    """Label what the partials hold.

    Args:
        layers: In the order of the result.
        partials: In unit order.
        inputs: Backbone -> (height, width) of its input in pixels, as far as known.
        said: The parameters, for the attributes.
        intervals: How they are made.
        classes: Of all images, in their order; see `RunningMeans`.

    Returns:
        Each variable also with `_low` and `_high`. On dimensions
        layer, frequency: `profile`, radial, interpolated linearly to an axis that all layers reach;
        layer, bin: `radial` at the layer's own bins and `diagonal`, both at `bin_frequency`; NaN beyond its length;
        `cycles_per_pixel` of the same bins; `notebook_frequency` of the half-diagonal, as Park & Kim's notebook labels
        it, for reproduction (its last entry is called 1 and is not);
        layer, measure: `measures`, with `n_undefined` images left out and `white_noise`, its value for noise.
        `measures_class_low`, `measures_class_high` over resampled classes, if there are enough of them.
        NaN only there, where no image defines a measure, and in low and high if there is no interval.
        `attrs["differences"]`: for each pair of backbones the measures of the deepest layers that share a grid, one
        less the other on the same `n` images; `resolved` is their verdict, `p` its p-value, adjusted for all of them,
        `class_resolved` the verdict over classes, `reason` why a measure cannot be taken on their grid.

    Raises:
        DataUnavailableError: No image.
    """
    found = _summed(layers, partials, intervals, classes)
    means = found.means
    result = _labelled(layers, found.sums, means, inputs, intervals.confidence)
    small = grid_notes(TABLE, {str(layer): grid for layer, grid in zip(layers, found.grids, strict=True)})
    result.attrs.update(
        **said,
        samples=means.images,
        notes=[*interval_notes(means.images), *thin_notes(_names(layers, found.pairs), means), *small],
        family=FAMILY,
        differences=list(_differences(layers, found.grids, found.pairs, means)),
    )
    return result


@dataclass(frozen=True, eq=False)
class _Summed:
    """All units together.

    Attributes:
        sums: Of the curves, and the grid of each layer, by the keys of a partial.
        grids: Of each layer: height, width, channels.
        pairs: Layers that are compared, by number.
        means: Of the measures of every layer, then of the differences of the pairs.
    """

    sums: Partial
    grids: Sequence[F64]
    pairs: Sequence[tuple[int, int]]
    means: Means


def _summed(
    layers: Sequence[Layer], partials: Iterable[Partial], intervals: IntervalOptions, classes: NDArray[np.int64] | None
) -> _Summed:
    """Take the partials together, one after another; as `spectra_result` takes and refuses them."""
    sums: Partial = {}
    running: RunningMeans | None = None
    pairs: list[tuple[int, int]] = []
    for part in partials:
        if running is None:
            grids = [part[f"grid/{i}"] for i in range(len(layers))]
            pairs = _pairs(layers, grids)
            running = RunningMeans(_columns(grids, pairs), intervals, classes)
        tables = [part[f"measures/{i}"] for i in range(len(layers))]
        running.add(np.concatenate([*tables, *(tables[i] - tables[j] for i, j in pairs)], axis=1))
        for key, values in part.items():
            kind = key.partition("/")[0]
            if kind != "measures":
                sums[key] = sums[key] + values if key in sums and kind != "grid" else values
    if running is None or not running.images:
        raise DataUnavailableError("there is no readable image", fix="extract more samples (a larger --limit)")
    return _Summed(sums, grids, pairs, running.means())


def common_axis(axes: Sequence[F64]) -> F64:
    """The bins of the finest grid up to the lowest last bin of all grids, and that one.

    >>> common_axis([np.array([0, 0.25, 0.5, 0.75, 1]), np.array([0, 2 / 7, 4 / 7, 6 / 7])]).round(3).tolist()
    [0.0, 0.25, 0.5, 0.75, 0.857]
    """
    top = min(axis[-1] for axis in axes)
    finest = min(axes, key=lambda axis: float(axis[1]))
    below = finest[finest < top - 1e-9]
    return np.append(below, top)


def interpolation(axis: F64, wanted: F64) -> F64:
    """(len(axis), len(wanted)): a profile on `axis` times this is the profile, linearly interpolated, on `wanted`."""
    return np.array([np.interp(wanted, axis, unit) for unit in np.eye(len(axis))])


def _pairs(layers: Sequence[Layer], grids: Sequence[F64]) -> list[tuple[int, int]]:
    """For each pair of backbones their deepest layers of one grid: only these can be compared number by number."""
    found = []
    for a, b in itertools.combinations(dict.fromkeys(layer.backbone for layer in layers), 2):
        of_a, of_b = ([i for i, layer in enumerate(layers) if layer.backbone == name] for name in (a, b))
        same = [(i, j) for i in of_a for j in of_b if (grids[i][:2] == grids[j][:2]).all()]
        if same:  # as deep in both as can be
            found.append(max(same, key=lambda pair: (sum(pair), pair)))
    return found


def _differences(
    layers: Sequence[Layer], grids: Sequence[F64], pairs: Sequence[tuple[int, int]], means: Means
) -> Iterator[dict[str, Any]]:
    """One flat entry per pair and measure; all of them are one family."""
    start, width = len(layers) * len(TABLE), len(TABLE)
    family = np.arange(start, start + len(pairs) * width)
    verdicts = judged_columns(means, family)
    for at, number in enumerate(family.tolist()):
        a, b = (layers[i] for i in pairs[at // width])
        ends = (means.value, means.low, means.high, means.class_low, means.class_high)
        keys = ("value", "low", "high", "class_low", "class_high")
        yield {
            "backbone_a": a.backbone,
            "tap_a": a.tap,
            "backbone_b": b.backbone,
            "tap_b": b.tap,
            "measure": MEASURES[at % width],
            **{key: _defined(values[number]) for key, values in zip(keys, ends, strict=True)},
            "n": means.images - int(means.undefined[number]),
            "p": _defined(verdicts["p"][at]),
            "resolved": _said(verdicts["resolved"][at]),
            "class_resolved": _said(verdicts["class_resolved"][at]),
            "reason": TABLE[at % width].reason(grids[pairs[at // width][0]]),
        }


def _defined(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _said(value: float) -> bool | None:
    return bool(value) if math.isfinite(value) else None


def _columns(grids: Sequence[F64], pairs: Sequence[tuple[int, int]]) -> list[Column]:
    """Columns of the means: the measures of every layer, then the differences."""
    own = [Column(measure, measure.on(grid)) for grid in grids for measure in TABLE]
    width = len(TABLE)
    return own + [
        Column(measure, measure.on(grids[i]), (i * width + at, j * width + at))
        for i, j in pairs
        for at, measure in enumerate(TABLE)
    ]


def _names(layers: Sequence[Layer], pairs: Sequence[tuple[int, int]]) -> list[str]:
    """Names of the columns of the means."""
    owners = [f"{layer}" for layer in layers] + [f"{layers[i]} less {layers[j]}" for i, j in pairs]
    return [f"{measure} of {owner}" for owner in owners for measure in MEASURES]


def _estimate(total: F64, squares: F64, n: int, confidence: float) -> list[F64]:
    """Mean, low and high from sums and sums of squares over n images."""
    mean = total / n
    variance = np.maximum(squares / n - mean**2, 0.0)
    reach = student_reach(n, confidence) * np.sqrt(variance / max(n - 1, 1))
    return [mean, mean - reach, mean + reach]


def _labelled(
    layers: Sequence[Layer],
    sums: Partial,
    means: Means,
    inputs: Mapping[str, tuple[int, int]],
    confidence: float,
) -> Result:
    count = len(layers)
    grids = [tuple(int(v) for v in sums[f"grid/{i}"]) for i in range(count)]
    planes = [spectrum.half_plane(*grid[:2]) for grid in grids]
    common = common_axis([plane.frequency for plane in planes])
    width = max(len(plane.frequency) for plane in planes)
    curves: dict[str, list[list[F64]]] = {"profile": [], "radial": [], "diagonal": []}
    for i, plane in enumerate(planes):
        total, products = sums[f"profile/{i}"], sums[f"products/{i}"]
        to_common = interpolation(plane.frequency, common)
        squares = np.einsum("bf,bc,cf->f", to_common, products, to_common)
        curves["profile"].append(_estimate(total @ to_common, squares, means.images, confidence))
        own = [_estimate(total, np.diagonal(products), means.images, confidence)]
        once, twice = sums[f"diagonal/{i}"]
        own.append(_estimate(once, twice, means.images, confidence))
        for name, estimate in zip(("radial", "diagonal"), own, strict=True):
            curves[name].append([_padded(values, width) for values in estimate])
    table = (count, len(MEASURES))
    data: dict[str, tuple[tuple[str, ...], Any]] = {
        "bin_frequency": (("layer", "bin"), np.stack([_padded(plane.frequency, width) for plane in planes])),
        "cycles_per_pixel": (("layer", "bin"), np.stack(list(_physical(layers, planes, inputs, width)))),
        "notebook_frequency": (("layer", "bin"), np.stack([_notebook(plane, width) for plane in planes])),
        "n_undefined": (("layer", "measure"), means.undefined[: math.prod(table)].reshape(table)),
        "white_noise": (("layer", "measure"), np.stack([_white_noise(plane) for plane in planes])),
    }
    for row, suffix in enumerate(("", "_low", "_high")):
        for name, estimates in curves.items():
            dimension = "frequency" if name == "profile" else "bin"
            data[name + suffix] = (("layer", dimension), np.stack([estimate[row] for estimate in estimates]))
    for suffix, found in means.ends.items():
        data["measures" + suffix] = (("layer", "measure"), found[: math.prod(table)].reshape(table))
    described = [
        {"backbone": layer.backbone, "tap": layer.tap, "grid": list(grid[:2]), "channels": grid[2]}
        for layer, grid in zip(layers, grids, strict=True)
    ]
    coords = {
        "layer": [str(layer) for layer in layers],
        "frequency": common.tolist(),
        "bin": list(range(width)),
        "measure": list(MEASURES),
    }
    attrs = {
        "layers": described,
        "null_level": spectrum.NULL_LEVEL,
        "axes": "frequency: pi per position of the layer's own grid; relative log amplitude: nat above that of DC",
        "intervals": f"measures, differences {INTERVAL}; over classes: bootstrap; curves: Student's t over images",
    }
    return Result("spectra", coords, data, attrs)


def _physical(
    layers: Sequence[Layer], planes: Sequence[HalfPlane], inputs: Mapping[str, tuple[int, int]], width: int
) -> Iterable[F64]:
    """Cycles per pixel of the input: bin k is k cycles per its shorter side."""
    for layer, plane in zip(layers, planes, strict=True):
        side = min(inputs[layer.backbone]) if layer.backbone in inputs else math.nan
        yield _padded(np.arange(len(plane.frequency)) / side, width)


def _notebook(plane: HalfPlane, width: int) -> F64:
    entries = 0 if plane.diagonal is None else len(plane.diagonal)
    return _padded(np.linspace(0, 1, entries), width)


def _white_noise(plane: HalfPlane) -> F64:
    """(7,) what a flat spectrum gives for each of MEASURES: shares of coefficients, null level, slope; no variance."""
    shares = spectrum.energy_shares(np.ones((1, len(plane.rho))) @ plane.energy)[0]
    corners = spectrum.NULL_LEVEL if plane.corners else math.nan
    return np.append(shares, [corners, plane.noise @ plane.slope, math.nan])


def _padded(values: F64, width: int) -> F64:
    return np.pad(values, (0, width - len(values)), constant_values=np.nan)
