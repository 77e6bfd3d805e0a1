"""Channel-mean feature maps in numbers: foreground share and contrast in boxes, and the rate of outlier tokens.

All of the channel L2 norm of every position (kernels in `cvbench.engine.analyses.maps.kernel`), per image; means over
images, see `cvbench.engine.statistics.mean_interval`. A box counts in each cell by the part that it covers.

    outlier_rate       share of positions whose norm is an outlier of its image. High-norm tokens in the background
                       ("registers", Darcet et al. 2024) look like attention to it and are not: read this first
    foreground_share   share of the norm that lies in the box
    box_share          share of the area that the box covers: what a uniform map would have
    foreground_excess  the former less the latter
    contrast           mean of the norm, scaled to [0, 1] per image, inside less outside the box
    outliers_outside   share of the outliers that lie outside the box; undefined for an image without outliers
    outliers_excess    the same less the share of the area outside: 0 for outliers that do not know the box

Without boxes only the first. What a grid is too small for is not measured on it (`OF_ALL`, `OF_BOXES`). Numbers of two
grids are not comparable: a coarse cell mixes the box with what is around, and dilutes an outlier. The norms of the last
layers of all backbones are therefore averaged to the coarsest of their grids, and only there is one subtracted from the
other, image by image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Partial, Result, Rows
from cvbench.engine.analyses.checks import check_grid, check_samples, not_finite
from cvbench.engine.analyses.common_grid import (
    image_numbers,
    labelled_means,
    last_on_common_grid,
    number_columns,
    number_owners,
)
from cvbench.engine.analyses.maps import kernel
from cvbench.engine.arrays.array import Array, namespace, to_host
from cvbench.engine.arrays.pooling import pool_to
from cvbench.engine.pictures.boxes import F64, cell_fractions
from cvbench.engine.statistics.measure import Grid, Measure, grid_notes, share
from cvbench.engine.statistics.options import USUAL, IntervalOptions
from cvbench.engine.statistics.running import (
    INTERVAL,
    INTERVALS,
    Means,
    RunningMeans,
    class_count,
    interval_notes,
    judged_columns,
    thin_notes,
)
from cvbench.engine.statistics.verdict import FAMILY
from cvbench.errors import DataUnavailableError, UsageError

_FEW = "a median deviation of fewer than 16 positions"
OF_ALL = (share("outlier_rate", "share of positions whose norm is an outlier", 4, _FEW),)
OF_BOXES = (
    share("foreground_share", "share of the norm that lies in the box"),
    share("box_share", "share of the area that the box covers"),
    Measure("foreground_excess", "the former less the latter", least=-1.0, most=1.0),
    Measure("contrast", "scaled norm inside less outside", 3, "scaled by two of four positions", least=-1.0, most=1.0),
    share("outliers_outside", "share of the outliers outside the box", 4, _FEW),
    Measure("outliers_excess", "the former less the area outside", 4, _FEW, least=-1.0, most=1.0),
)
"""The measures, with the smallest grid of each."""
TESTED = ("foreground_excess", "contrast", "outliers_excess")
"""Measures that are 0 for a map that does not know the box: judged on every layer, as one family."""
WANTS = "a feature map"
GROUP = 64
"""Images taken at a time."""


@dataclass(frozen=True, eq=False)
class InputBoxes:
    """The boxes of the samples of one unit, in the input of one backbone.

    Attributes:
        boxes: (n, 4) x0, y0, x1, y1 in pixels, NaN for a sample without one.
        size: (height, width) of the input.
    """

    boxes: F64
    size: tuple[int, int]


NO_BOXES: Mapping[str, InputBoxes] = MappingProxyType({})


@dataclass(frozen=True)
class ChannelMaps:
    """The analysis `maps`.

    Attributes:
        boxes: A digest of all boxes; "" for none, and only then may `measure` go without them.
        compared: The layers that are also measured on the `common` grid, one of each backbone; see `between`.
        common: (h, w), not finer than the grid of any of them.
        intervals: How they are made; only the bootstrap of classes draws.
        classes: Of the readable images, in unit order; None for no interval over classes.
    """

    boxes: str = ""
    compared: tuple[Layer, ...] = ()
    common: tuple[int, int] | None = None
    intervals: IntervalOptions = USUAL
    classes: NDArray[np.int64] | None = field(default=None, compare=False, repr=False)
    name: ClassVar[str] = "maps"

    @classmethod
    def between(cls, grids: Mapping[Layer, tuple[int, int]], boxes: str = "", **options: Any) -> ChannelMaps:
        """The analysis that compares the last layers of all backbones.

        Args:
            grids: (H, W) of each layer, in the order of the result; a backbone's last is its last one here.
            boxes: As the attribute.
            options: `intervals` and `classes`.
        """
        return cls(boxes, *last_on_common_grid(grids), **options)

    @property
    def table(self) -> tuple[Measure, ...]:
        """Measures of each image."""
        return (*OF_ALL, *OF_BOXES) if self.boxes else OF_ALL

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the measures."""
        return tuple(measure.name for measure in self.table)

    def measure(
        self,
        layers: Sequence[Layer],
        read: Callable[[Layer], Array],
        rows: Rows,
        inside: Mapping[str, InputBoxes] = NO_BOXES,
    ) -> Partial:
        """The measures of every image of one unit.

        Memory: one layer's unit as `read` gives it, and GROUP images in float32.

        Args:
            layers, read, rows: As every analysis takes them.
            inside: Backbone -> the boxes of these rows, in its input.

        Returns:
            For layer number i: `measures/i` (n, m) as `measures`, NaN where undefined; `common/i` (n, m) the same on
            the common grid, for compared layers of another grid; `grid/i` (3,) H, W, C.

        Raises:
            UsageError: A layer without spatial extent; a backbone without boxes where others have them.
            IntegrityError: A layer with values that are not finite, or of another number of samples.
        """
        partial: Partial = {}
        for index, layer in enumerate(layers):
            maps = read(layer)
            check_grid(layer, maps.shape, WANTS)
            check_samples(layer, len(maps), len(rows))
            own = inside.get(layer.backbone) if self.boxes else None
            if self.boxes and (own is None or len(own.boxes) != len(rows)):
                raise UsageError(f"there are no boxes of this unit for {layer.backbone}")
            partial[f"measures/{index}"], common = self._measure(layer, maps, own)
            if common is not None:
                partial[f"common/{index}"] = common
            partial[f"grid/{index}"] = np.array(maps.shape[1:], dtype=np.float64)
            del maps
        return partial

    def _measure(self, layer: Layer, maps: Array, inside: InputBoxes | None) -> tuple[F64, F64 | None]:
        """(n, m) on the layer's own grid, and on the common one if it is compared and that is another."""
        own = int(maps.shape[1]), int(maps.shape[2])
        pooled = self.common if layer in self.compared and self.common != own else None
        nothing = np.empty((0, len(self.measures)))
        found, common = [nothing], [nothing]
        for start in range(0, len(maps), GROUP):
            rows = slice(start, start + GROUP)
            norms = kernel.channel_norm(maps[rows])
            if not bool(namespace(norms).isfinite(norms).all()):
                raise not_finite(layer)
            found.append(_of_norms(norms, inside, rows))
            if pooled:
                common.append(_of_norms(pool_to(norms[..., None], pooled)[..., 0], inside, rows))
        return np.concatenate(found), np.concatenate(common) if pooled else None

    def summarise(self, layers: Sequence[Layer], partials: Iterable[Partial]) -> Result:
        """Means over images with their bootstrap intervals.

        Memory: one partial, and 32 bytes for each number of an image; with classes, classes * 16 too.

        Returns:
            Each with `_low` and `_high`, and with `_class_low` and `_class_high` over resampled classes if there are
            enough of them: `measures` (layer, measure), `n_undefined` images left out; `common` (compared, measure),
            `common_undefined`; `difference` (pair, measure), first less second backbone on the common grid, over the
            images that define both, `difference_undefined` left out, with verdicts (`labelled_means`). `measures_p` and
            `measures_resolved`, `common_p` and `common_resolved` are the verdicts on `TESTED`. The attribute `layers`
            has each layer's names, grid and channels.

        Raises:
            DataUnavailableError: No image.
        """
        owners = number_owners(layers, self.compared)
        running: RunningMeans | None = None
        grids: list[F64] = []
        for part in partials:
            grids = [part[f"grid/{i}"] for i in range(len(layers))]
            if running is None:
                columns = number_columns(layers, self.compared, self.table, grids, self.common)
                running = RunningMeans(columns, self.intervals, self.classes)
            running.add(image_numbers(layers, part, "measures", self.compared))
        if running is None or not running.images:
            raise DataUnavailableError("there is no readable image", fix="extract more samples (a larger --limit)")
        means = running.means()
        data, coords = labelled_means(layers, self.compared, means, "measures", {"measure": len(self.measures)})
        coords["measure"] = list(self.measures)
        data |= self._tested(means, len(layers), len(coords.get("compared", [])))
        names = [f"{measure} of {owner}" for owner in owners for measure in self.measures]
        described = [_described(layer, grid) for layer, grid in zip(layers, grids, strict=True)]
        places: dict[str, Grid] = {str(layer): grid for layer, grid in zip(layers, grids, strict=True)}
        if self.common and "pair" in coords:
            places["common"] = self.common
        small = grid_notes(self.table, places)
        notes = [*interval_notes(means.images), *thin_notes(names, means), *small]
        if len({tuple(layer["grid"]) for layer in described}) > 1:
            notes.append("grids differ: compare numbers of layers on the same grid only")
        attrs = {**self.as_dict(), **self.summary_dict(), "samples": means.images, "notes": notes, "layers": described}
        attrs |= {"interval": f"{INTERVAL}; over classes: bootstrap", "family": FAMILY}
        return Result(name=self.name, coords=coords, data=data, attrs=attrs)

    def _tested(self, means: Means, layers: int, compared: int) -> dict[str, tuple[tuple[str, ...], NDArray[Any]]]:
        """The verdicts on `TESTED` of the layers and of the compared ones; NaN for what is not tested."""
        width = len(self.measures)
        tested = [at for at, name in enumerate(self.measures) if name in TESTED]
        data: dict[str, tuple[tuple[str, ...], NDArray[Any]]] = {}
        rows = np.arange((layers + compared) * width)
        family = rows[np.isin(rows % width, tested)]
        for ending, values in judged_columns(means, family).items():
            table = np.full(len(rows), np.nan)
            table[family] = values
            by_layer = table.reshape(-1, width)
            data[f"measures_{ending}"] = (("layer", "measure"), by_layer[:layers])
            if compared:
                data[f"common_{ending}"] = (("compared", "measure"), by_layer[layers:])
        return data

    def as_dict(self) -> Mapping[str, Any]:
        return {
            "analysis": self.name,
            "version": 4,  # 2 could hold numbers of another unit's boxes; 3 has no `outliers_excess`
            "compared": [str(layer) for layer in self.compared],
            "common_grid": list(self.common) if self.common else None,
            "outlier": f"norm > median + {kernel.OUTLIER_DEVIATIONS:g} * {kernel.NORMAL:g} * MAD",
            "boxes": self.boxes,
        }

    def summary_dict(self) -> Mapping[str, Any]:
        return {
            "intervals": INTERVALS,
            **asdict(self.intervals),
            "classes": class_count(self.classes),
        }


def _described(layer: Layer, shape: F64) -> dict[str, Any]:
    height, width, channels = (int(v) for v in shape)
    return {"backbone": layer.backbone, "tap": layer.tap, "grid": [height, width], "channels": channels}


def _of_norms(norms: Array, inside: InputBoxes | None, rows: slice) -> F64:
    """(b, m) of norms (b, h, w) of these rows of the unit, on whatever grid."""
    out = kernel.outliers(norms)
    columns = [out.mean(axis=(1, 2))]
    if inside is not None:
        fractions = cell_fractions(inside.boxes[rows], inside.size, (int(norms.shape[1]), int(norms.shape[2])))
        columns += _in_boxes(norms, out, namespace(norms).asarray(fractions))
    return np.stack([to_host(column) for column in columns], axis=1)


def _in_boxes(norms: Array, out: Array, fractions: Array) -> list[Array]:
    """(n,) each of OF_BOXES."""
    share = kernel.weighted_share(norms, fractions)
    area = fractions.mean(axis=(1, 2))
    outside = kernel.weighted_share(out.astype(norms.dtype), 1 - fractions)
    contrast = kernel.inside_less_outside(norms, fractions)
    return [share, area, share - area, contrast, outside, outside - (1 - area)]
