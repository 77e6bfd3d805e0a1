"""The spectrum kernels: against the formula in float64 by full fft2, and the properties that a spectrum must have."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cvbench.engine.analyses.spectra import kernel as spectrum
from cvbench.engine.analyses.spectra.kernel import (
    channel_sums,
    coefficient_sums,
    energy_shares,
    half_diagonal,
    half_plane,
    radial_profile,
)
from tests.seeds import seeded

F64 = NDArray[np.float64]
GRIDS = [(8, 8), (7, 7), (14, 14), (6, 10), (10, 6), (5, 8), (8, 5), (9, 3), (2, 2), (3, 2), (4, 14)]
grids = pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: "x".join(map(str, grid)))


@pytest.fixture
def rng() -> np.random.Generator:
    return seeded(11)


def noise(rng: np.random.Generator, n: int, grid: tuple[int, int], channels: int = 6) -> F64:
    return rng.normal(size=(n, *grid, channels)) + rng.normal(size=channels)


def signed(k: int, size: int) -> int:
    """Index of a transform -> signed frequency."""
    return k - size if 2 * k >= size and k > 0 else k


class Reference:
    """Section 4 of the definitions, coefficient by coefficient; maps (n, H, W, C)."""

    def __init__(self, maps: NDArray[Any]) -> None:
        amplitude = np.abs(np.fft.fft2(maps.astype(np.float64), axes=(1, 2)))
        self.logs: F64 = np.log(amplitude + 1e-6).mean(axis=-1)
        self.energy: F64 = (amplitude**2).sum(axis=-1)
        self.height, self.width = maps.shape[1:3]
        self.norm = float(np.sqrt((maps.astype(np.float64) ** 2).sum(axis=(1, 2))).max())
        self.inverse = float((1 / (amplitude + 1e-6)).mean(axis=-1).max())

    def rounding(self, unit: float) -> float:
        """What rounding may do to a mean logarithm: a transform errs by log2(n) units of its channel's norm, and the
        logarithm of a coefficient by that over its size, which may be small. Twice, as DC is subtracted."""
        return 2 * unit * math.log2(self.height * self.width) * self.norm * self.inverse

    def rho(self, i: int, j: int) -> float:
        return math.hypot(2 * signed(i, self.height) / self.height, 2 * signed(j, self.width) / self.width)

    def bins(self) -> tuple[F64, F64 | None]:
        short = min(self.height, self.width)
        members = defaultdict(list)
        for i, j in np.ndindex(self.height, self.width):
            at = math.floor(short / 2 * self.rho(i, j) + 0.5)
            members[0 if i == j == 0 else min(max(at, 1), short // 2 + 1)].append(self.logs[:, i, j])
        means = {at: np.mean(values, axis=0) - self.logs[:, 0, 0] for at, values in members.items()}
        return np.stack([means[at] for at in range(short // 2 + 1)], axis=1), means.get(short // 2 + 1)

    def half_diagonal(self) -> F64:
        m = np.fft.fftshift(self.logs, axes=(1, 2))
        c = self.height // 2
        entries = np.stack([m[:, c + k, c + k] for k in range(math.ceil(self.height / 2))], axis=1)
        return entries - m[:, [c], [c]]

    def shares(self) -> F64:
        rho = np.array([[self.rho(i, j) for j in range(self.width)] for i in range(self.height)])
        rest = self.energy[:, rho > 0].sum(axis=1)
        above = [self.energy[:, rho > cut + 1e-12].sum(axis=1) / rest for cut in (0.25, 0.5)]
        dc = self.energy[:, 0, 0] / self.energy.sum(axis=(1, 2))
        return np.stack([*above, dc, (self.energy * rho).sum(axis=(1, 2)) / rest], axis=1)


class TestAgainstTheFormula:
    @grids
    @pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-10), (np.float32, 1e-5), (np.float16, 1e-5)])
    def test_every_number(
        self, rng: np.random.Generator, grid: tuple[int, int], dtype: type[Any], tolerance: float
    ) -> None:
        maps = noise(rng, 5, grid, 64).astype(dtype)
        expected, plane = Reference(maps), half_plane(*grid)
        tolerance = max(tolerance, expected.rounding(2.0**-53 if dtype is np.float64 else 2.0**-24))
        logs, energies = channel_sums(maps)
        assert logs.dtype == energies.dtype == np.float64
        profile, corners = radial_profile(logs @ plane.radial, plane)
        own, beyond = expected.bins()
        np.testing.assert_allclose(profile, own, atol=tolerance)
        np.testing.assert_allclose(corners, np.full(5, np.nan) if beyond is None else beyond, atol=tolerance)
        np.testing.assert_allclose(energy_shares(energies @ plane.energy), expected.shares(), atol=tolerance)
        diagonal = half_diagonal(coefficient_sums(logs, energies, *grid).diagonal)
        if grid[0] == grid[1]:
            np.testing.assert_allclose(diagonal, expected.half_diagonal(), atol=tolerance)
        else:
            assert diagonal.shape == (5, 0)

    @grids
    def test_the_half_plane_is_the_full_transform(self, rng: np.random.Generator, grid: tuple[int, int]) -> None:
        maps = noise(rng, 3, grid, 64).astype(np.float16)
        expected = Reference(maps)
        logs, energies = channel_sums(maps)
        half = (slice(None), slice(None), slice(0, grid[1] // 2 + 1))
        np.testing.assert_allclose(
            logs, expected.logs[half].reshape(3, -1), atol=max(1e-5, expected.rounding(2.0**-24))
        )
        np.testing.assert_allclose(energies, expected.energy[half].reshape(3, -1), rtol=1e-5)

    @grids
    @pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-10), (np.float32, 1e-5)])
    def test_torch_fft_transforms_alike(
        self, rng: np.random.Generator, grid: tuple[int, int], dtype: type[Any], tolerance: float
    ) -> None:
        # In float64 only the order of sums differs. float32 keeps 1e-7 of a coefficient, the mean of logarithms 1e-5 or
        # what a small coefficient leaves it.
        maps = noise(rng, 3, grid, 64).astype(dtype)
        loss = max(tolerance, Reference(maps).rounding(2.0**-24 if dtype is np.float32 else 2.0**-53))
        peer = torch.fft.rfft2(torch.from_numpy(maps).double(), dim=(1, 2)).abs()
        logs, energies = channel_sums(maps)
        np.testing.assert_allclose(logs, (peer + 1e-6).log().mean(dim=-1).flatten(1).numpy(), atol=loss)
        np.testing.assert_allclose(energies, peer.square().sum(dim=-1).flatten(1).numpy(), rtol=tolerance)

    def test_a_large_offset_costs_no_digits(self, rng: np.random.Generator) -> None:
        maps = (noise(rng, 3, (14, 14), 32) + 1000).astype(np.float32)
        profile, _ = radial_profile(channel_sums(maps)[0] @ half_plane(14, 14).radial, half_plane(14, 14))
        expected, rest = Reference(maps), maps - maps.mean(axis=(1, 2), dtype=np.float64, keepdims=True)
        expected.norm = float(np.sqrt((rest**2).sum(axis=(1, 2))).max())  # what is left to round once the mean is off
        np.testing.assert_allclose(profile, expected.bins()[0], atol=max(1e-5, expected.rounding(2.0**-24)))

    @pytest.mark.parametrize("block", [1, 30, 70, 200, 1000, 10**6])
    def test_any_block_gives_the_same(self, rng: np.random.Generator, block: int) -> None:
        maps = noise(rng, 7, (6, 5), 9)
        loss = max(1e-12, Reference(maps).rounding(2.0**-53))
        for found, expected in zip(channel_sums(maps, block), channel_sums(maps), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=loss)

    def test_a_transposed_view_and_no_image(self, rng: np.random.Generator) -> None:
        maps = noise(rng, 4, (6, 5))
        turned = np.asfortranarray(maps)
        np.testing.assert_array_equal(channel_sums(turned)[0], channel_sums(maps)[0])
        assert channel_sums(maps[:0])[0].shape == (0, 18)


class TestProperties:
    @pytest.mark.parametrize("grid", [(14, 14), (7, 7), (8, 12), (56, 56)])
    def test_white_noise_reads_half_of_ln_2(self, rng: np.random.Generator, grid: tuple[int, int]) -> None:
        """Ordinary bins: those without a coefficient that is real, as DC is."""
        images, channels = (400, 40) if min(grid) < 50 else (60, 40)
        maps = rng.normal(size=(images, *grid, channels)).astype(np.float32)
        logs, energies = channel_sums(maps)
        plane = half_plane(*grid)
        profile, _ = radial_profile(logs @ plane.radial, plane)
        ordinary = profile.mean(axis=0)[1 : (min(grid) + 1) // 2]
        error = 1.2 / math.sqrt(images * channels)  # ln|F| of a real coefficient, here DC, varies by 1.11
        np.testing.assert_allclose(ordinary, spectrum.NULL_LEVEL, atol=5.5 * error)
        assert pytest.approx(0.3466, abs=1e-4) == spectrum.NULL_LEVEL
        shares = energy_shares(energies @ plane.energy).mean(axis=0)
        flat = energy_shares(np.ones((1, len(plane.rho))) @ plane.energy)[0]
        np.testing.assert_allclose(shares, flat, atol=2e-3)

    @pytest.mark.parametrize("grid", [(14, 14), (15, 15), (8, 12), (12, 8)])
    @pytest.mark.parametrize("axis", [0, 1])
    def test_a_cosine_peaks_in_its_bin(self, grid: tuple[int, int], axis: int) -> None:
        plane, short = half_plane(*grid), min(grid)
        for k in range(1, short // 2 + 1):
            cycles = k * grid[axis] // short if k * grid[axis] % short == 0 else None
            if cycles is None:
                continue
            phase = 2 * np.pi * cycles * np.arange(grid[axis]) / grid[axis]
            wave = np.cos(phase)[:, None] if axis == 0 else np.cos(phase)[None, :]
            maps = np.broadcast_to(wave, grid)[None, :, :, None] + np.zeros((1, *grid, 2))
            logs, energies = channel_sums(maps)
            assert radial_profile(logs @ plane.radial, plane)[0][0, 1:].argmax() + 1 == k
            shares = energy_shares(energies @ plane.energy)[0]
            np.testing.assert_allclose(shares, [2 * k / short > 0.25, 2 * k / short > 0.5, 0, 2 * k / short], atol=1e-9)

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    @pytest.mark.parametrize("grid", [(7, 7), (14, 14), (6, 10)])
    def test_a_constant_map_is_all_dc(self, dtype: type[Any], grid: tuple[int, int]) -> None:
        maps = np.full((2, *grid, 3), 0.1, dtype=dtype)
        maps[..., 1] = 517
        shares = energy_shares(channel_sums(maps)[1] @ half_plane(*grid).energy)
        np.testing.assert_array_equal(shares[:, 2], 1.0)
        assert np.isnan(shares[:, [0, 1, 3]]).all()

    def test_a_map_of_zeros_defines_no_share_and_is_flat(self) -> None:
        logs, energies = channel_sums(np.zeros((1, 6, 6, 2), dtype=np.float32))
        assert np.isnan(energy_shares(energies @ half_plane(6, 6).energy)).all()
        np.testing.assert_allclose(logs, math.log(1e-6), rtol=1e-6)

    @grids
    def test_parseval(self, rng: np.random.Generator, grid: tuple[int, int]) -> None:
        maps = noise(rng, 4, grid)
        plane, positions = half_plane(*grid), grid[0] * grid[1]
        _, energies = channel_sums(maps)
        np.testing.assert_allclose(energies @ plane.weights / positions, (maps**2).sum(axis=(1, 2, 3)), rtol=1e-12)
        assert plane.weights.sum() == positions

    def test_energy_shares_do_not_know_the_mean_but_the_profile_does(self, rng: np.random.Generator) -> None:
        maps, plane = noise(rng, 4, (8, 8)), half_plane(8, 8)
        found, moved = (
            coefficient_sums(*channel_sums(values), 8, 8)
            for values in (maps, maps + 30)  # beyond any mean drawn
        )
        shares, moved_shares = (energy_shares(sums.energy)[:, :2] for sums in (found, moved))
        np.testing.assert_allclose(moved_shares, shares, rtol=1e-9)
        profile, moved_profile = (radial_profile(sums.binned, plane)[0] for sums in (found, moved))
        assert (moved_profile < profile)[:, 1:].all()

    def test_a_scale_moves_nothing(self, rng: np.random.Generator) -> None:
        maps, plane = noise(rng, 4, (8, 8)), half_plane(8, 8)
        np.testing.assert_allclose(
            radial_profile(channel_sums(maps * 100)[0] @ plane.radial, plane)[0],
            radial_profile(channel_sums(maps)[0] @ plane.radial, plane)[0],
            atol=4 * 1e-6 * Reference(maps).inverse,  # of the 1e-6 beside |F|, in a coefficient and in DC
        )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_shows(rng: np.random.Generator, bad: float) -> None:
    maps = noise(rng, 3, (6, 6)).astype(np.float16)
    maps[1, 2, 3, 4] = bad
    logs, energies = channel_sums(maps)
    assert np.isfinite(logs[[0, 2]]).all()
    binned = coefficient_sums(logs, energies, 6, 6).binned
    assert not np.isfinite(radial_profile(binned, half_plane(6, 6))[0][1]).all()


@pytest.mark.gpu
@grids
def test_cupy_gives_what_numpy_gives(rng: np.random.Generator, cupy: Any, grid: tuple[int, int]) -> None:
    maps = noise(rng, 5, grid, 64).astype(np.float16)
    found = coefficient_sums(*channel_sums(cupy.asarray(maps)), *grid)
    expected = coefficient_sums(*channel_sums(maps), *grid)
    for name, values in vars(expected).items():
        np.testing.assert_allclose(getattr(found, name).get(), values, rtol=1e-5, atol=1e-5)
