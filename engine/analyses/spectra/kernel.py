"""Fourier spectra of feature maps: arrays in, arrays out, NumPy or CuPy.

Symbols: x (H, W) one channel of one image; F = fft2(x), unnormalised; u, v its signed integer frequencies;
a = ln(|F| + 1e-6), natural; E = |F|^2. The logarithm is taken before any mean (Park & Kim 2022,
`xxxnell/how-do-vits-work:fourier_analysis.ipynb`), the map is not windowed, and prefix tokens are no part of it.

    rho       = hypot(2u/H, 2v/W)                  radial frequency in units of pi per position
    bin       = floor(min(H, W)/2 * rho + 1/2)     0 .. min(H, W)//2, at 2 bin / min(H, W); beyond: corners
    half-diagonal entry k = a at (u, v) = (k, k)   k = 0 .. ceil(N/2)-1, at 2k/N per axis; square grids only

A real map has F(-u, -v) = conj F(u, v). So only the columns v = 0 .. W//2 are computed, K = H * (W//2 + 1) coefficients
in row-major order; v = 0 and, for even W, v = W/2 count once, the others twice.

Rounding: float16 and float32 maps are transformed in float32, float64 in float64. Each map is shifted by its first
value, and DC put right afterwards: a large offset costs no digits, and a constant map has no energy beside DC at all.
Sums over the channels of a block are in the same precision (NumPy and CuPy add pairwise), those over blocks in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.arrays.array import Array, namespace, table
from cvbench.engine.arrays.dft import power
from cvbench.engine.arrays.threads import in_order

EPSILON = 1e-6
"""Added to |F| before the logarithm."""

CUTS = (0.25, 0.5)
"""Radial frequencies, in units of pi, above which energy is counted as high."""

NULL_LEVEL = math.log(2) / 2
"""Relative log amplitude of white noise: E ln|F| of a complex coefficient less that of a real one, as DC is."""

HOST_BLOCK, DEVICE_BLOCK = 2**18, 2**26
"""Values transformed at a time: what stays in a core's cache, and what fills a GPU."""

F64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HalfPlane:
    """The K coefficients that are computed of an H x W grid, and the sums that are taken of them; all float64.

    Attributes:
        weights: (K,) how often a coefficient counts, 1 or 2; they sum to H * W.
        rho: (K,) radial frequency in units of pi.
        frequency: (B,) radial frequency of each bin, B = min(H, W)//2 + 1.
        radial: (K, B + 1) averages the coefficients of each bin, last of the corners (zeros where there are none).
        corners: Whether any coefficient lies beyond the last bin.
        diagonal: Positions of the half-diagonal entries among the K; None for a grid that is not square.
        energy: (K, 3 + len(CUTS)) sums of DC, all but DC, each cut, and rho times all but DC.
        slope: (K,) gives the least-squares slope of log amplitudes over ln rho, 0 < rho <= 1; NaN if all rho are equal.
        noise: (K,) log amplitude of white noise above DC: NULL_LEVEL, and 0 where a coefficient is real, as DC is.
    """

    weights: F64
    rho: F64
    frequency: F64
    radial: F64
    corners: bool
    diagonal: NDArray[np.intp] | None
    energy: F64
    slope: F64
    noise: F64


@table
def half_plane(height: int, width: int) -> HalfPlane:
    """The half plane of a grid.

    A wide grid has coefficients nearer to DC than half a bin; they go to bin 1: bin 0 is DC alone.

    >>> plane = half_plane(4, 6)
    >>> plane.frequency.tolist(), plane.weights.sum().item()
    ([0.0, 0.5, 1.0], 24.0)
    """
    u = np.fft.fftfreq(height, 1 / height)[:, None]
    v = np.arange(width // 2 + 1)[None, :]
    rho = np.hypot(2 * u / height, 2 * v / width).ravel()
    once = (v == 0) | (2 * v == width)
    weights = np.where(once, 1.0, 2.0).repeat(height, axis=0).ravel()
    short = min(height, width)
    bins = np.floor(short / 2 * rho + 0.5).astype(int).clip(1, short // 2 + 1)
    bins[0] = 0
    radial = (bins[:, None] == np.arange(short // 2 + 2)) * weights[:, None]
    counts = radial.sum(axis=0)
    above = [weights * (rho > cut + 1e-9) for cut in CUTS]  # a cut itself is below, whatever hypot rounds to
    dc = (np.arange(len(rho)) == 0).astype(np.float64)
    diagonal = np.arange((height + 1) // 2) * (width // 2 + 2) if height == width else None
    return HalfPlane(
        weights,
        rho,
        2 * np.arange(short // 2 + 1) / short,
        radial / np.maximum(counts, 1),
        bool(counts[-1]),
        diagonal,
        np.stack([dc, weights - dc, *above, weights * rho], axis=1),
        _slope(rho, weights),
        np.where(once & (2 * u % height == 0), 0.0, NULL_LEVEL).ravel(),
    )


def _slope(rho: F64, weights: F64) -> F64:
    inside = weights * ((rho > 0) & (rho <= 1 + 1e-9))
    x = np.log(np.where(rho > 0, rho, 1.0))
    x -= (inside * x).sum() / inside.sum()
    spread = (inside * x * x).sum()
    return inside * x / (spread if spread > 1e-12 else math.nan)


def channel_sums(maps: Array, block: int | None = None) -> tuple[Array, Array]:
    """Mean log amplitude and summed energy over the channels, per image.

    Memory: about 6 * block * 4 bytes (8 for float64) for each thread, beside the input and the result.

    Args:
        maps: (n, H, W, C) float16, float32 or float64, C >= 1.
        block: Values transformed at a time, whole maps; the default suits the device.

    Returns:
        (n, K) mean over channels of ln(|F| + 1e-6), (n, K) sum over channels of |F|^2; float64. Values that are not
        finite in a map give values that are not finite, never an error.
    """
    xp = namespace(maps)
    n, height, width, channels = maps.shape
    size = height * (width // 2 + 1)
    blocks = list(_blocks(n, channels, height * width, block or _default_block(xp)))

    def sums(at: tuple[slice, slice]) -> tuple[Array, Array]:
        with np.errstate(invalid="ignore", over="ignore"):
            energy = _energy(maps[at[0], :, :, at[1]]).reshape(-1, size, at[1].stop - at[1].start)
            total = energy.sum(axis=2)
            xp.sqrt(energy, out=energy)
            energy += EPSILON
            return xp.log(energy, out=energy).sum(axis=2), total

    logs, energies = xp.zeros((n, size)), xp.zeros((n, size))
    for (rows, _), (log, energy) in zip(blocks, in_order(sums, blocks), strict=True):
        logs[rows] += log
        energies[rows] += energy
    return logs / channels, energies


def _energy(maps: Array) -> Array:
    """(b, H, W, c) -> |F|^2, (b, H, W//2 + 1, c) in the precision of the work."""
    xp = namespace(maps)
    _, height, width, _ = maps.shape
    work = xp.float64 if maps.dtype == xp.float64 else xp.float32
    if xp is np:
        values = maps.astype(work, order="C")
        offset = values[:, :1, :1].copy()
        values -= offset
    else:  # one pass over the device's memory instead of three
        offset = maps[:, :1, :1].astype(work)
        values = xp.subtract(maps, offset)
    energy = power(values)
    dc = values.sum(axis=2).sum(axis=1)  # once more, so that the offset can be put back before the square
    dc += offset[:, 0, 0] * (height * width)
    energy[:, 0, 0] = xp.square(dc)
    return energy


def _blocks(n: int, channels: int, positions: int, block: int) -> Iterator[tuple[slice, slice]]:
    """Images and channels of each block; a block takes several images only with all their channels."""
    images = max(1, block // (positions * channels))
    step = channels if images > 1 else max(1, min(channels, block // positions))
    for row in range(0, n, images):
        for part in range(0, channels, step):
            yield slice(row, row + images), slice(part, min(part + step, channels))


def _default_block(xp: object) -> int:
    return HOST_BLOCK if xp is np else DEVICE_BLOCK


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over the coefficients of n images, where they lie; float64.

    Attributes:
        binned: (n, B + 1) mean log amplitude of each bin, last of the corners.
        diagonal: (n, ceil(N/2)) log amplitudes along the half-diagonal of a square grid; (n, 0) for another.
        slope: (n,) least-squares slope.
        energy: (n, 3 + len(CUTS)) sums of energy, as `HalfPlane.energy`.
    """

    binned: Array
    diagonal: Array
    slope: Array
    energy: Array


def coefficient_sums(logs: Array, energies: Array, height: int, width: int) -> Sums:
    """The sums over coefficients that everything else is made of.

    Args:
        logs, energies: (n, K) float64 from `channel_sums`.
        height, width: Of the grid.
    """
    plane = half_plane.on(logs, height, width)
    with np.errstate(invalid="ignore"):
        diagonal = logs[:, :0] if plane.diagonal is None else logs[:, plane.diagonal]
        return Sums(logs @ plane.radial, diagonal, logs @ plane.slope, energies @ plane.energy)


def radial_profile(binned: F64, plane: HalfPlane) -> tuple[F64, F64]:
    """Relative log amplitude by radial frequency.

    Args:
        binned: (n, B + 1) of `Sums`, on the host.
        plane: Of the same grid.

    Returns:
        (n, B): mean over the coefficients of each bin less that at DC, so bin 0 is 0; (n,): the same of the corners,
        NaN if there are none.
    """
    with np.errstate(invalid="ignore"):
        relative = binned - binned[:, :1]
    corners = relative[:, -1] if plane.corners else relative[:, -1] * math.nan
    return relative[:, :-1], corners


def half_diagonal(entries: F64) -> F64:
    """Relative log amplitude along the half-diagonal: (n, ceil(N/2)) of `Sums`, less its first; (n, 0) stays."""
    with np.errstate(invalid="ignore"):
        return np.asarray(entries - entries[:, :1])


def energy_shares(sums: F64) -> F64:
    """Shares that make up the energy, per image; NaN where nothing is to be shared.

    Args:
        sums: (n, 3 + len(CUTS)) energies of `Sums`, on the host.

    Returns:
        (n, len(CUTS) + 2): E(rho > cut) / E(rho > 0) per cut, E(0) / E, mean rho weighted with the energy beside DC.
    """
    with np.errstate(invalid="ignore"):
        beside = np.where(sums[:, 1] > 0, sums[:, 1], np.nan)
        total = sums[:, 0] + sums[:, 1]
        dc = sums[:, 0] / np.where(total > 0, total, np.nan)
        return np.stack([*(sums[:, 2 + i] / beside for i in range(len(CUTS))), dc, sums[:, -1] / beside], axis=1)


def spatial_variance(sums: F64, plane: HalfPlane, channels: int) -> F64:
    """Mean over channels of the variance over positions (unbiased), per image, by Parseval.

    Args:
        sums: (n, 3 + len(CUTS)) energies of `Sums`, on the host.
        plane: Of the same grid.
        channels: C.

    Returns:
        (n,) float64, in squared units of the activation.
    """
    positions = plane.weights.sum()
    with np.errstate(invalid="ignore"):
        return np.asarray(sums[:, 1] / (positions * (positions - 1) * channels))
