"""Fourier spectra of the feature maps of every layer, per image (Park & Kim 2022; kernel in
`cvbench.engine.analyses.spectra.kernel`).

Every number is a mean over images: the channels of one image are no independent samples. Of the measures, single images
may leave some undefined (a constant map has no energy to share): left out, counted; intervals as in
`cvbench.engine.statistics.mean_interval`. Of the curves only sums and products are kept; their intervals are Student's.
Memory does not grow with the images. What a grid is too small for is not measured on it (`spectra_result.TABLE`).

A normalised frequency of 1 is one cycle in two positions of the layer's own grid, so it means another frequency in the
image for every stride; bin k is k cycles per the shorter side of the image in every layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Partial, Result, Rows
from cvbench.engine.analyses.checks import check_grid, not_finite
from cvbench.engine.analyses.layerwise import LayerwiseUnit, Measured, layer_by_layer
from cvbench.engine.analyses.spectra import kernel as spectrum
from cvbench.engine.analyses.spectra.result import MEASURES, spectra_result
from cvbench.engine.arrays.array import Array
from cvbench.engine.statistics.options import USUAL, IntervalOptions
from cvbench.engine.statistics.running import INTERVALS, class_count

WANTS = "a spectrum"


@dataclass(frozen=True)
class Spectra:
    """The analysis `spectra`.

    Attributes:
        inputs: (backbone, (height, width) of its input in pixels), for cycles per pixel; those left out have none.
        intervals: How they are made; only the bootstrap of classes draws.
        classes: Of the readable images, in unit order; None for no interval over classes.
    """

    inputs: tuple[tuple[str, tuple[int, int]], ...] = ()
    intervals: IntervalOptions = USUAL
    classes: NDArray[np.int64] | None = field(default=None, compare=False, repr=False)
    name: ClassVar[str] = "spectra"

    def measure(self, layers: Sequence[Layer], read: Callable[[Layer], Array], rows: Rows) -> Partial:
        """Spectra of every image of one unit, see `layer_by_layer`."""
        return layer_by_layer(self.measure_layer, layers, read, rows)

    def measure_layer(self, index: int, layer: Layer, maps: Array) -> Partial:
        """One layer's part of a partial, of any number of images; `merge` joins those of several batches.

        Memory: 2 * n * H * (W//2 + 1) * 8 bytes, and a block of the kernel.

        Args:
            index: Of the layer in the result.
            layer: Which one.
            maps: (n, H, W, C) float16, float32 or float64, NumPy or CuPy, without prefix tokens.

        Returns:
            float64 on the host: `profile/i` (B,) sum over images of the relative log amplitude per radial bin,
            `products/i` (B, B) the sum of its products; `diagonal/i` (2, ceil(N/2)) sum and sum of squares along the
            half-diagonal ((2, 0) if the grid is not square); `measures/i` (n, 7) per image, as MEASURES; `grid/i` (3,)
            H, W, C.

        Raises:
            UsageError: A layer without spatial extent.
            IntegrityError: Values that are not finite.
        """
        return self.measured(index, layer, maps).partial()

    def measured(self, index: int, layer: Layer, maps: Array) -> Measured:
        """`measure_layer`, with all but its last step where the maps lie."""
        grid = check_grid(layer, maps.shape, WANTS)
        shape = np.array(maps.shape[1:], dtype=np.float64)
        sums = spectrum.coefficient_sums(*spectrum.channel_sums(maps), *grid)

        def finish(found: list[NDArray[np.float64]]) -> Partial:
            part = _partial(layer, spectrum.Sums(*found), shape)
            return {f"{key}/{index}": values for key, values in part.items()}

        return Measured([sums.binned, sums.diagonal, sums.slope, sums.energy], finish)

    def merge(self, partials: Iterable[Partial]) -> Partial:
        """One partial of several, in their order: rows of images one after the other, sums added."""
        joined: Partial = {}
        rows: dict[str, list[Any]] = {}
        for partial in partials:
            for key, values in partial.items():
                if key.startswith("measures/"):
                    rows.setdefault(key, []).append(values)
                elif key.startswith("grid/") or key not in joined:
                    joined[key] = values.copy()
                else:
                    joined[key] += values
        return joined | {key: np.concatenate(parts) for key, parts in rows.items()}

    def live(self, layers: Sequence[Layer]) -> LayerwiseUnit:
        """A collector for one unit."""
        return LayerwiseUnit(layers, self.measured, self.merge)

    def summarise(self, layers: Sequence[Layer], partials: Iterable[Partial]) -> Result:
        """Means over images with their intervals, see `spectra_result`.

        Memory: one partial; B * B * 8 per layer; with classes, what `RunningMeans` says.

        Raises:
            DataUnavailableError: No image.
        """
        said = {**self.as_dict(), **self.summary_dict(), "measures": list(MEASURES)}
        return spectra_result(layers, partials, dict(self.inputs), said, self.intervals, self.classes)

    def as_dict(self) -> Mapping[str, Any]:
        return {
            "analysis": self.name,
            "version": 3,
            "amplitude": "mean over channels of ln(|fft2| + epsilon)",
            "epsilon": spectrum.EPSILON,
            "cuts": list(spectrum.CUTS),
        }

    def summary_dict(self) -> Mapping[str, Any]:
        return {
            "intervals": INTERVALS,
            **asdict(self.intervals),
            "classes": class_count(self.classes),
            "inputs": {name: list(size) for name, size in self.inputs},
        }


def _partial(layer: Layer, sums: spectrum.Sums, shape: NDArray[np.float64]) -> Partial:
    """The arrays of `measure_layer`, by kind, of sums on the host; `shape` is (H, W, C)."""
    height, width, channels = (int(side) for side in shape)
    plane = spectrum.half_plane(height, width)
    profile, corners = spectrum.radial_profile(sums.binned, plane)
    if not np.isfinite(profile).all():
        raise not_finite(layer)
    diagonal = spectrum.half_diagonal(sums.diagonal)
    variance = spectrum.spatial_variance(sums.energy, plane, channels)
    columns = [spectrum.energy_shares(sums.energy), *(one[:, None] for one in (corners, sums.slope, variance))]
    return {
        "profile": profile.sum(axis=0),
        "products": profile.T @ profile,
        "diagonal": np.stack([diagonal.sum(axis=0), (diagonal**2).sum(axis=0)]),
        "measures": np.concatenate(columns, axis=1),
        "grid": shape,
    }
