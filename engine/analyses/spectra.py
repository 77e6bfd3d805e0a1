"""Fourier spectra of the feature maps of every layer, per image (Park & Kim 2022; kernels in `cvbench.engine.kernels`).

Every number is a mean over images with a bootstrap interval over images: the channels of one image are no independent
samples. Values that an image does not define (a constant map has no energy to share) are left out and counted.

A normalised frequency of 1 is one cycle in two positions of the layer's own grid, so it means another frequency in the
image for every stride; bin k is k cycles per the shorter side of the image in every layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cvbench.engine.analyses.base import Layer, Partial, Result
from cvbench.engine.array import Array, to_host
from cvbench.engine.bootstrap import percentile_interval
from cvbench.engine.kernels import spectrum
from cvbench.engine.kernels.spectrum import F64
from cvbench.errors import DataUnavailableError, IntegrityError, UsageError

MEASURES = (*(f"share_above_{cut}" for cut in spectrum.CUTS), "dc_share", "centroid", "corners")
"""Energy shares above each cut (in units of pi, DC left out), share of DC, energy-weighted mean radial frequency, and
the relative log amplitude of the corners."""

FEW_IMAGES = 30


def check_grid(layer: Layer, shape: Sequence[int]) -> tuple[int, int]:
    """Height and width of a layer's maps.

    Args:
        layer: For the message.
        shape: (n, H, W, C).

    Raises:
        UsageError: No grid, or one without spatial extent.
    """
    grid = tuple(shape[1:3]) if len(shape) == 4 else ()
    if len(grid) != 2 or min(grid) < 2:
        shown = "x".join(map(str, grid)) or "no"
        raise UsageError(
            f"{layer} has no spatial extent: it has {shown} grid, a spectrum needs 2x2 at least",
            where=str(layer),
            fix="choose other layers with --taps, or extract larger images (--image-size)",
        )
    return int(grid[0]), int(grid[1])


@dataclass(frozen=True)
class Spectra:
    """The analysis `spectra`.

    Attributes:
        resamples, confidence, seed: Of the bootstrap over images.
    """

    resamples: int = 2000
    confidence: float = 0.95
    seed: int = 0
    name: ClassVar[str] = "spectra"

    def measure(self, layers: Sequence[Layer], read: Callable[[Layer], Array], n: int) -> Partial:
        """Spectra of every image of one unit.

        Memory: one layer's unit as `read` gives it, 2 * n * H * (W//2 + 1) * 8 bytes, and a block of the kernel.

        Returns:
            For layer number i: `profile/i` (n, B) relative log amplitude per radial bin, `diagonal/i` (n, ceil(N/2)) of
            the half-diagonal (n, 0 if the grid is not square), `measures/i` (n, 5) as MEASURES, `grid/i` (3,) H, W, C.

        Raises:
            UsageError: A layer without spatial extent.
            IntegrityError: A layer with values that are not finite, or of another number of samples.
        """
        partial: Partial = {}
        for index, layer in enumerate(layers):
            maps = read(layer)
            height, width = check_grid(layer, maps.shape)
            if len(maps) != n:
                raise IntegrityError(f"{layer} has {len(maps)} samples where the unit has {n}", where=str(layer))
            found = _measure(maps, spectrum.half_plane(height, width))
            if not np.isfinite(found["profile"]).all():
                raise IntegrityError(
                    f"{layer} holds values that are not finite",
                    where=str(layer),
                    fix="extract this layer again with --precision fp32 or bf16",
                )
            found["grid"] = np.array(maps.shape[1:], dtype=np.float64)
            partial |= {f"{key}/{index}": values for key, values in found.items()}
            del maps
        return partial

    def summarise(self, layers: Sequence[Layer], partials: Iterable[Partial]) -> Result:
        """Means over images with their bootstrap intervals.

        Memory: 16 bytes per image and number, and resamples * numbers * 8.

        Returns:
            Each variable also with `_low` and `_high`. On dimensions
            layer, frequency: `profile`, radial, interpolated linearly to an axis that all layers reach;
            layer, bin: `radial` at the layer's own bins and `diagonal`, both at `bin_frequency`; NaN beyond its length;
            layer, measure: `measures`, with `n_undefined` images left out and `white_noise`, its value for noise.
            NaN only there, where no image defines a measure, and in low and high if there is no interval.

        Raises:
            DataUnavailableError: No image.
        """
        parts = list(partials)
        n = sum(len(part["profile/0"]) for part in parts)
        if not n:
            raise DataUnavailableError("there is no readable image", fix="extract more samples (a larger --limit)")
        grids = [tuple(int(v) for v in parts[0][f"grid/{i}"]) for i in range(len(layers))]
        planes = [spectrum.half_plane(*grid[:2]) for grid in grids]
        common = common_axis([plane.frequency for plane in planes])
        tables = []
        for i, plane in enumerate(planes):
            own, diagonal, measures = (
                np.concatenate([part[f"{key}/{i}"] for part in parts]) for key in ("profile", "diagonal", "measures")
            )
            tables += [own @ interpolation(plane.frequency, common), own, diagonal, measures]
        estimates, undefined, notes = self._estimate(tables)
        return _result(layers, grids, common, estimates, undefined, {**self._said(), "samples": n, "notes": notes})

    def _estimate(self, tables: Sequence[F64]) -> tuple[list[F64], list[F64], list[str]]:
        """Of each (n, m): value, low, high (3, m), and how many images are undefined (m,); notes."""
        values = np.concatenate(tables, axis=1)
        n, m = values.shape
        defined = np.isfinite(values)
        sums = np.concatenate([np.where(defined, values, 0.0), defined], axis=1)

        def mean(drawn: F64) -> F64:
            with np.errstate(invalid="ignore"):
                return drawn[:, :m] / np.where(drawn[:, m:] > 0, drawn[:, m:], np.nan)

        found = np.full((3, m), np.nan)
        found[0] = mean(sums.sum(axis=0)[None])[0]
        notes = []
        if n > 1:
            interval = percentile_interval(
                sums, mean, resamples=self.resamples, confidence=self.confidence, seed=self.seed
            )
            found[1:] = interval.low, interval.high
        else:
            notes.append("no interval: it is a bootstrap over images, and there is one image")
        if 1 < n < FEW_IMAGES:
            notes.append(f"{n} images: with fewer than {FEW_IMAGES} the intervals are too narrow")
        cuts = np.cumsum([table.shape[1] for table in tables])[:-1]
        undefined = (n - defined.sum(axis=0)).astype(np.float64)
        return np.split(found, cuts, axis=1), np.split(undefined, cuts), notes

    def _said(self) -> dict[str, Any]:
        return {
            **self.as_dict(),
            **self.summary_dict(),
            "null_level": spectrum.NULL_LEVEL,
            "axes": "frequency: pi per position of the layer's own grid; relative log amplitude: nat above that of DC",
        }

    def as_dict(self) -> Mapping[str, Any]:
        return {
            "analysis": self.name,
            "version": 1,
            "amplitude": "mean over channels of ln(|fft2| + epsilon)",
            "epsilon": spectrum.EPSILON,
            "cuts": list(spectrum.CUTS),
        }

    def summary_dict(self) -> Mapping[str, Any]:
        return {"resamples": self.resamples, "confidence": self.confidence, "seed": self.seed}


def _measure(maps: Array, plane: spectrum.HalfPlane) -> Partial:
    logs, energies = spectrum.channel_sums(maps)
    profile, corners = spectrum.radial_profile(logs, plane)
    shares = to_host(spectrum.energy_shares(energies, plane))
    return {
        "profile": to_host(profile),
        "diagonal": to_host(spectrum.half_diagonal(logs, plane)),
        "measures": np.concatenate([shares, to_host(corners)[:, None]], axis=1),
    }


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


def _result(
    layers: Sequence[Layer],
    grids: Sequence[tuple[int, ...]],
    common: F64,
    estimates: Sequence[F64],
    undefined: Sequence[F64],
    attrs: Mapping[str, Any],
) -> Result:
    """Label the estimates, four per layer in the order of `summarise`."""
    planes = [spectrum.half_plane(*grid[:2]) for grid in grids]
    width = max(len(plane.frequency) for plane in planes)
    data: dict[str, tuple[tuple[str, ...], Any]] = {
        "bin_frequency": (("layer", "bin"), np.stack([_padded(plane.frequency, width) for plane in planes])),
        "n_undefined": (("layer", "measure"), np.stack(undefined[3::4]).astype(np.int64)),
        "white_noise": (("layer", "measure"), np.stack([_white_noise(plane) for plane in planes])),
    }
    kinds = {"profile": "frequency", "radial": "bin", "diagonal": "bin", "measures": "measure"}
    for offset, (name, dimension) in enumerate(kinds.items()):
        for row, suffix in enumerate(("", "_low", "_high")):
            rows = [found[row] for found in estimates[offset::4]]
            table = np.stack([_padded(values, width) for values in rows] if dimension == "bin" else rows)
            data[name + suffix] = (("layer", dimension), table)
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
    return Result(name="spectra", coords=coords, data=data, attrs={**attrs, "layers": described})


def _white_noise(plane: spectrum.HalfPlane) -> F64:
    """(5,) what a flat spectrum gives for each of MEASURES: shares of coefficients, and the null level."""
    shares = spectrum.energy_shares(np.ones((1, len(plane.rho))), plane)[0]
    return np.append(shares, spectrum.NULL_LEVEL if plane.corners else math.nan)


def _padded(values: F64, width: int) -> F64:
    return np.pad(values, (0, width - len(values)), constant_values=np.nan)
