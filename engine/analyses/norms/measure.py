"""Norms |t| of the tokens t of a layer, positions of a map or patches of a ViT, without prefix tokens.

median     median over the tokens of an image
largest    largest / median of the image
outliers   share of the tokens with |t| > median + 5 * 1.4826 * MAD, both of the image; a cut-off of the image's own, as
           scales differ between layers (Darcet et al. 2024 cut one model's at 150)
border     share of the outliers on the outermost rows and columns; undefined for an image without outliers. Such
           positions are `border_share` of all
above      share of the tokens above a given norm, if one is given: Darcet's own

The histogram is over all tokens of all images, in quarter octaves; `where` is the share of the images with an outlier
at a position.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Partial, Result
from cvbench.engine.analyses.checks import not_finite
from cvbench.engine.analyses.layer_means import Block, end_pairs, layer_means
from cvbench.engine.analyses.layerwise import Layerwise
from cvbench.engine.analyses.maps.kernel import NORMAL, OUTLIER_DEVIATIONS, channel_norm, outliers
from cvbench.engine.arrays.array import Array, namespace, to_host
from cvbench.engine.statistics.measure import Measure, share
from cvbench.engine.statistics.options import USUAL, IntervalOptions
from cvbench.engine.statistics.running import INTERVALS
from cvbench.errors import DataUnavailableError

F64 = NDArray[np.float64]

_FEW = "few positions have few outliers"
TABLE = (
    Measure("median", "median norm", side=1, least=0.0, unit=0.0),
    Measure("largest", "largest norm / median", least=0.0),
    share("outliers", "share of tokens whose norm is an outlier", 4, _FEW),
    share("border", "share of the outliers at the border", 4, _FEW),
    share("above", "share of tokens above the given norm", 1),
)
WITHIN = ("largest", "outliers", "border")
BETWEEN = ("largest", "outliers")
LOWEST, HIGHEST, PER_OCTAVE = -6, 14, 4
"""Powers of 2 at the ends of the histogram, and bins from one to the next; what lies beyond is in the last bins."""
EDGES = 2.0 ** np.linspace(LOWEST, HIGHEST, (HIGHEST - LOWEST) * PER_OCTAVE + 1)
_SUMMED = ("histogram", "where")


def norm_numbers(maps: Array, cutoff: float | None = None) -> tuple[Array, Array, Array]:
    """Measure maps.

    Args:
        maps: (n, H, W, C), finite.
        cutoff: Norm that `above` counts from; None: it is undefined.

    Returns:
        (n, 5) float64 in the order of `TABLE`, NaN where undefined; (bins,) counts of tokens; (H, W) images with an
        outlier there.
    """
    return _numbers_of(channel_norm(maps), cutoff)


def _numbers_of(norms: Array, cutoff: float | None) -> tuple[Array, Array, Array]:
    xp = namespace(norms)
    flat = norms.reshape(len(norms), -1)
    median = xp.median(flat, axis=1)
    found = outliers(norms)
    count = found.sum(axis=(1, 2)).astype(np.float64)
    inner = found[:, 1:-1, 1:-1].sum(axis=(1, 2))
    nothing = xp.full(len(norms), xp.nan)
    columns = [
        median,
        flat.max(axis=1) / xp.where(median > 0, median, xp.nan),
        count / flat.shape[1],
        (count - inner) / xp.where(count > 0, count, xp.nan),
        nothing if cutoff is None else (flat > cutoff).mean(axis=1),
    ]
    inside = xp.clip(flat.ravel(), EDGES[0], np.nextafter(EDGES[-1], 0))
    histogram = xp.histogram(inside, bins=xp.asarray(EDGES))[0].astype(np.float64)
    return xp.stack(columns, axis=1), histogram, found.sum(axis=0).astype(np.float64)


@dataclass(frozen=True)
class Norms(Layerwise):
    """The analysis.

    Attributes:
        cutoff: Norm that `above` counts from; None: none.
        intervals: How the means are estimated.
    """

    name: ClassVar[str] = "norms"
    cutoff: float | None = None
    intervals: IntervalOptions = USUAL

    def measure_layer(self, index: int, layer: Layer, maps: Array) -> Partial:
        """The numbers of each image, and the counts of all.

        Raises:
            IntegrityError: Values that are not finite.
        """
        norms = channel_norm(maps)
        if not bool(namespace(norms).isfinite(norms).all()):
            raise not_finite(layer)
        numbers, histogram, where = _numbers_of(norms, self.cutoff)
        return {
            f"numbers/{index}": to_host(numbers),
            f"histogram/{index}": to_host(histogram),
            f"where/{index}": to_host(where),
        }

    def merge(self, partials: Iterable[Partial]) -> Partial:
        """Images one after the other; counts added."""
        parts = list(partials)
        return {
            key: np.sum([part[key] for part in parts], axis=0)
            if key.partition("/")[0] in _SUMMED
            else np.concatenate([part[key] for part in parts])
            for key in parts[0]
        }

    def as_dict(self) -> dict[str, Any]:
        """Parameters that change a partial."""
        return {"cutoff": self.cutoff, "edges": [LOWEST, HIGHEST, PER_OCTAVE]}

    def summary_dict(self) -> dict[str, Any]:
        """Parameters that change the summary."""
        chosen = self.intervals
        return {"intervals": INTERVALS, "resamples": chosen.resamples, "seed": chosen.seed}

    def summarise(self, layers: Sequence[Layer], partials: Iterable[Partial]) -> Result:
        """Means over images.

        Returns:
            `layers` on (layer, measure) and `difference` on (pair, measure) with the endings of their intervals;
            `histogram` on (layer, bin), share of the tokens, bins at `edge` and up; `where_<i>` (row, column), share of
            the images with an outlier there.
        """
        counts: dict[str, F64] = {}

        def images(parts: Iterable[Partial]) -> Iterator[F64]:
            for part in parts:
                for key, values in part.items():
                    if key.partition("/")[0] in _SUMMED:
                        counts[key] = counts.get(key, 0) + values
                yield np.concatenate([part[f"numbers/{i}"] for i in range(len(layers))], axis=1)

        all_parts = iter(partials)
        first = next(all_parts, None)  # has the grids, which decide what is defined
        if first is None:
            raise DataUnavailableError("there is no readable image", fix="more samples (a larger --limit)")
        grids = [first[f"where/{i}"].shape for i in range(len(layers))]
        names = [str(layer) for layer in layers]
        there = [[m.on(grid) and (m.name != "above" or self.cutoff is not None) for m in TABLE] for grid in grids]
        blocks = [Block("layers", "layer", "measure", names, TABLE, there)]
        pairs = end_pairs(layers, WITHIN, BETWEEN)
        coords, data, attrs = layer_means(blocks, pairs, images(itertools.chain([first], all_parts)), self.intervals)
        coords["edge"] = EDGES[:-1].tolist()
        shares = [counts[f"histogram/{i}"] / counts[f"histogram/{i}"].sum() for i in range(len(layers))]
        data["histogram"] = (("layer", "edge"), np.stack(shares))
        for i in range(len(layers)):
            data[f"where_{i}"] = ((f"row_{i}", f"column_{i}"), counts[f"where/{i}"] / attrs["samples"])
        described = [
            {
                "backbone": layer.backbone,
                "tap": layer.tap,
                "grid": list(grid),
                "border_share": 1 - max(grid[0] - 2, 0) * max(grid[1] - 2, 0) / (grid[0] * grid[1]),
            }
            for layer, grid in zip(layers, grids, strict=True)
        ]
        rule = f"norm > median + {OUTLIER_DEVIATIONS:g} * {NORMAL:g} * MAD of the image"
        return Result("norms", coords, data, {**attrs, "layers": described, "outlier": rule, "cutoff": self.cutoff})
