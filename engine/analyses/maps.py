"""Channel-mean feature maps in numbers: foreground share and contrast in boxes, and the rate of outlier tokens.

All of the channel L2 norm of every position (kernels in `cvbench.engine.kernels.channel_maps`), per image; means over
images with a Poisson bootstrap over images. A box counts in each cell by the part that it covers.

    outlier_rate       share of positions whose norm is an outlier of its image. High-norm tokens in the background
                       ("registers", Darcet et al. 2024) look like attention to it and are not: read this first
    foreground_share   share of the norm that lies in the box
    box_share          share of the area that the box covers: what a uniform map would have
    foreground_excess  the former less the latter
    contrast           mean of the norm, scaled to [0, 1] per image, inside less outside the box
    outliers_outside   share of the outliers that lie outside the box; undefined for an image without outliers

Without boxes only the first. Numbers of two grids are not comparable: a coarse cell mixes the box with what is around.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from cvbench.engine.analyses.base import Layer, Partial, Result, Rows
from cvbench.engine.analyses.grid import check_grid, check_samples, not_finite
from cvbench.engine.array import Array, namespace, to_host
from cvbench.engine.boxes import F64, cell_fractions
from cvbench.engine.kernels import channel_maps as kernel
from cvbench.engine.online import RunningMeans, interval_notes
from cvbench.errors import DataUnavailableError, UsageError

OF_ALL = ("outlier_rate",)
OF_BOXES = ("foreground_share", "box_share", "foreground_excess", "contrast", "outliers_outside")
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


@dataclass(frozen=True)
class ChannelMaps:
    """The analysis `maps`.

    Attributes:
        boxes: A digest of all boxes; "" for none, and only then may `unit` be empty in `measure`.
        resamples, confidence, seed: Of the bootstrap over images.
        unit: Backbone -> the boxes of the readable samples of the unit that is measured.
    """

    boxes: str = ""
    resamples: int = 2000
    confidence: float = 0.95
    seed: int = 0
    unit: Mapping[str, InputBoxes] = field(default_factory=dict, compare=False, repr=False)
    name: ClassVar[str] = "maps"

    @property
    def measures(self) -> tuple[str, ...]:
        """What is measured of each image."""
        return (*OF_ALL, *OF_BOXES) if self.boxes else OF_ALL

    def measure(self, layers: Sequence[Layer], read: Callable[[Layer], Array], rows: Rows) -> Partial:
        """The measures of every image of one unit.

        Memory: one layer's unit as `read` gives it, and GROUP images in float32.

        Returns:
            For layer number i: `measures/i` (n, m) as `measures`, NaN where undefined; `grid/i` (3,) H, W, C.

        Raises:
            UsageError: A layer without spatial extent; a backbone without boxes where others have them.
            IntegrityError: A layer with values that are not finite, or of another number of samples.
        """
        partial: Partial = {}
        for index, layer in enumerate(layers):
            maps = read(layer)
            check_grid(layer, maps.shape, WANTS)
            check_samples(layer, len(maps), len(rows))
            if self.boxes and (layer.backbone not in self.unit or len(self.unit[layer.backbone].boxes) != len(rows)):
                raise UsageError(f"there are no boxes of this unit for {layer.backbone}")
            partial[f"measures/{index}"] = self._measure(layer, maps)
            partial[f"grid/{index}"] = np.array(maps.shape[1:], dtype=np.float64)
            del maps
        return partial

    def _measure(self, layer: Layer, maps: Array) -> F64:
        found = [np.empty((0, len(self.measures)))]
        for start in range(0, len(maps), GROUP):
            rows = slice(start, start + GROUP)
            norms = kernel.channel_norm(maps[rows])
            if not bool(namespace(norms).isfinite(norms).all()):
                raise not_finite(layer)
            out = kernel.outliers(norms)
            columns = [out.mean(axis=(1, 2))]
            if self.boxes:
                own = self.unit[layer.backbone]
                fractions = cell_fractions(own.boxes[rows], own.size, (int(maps.shape[1]), int(maps.shape[2])))
                columns += _in_boxes(norms, out, namespace(norms).asarray(fractions))
            found.append(np.stack([to_host(column) for column in columns], axis=1))
        return np.concatenate(found)

    def summarise(self, layers: Sequence[Layer], partials: Iterable[Partial]) -> Result:
        """Means over images with their bootstrap intervals.

        Memory: 24 bytes per image and number, and resamples * numbers * 8.

        Returns:
            `measures`, `measures_low`, `measures_high` and `n_undefined`, images left out, (layer, measure). The
            attribute `layers` has each layer's names, grid and channels.

        Raises:
            DataUnavailableError: No image.
        """
        running = RunningMeans(
            len(layers) * len(self.measures), resamples=self.resamples, confidence=self.confidence, seed=self.seed
        )
        grids: list[F64] = []
        for part in partials:
            running.add(np.concatenate([part[f"measures/{i}"] for i in range(len(layers))], axis=1))
            grids = [part[f"grid/{i}"] for i in range(len(layers))]
        if not running.images:
            raise DataUnavailableError("there is no readable image", fix="extract more samples (a larger --limit)")
        means = running.means()
        shape = (len(layers), len(self.measures))
        kinds = {"measures": means.value, "measures_low": means.low, "measures_high": means.high}
        data: dict[str, Any] = {
            name: (("layer", "measure"), values.reshape(shape))
            for name, values in {**kinds, "n_undefined": means.undefined}.items()
        }
        described: list[dict[str, Any]] = []
        for i, layer in enumerate(layers):
            height, width, channels = (int(v) for v in grids[i])
            names = {"backbone": layer.backbone, "tap": layer.tap}
            described.append({**names, "grid": [height, width], "channels": channels})
        notes = interval_notes(means.images)
        if len({tuple(layer["grid"]) for layer in described}) > 1:
            notes.append("grids differ: compare numbers of layers on the same grid only")
        attrs = {**self.as_dict(), **self.summary_dict(), "samples": means.images, "notes": notes, "layers": described}
        coords = {"layer": [str(layer) for layer in layers], "measure": list(self.measures)}
        return Result(name=self.name, coords=coords, data=data, attrs=attrs)

    def as_dict(self) -> Mapping[str, Any]:
        return {
            "analysis": self.name,
            "version": 1,
            "outlier": f"norm > median + {kernel.OUTLIER_DEVIATIONS:g} * {kernel.NORMAL:g} * MAD",
            "boxes": self.boxes,
        }

    def summary_dict(self) -> Mapping[str, Any]:
        return {"resamples": self.resamples, "confidence": self.confidence, "seed": self.seed}


def _in_boxes(norms: Array, out: Array, fractions: Array) -> list[Array]:
    """(n,) each of OF_BOXES."""
    share = kernel.weighted_share(norms, fractions)
    area = fractions.mean(axis=(1, 2))
    outside = kernel.weighted_share(out.astype(norms.dtype), 1 - fractions)
    return [share, area, share - area, kernel.inside_less_outside(norms, fractions), outside]
