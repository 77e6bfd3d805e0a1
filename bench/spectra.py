"""Fourier spectra of maps: cvbench, the plain torch ways, and the speed at which the store gives the maps.

    python bench/spectra.py [--images 32] [--threads 1] [--grids 56x56x96 28x28x192 14x14x384 7x7x768]

All get the same float16 maps and make the mean over images and channels of ln(|F| + 1e-6) on the whole plane, and the
radial profile of that mean. `torch fft2` is the formula as it stands: every coefficient computed, half of them twice.
`torch rfft2` computes the half plane and mirrors the mean. cvbench's row also has energy shares, slope, variance and
the moments for the intervals, per image. The last row reads the same maps from the store: the physical limit.
Times are CPU seconds, the least of --repeats; the difference is the largest of any bin of the profile, against float64.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from maps import HEADER, LAYER, features, stored, table
from numpy.typing import NDArray

from cvbench.engine.analyses.spectra.kernel import EPSILON
from cvbench.engine.analyses.spectra.measure import Spectra
from cvbench.engine.arrays.threads import host_threads

F64 = NDArray[np.float64]


def radial(mean: torch.Tensor) -> F64:
    """(H, W) mean log amplitudes -> (B,) relative to DC by radial bin."""
    height, width = mean.shape
    short = min(height, width)
    u = torch.fft.fftfreq(height, 1 / height, dtype=torch.float64)[:, None]
    v = torch.fft.fftfreq(width, 1 / width, dtype=torch.float64)[None, :]
    bins = torch.floor(short / 2 * torch.hypot(2 * u / height, 2 * v / width) + 0.5).long()
    found = torch.stack([mean[bins == b].mean() for b in range(short // 2 + 1)])
    return np.asarray((found - found[0]).numpy())


def by_fft2(maps: NDArray[np.float16], dtype: torch.dtype = torch.float32) -> F64:
    spectrum = torch.fft.fft2(torch.from_numpy(maps).to(dtype), dim=(1, 2))
    return radial(torch.log(spectrum.abs() + EPSILON).double().mean(dim=(0, 3)))


def by_rfft2(maps: NDArray[np.float16]) -> F64:
    width = maps.shape[2]
    spectrum = torch.fft.rfft2(torch.from_numpy(maps).float(), dim=(1, 2))
    half = torch.log(spectrum.abs() + EPSILON).double().mean(dim=(0, 3))
    mirrored = half[:, 1 : (width + 1) // 2].flip(1)
    return radial(torch.cat([half, torch.cat([mirrored[:1], mirrored[1:].flip(0)])], dim=1))


def by_cvbench(maps: NDArray[np.float16]) -> F64:
    return np.asarray(Spectra().measure_layer(0, LAYER, maps)["profile/0"] / len(maps))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--grids", nargs="+", default=["56x56x96", "28x28x192", "14x14x384", "7x7x768"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.images} images, {options.threads} threads")
    print(HEADER)
    for name in options.grids:
        maps = features(options.images, tuple(int(part) for part in name.split("x")))
        truth = by_fft2(maps, torch.float64)
        ways = {"torch fft2": by_fft2, "torch rfft2": by_rfft2, "cvbench": by_cvbench}
        said = {tool: f"{np.abs(way(maps) - truth).max():.1e}" for tool, way in ways.items()}
        with tempfile.TemporaryDirectory() as folder, host_threads(options.threads):
            tools = {tool: lambda maps=maps, way=way: way(maps) for tool, way in ways.items()}
            table(name, maps, {**tools, "read store": stored(Path(folder), maps)}, options.repeats, said)


if __name__ == "__main__":
    main()
