"""Two networks whose maps are one but for a constraint of their heads: raw they differ, centred they are equal."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cvbench.engine.analyses.cam.grids import centred_evidence, pool_evidence
from cvbench.engine.analyses.cam.measures import MAP_MEASURES, map_measures
from cvbench.engine.analyses.cam.methods import gradcam
from cvbench.engine.analyses.cam.summary import Measured, summarise
from cvbench.engine.statistics.options import IntervalOptions

CHANNELS, GRID, CLASSES = 6, (7, 5), 4


class Normalised(nn.Module):
    """Pools, then normalises, then classifies, as timm's ConvNeXt does; gets activations (B, H, W, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(CHANNELS, eps=1e-12)
        self.head = nn.Linear(CHANNELS, CLASSES)

    def forward(self, activation: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(activation.mean(dim=(1, 2))))
        return logits


class Free(nn.Module):
    """Pools and classifies: nothing fixes the sum of its map."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, activation: Tensor) -> Tensor:
        return activation.mean(dim=(1, 2)) @ self.weights


def raw_map(network: nn.Module, activation: Tensor) -> NDArray[np.float64]:
    """Grad-CAM of class 0 (or of the only logit)."""
    leaf = activation.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(leaf).reshape(len(leaf), -1)[:, 0].sum(), leaf)
    return np.asarray(gradcam(activation, gradient).numpy(), dtype=np.float64)


@pytest.fixture(scope="module")
def maps() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Raw maps of 40 images by both networks; the last channel is the same at all positions, as of a bias."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    activation = torch.randn(40, *GRID, CHANNELS, generator=generator, dtype=torch.float64)
    activation[..., -1] = 1.0
    first = Normalised().double()
    one, two = [], []
    for image in (activation[at : at + 1] for at in range(len(activation))):
        leaf = image.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(first(leaf)[0, 0], leaf)
        weights = gradient.sum(dim=(0, 1, 2))
        weights[-1] += 3 * weights.abs().max()  # more of the bias: the same map, and a constant
        one.append(raw_map(first, image))
        two.append(raw_map(Free(weights), image))
    return np.concatenate(one), np.concatenate(two)


def test_pooling_before_the_norm_fixes_the_sum(maps: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
    constrained, free = maps
    sums = constrained.sum(axis=(1, 2))
    # Zero but for the epsilon of the norm and float64 rounding.
    np.testing.assert_allclose(sums, 0, atol=1e-9 * np.abs(constrained).sum(axis=(1, 2)).max())
    assert (free.sum(axis=(1, 2)) > 0.5 * np.abs(free).sum(axis=(1, 2))).all()


def test_raw_they_differ_and_centred_they_are_equal(maps: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
    raw, centred = (
        [
            Measured(name, "layer", GRID, True, map_measures(of(one)), version)
            for name, one in zip("ab", maps, strict=True)
        ]
        for of, version in ((np.asarray, "raw"), (lambda one: centred_evidence(one, GRID), "centred"))
    )
    # The last digits of a difference of float64 maps are left: far below what counts as a difference.
    np.testing.assert_allclose(centred[0].table, centred[1].table, rtol=1e-8)
    result = summarise([*raw, *centred], IntervalOptions(resamples=20), {})
    gini = MAP_MEASURES.index("gini")
    low, high = (result.data[f"difference_{end}"][1][0, gini] for end in ("low", "high"))
    assert low > 0.1, "raw, the constrained map looks concentrated"
    assert high > low
    assert np.isnan(result.data["difference_resolved"][1][0]).all(), "and nothing is said of that"
    assert (result.data["difference_resolved"][1][1] == 0).all()


def test_a_finer_map_is_averaged_before_it_is_centred(maps: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
    _, free = maps
    detail = np.random.default_rng(0).normal(size=(40, 7, 2, 5, 2))
    detail -= detail.mean(axis=(2, 4), keepdims=True)
    fine = (free[:, :, None, :, None] + detail + 1.5).reshape(40, 14, 10)
    np.testing.assert_allclose(centred_evidence(fine, GRID), centred_evidence(free, GRID), atol=1e-12)
    assert np.abs(pool_evidence(fine, GRID) - pool_evidence(free, GRID)).max() > 0.1


def test_a_flat_map_has_no_evidence() -> None:
    flat = np.full((2, 3, 3), 0.1, dtype=np.float32)
    flat[1, 0, 0] += np.float32(1e-8)
    assert not centred_evidence(flat, (3, 3)).any()
    assert np.isnan(map_measures(centred_evidence(flat, (3, 3)))).all()
