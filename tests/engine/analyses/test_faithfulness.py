"""Deletion and insertion against loops over pixels in float64, and what is known without arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer
from cvbench.engine.analyses.cam.faithful import TABLE, summarise_faithfulness
from cvbench.engine.analyses.cam.faithfulness import (
    BLUR,
    DEVIATION,
    blurred,
    cell_order,
    part_of_pixels,
    probability_curves,
    random_order,
)
from cvbench.engine.models.backbones import load_backbone, resolve_spec
from cvbench.engine.statistics.options import IntervalOptions

pytestmark = pytest.mark.usefixtures("one_thread")
CELLS, STEPS = 5, 7


def blur_by_hand(image: NDArray[np.float64]) -> NDArray[np.float64]:
    away = np.arange(BLUR) - BLUR // 2
    line = np.exp(-(away**2) / (2 * DEVIATION**2))
    kernel = np.outer(line / line.sum(), line / line.sum())
    padded = np.pad(image, ((0, 0), (BLUR // 2,) * 2, (BLUR // 2,) * 2))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (BLUR, BLUR), axis=(1, 2))
    return np.asarray((windows * kernel).sum(axis=(3, 4)))


def test_curves_are_those_of_images_made_by_hand() -> None:
    backbone = load_backbone(resolve_spec("test_convnext", weights="random", image_size=64))
    shown = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    raw = torch.randn((2, 5, 5), generator=torch.Generator().manual_seed(1))
    classes = torch.tensor([3, 500])
    found = probability_curves(backbone, shown, raw, classes, CELLS, STEPS).numpy()
    assert found.shape == (2, 4, STEPS + 1)
    inputs = backbone.inputs(shown).double().numpy()
    network = backbone.network.double()
    orders = [np.argsort(-raw.numpy().reshape(2, -1), kind="stable"), np.tile(random_order(CELLS).numpy(), (2, 1))]
    try:
        for image in range(2):
            soft = blur_by_hand(inputs[image])
            for k, (order, start, end) in enumerate(
                (order[image], start, end)
                for order in orders
                for start, end in ((inputs[image], np.zeros_like(soft)), (soft, inputs[image]))
            ):
                for step in range(STEPS + 1):
                    changed = {int(part) for part in order[: round(step * CELLS**2 / STEPS)]}
                    made = start.copy()
                    for y in range(64):
                        for x in range(64):
                            if (y * CELLS // 64) * CELLS + x * CELLS // 64 in changed:
                                made[:, y, x] = end[:, y, x]
                    with torch.no_grad():
                        logits = network(torch.from_numpy(made)[None])[0].numpy()
                    weights = np.exp(logits - logits.max())
                    expected = weights[classes[image]] / weights.sum()
                    assert found[image, k, step] == pytest.approx(expected, rel=1e-4)
    finally:
        network.float()


def test_the_ends_of_the_curves_do_not_depend_on_the_order() -> None:
    backbone = load_backbone(resolve_spec("test_vit", weights="random", image_size=64))
    shown = torch.randint(0, 256, (3, 3, 64, 64), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    raw = torch.randn((3, 4, 4), generator=torch.Generator().manual_seed(1))
    found = probability_curves(backbone, shown, raw, torch.tensor([1, 2, 3]), 14, 3)
    torch.testing.assert_close(found[:, 0, 0], found[:, 1, -1])  # the image itself
    for end in (0, -1):
        torch.testing.assert_close(found[:, :2, end], found[:, 2:, end])


def test_maps_of_other_grids_order_the_same_parts() -> None:
    fine = torch.zeros((1, 10, 15))
    fine[0, 2:4, 3:6] = 1  # the part (1, 1) of 5 x 5
    assert cell_order(fine, 5)[0, 0] == 6
    coarse = torch.zeros((1, 2, 2))
    coarse[0, 1, 0] = 1
    assert cell_order(coarse, 4)[0, :4].sort().values.tolist() == [8, 9, 12, 13]
    assert cell_order(torch.zeros((1, 3, 3)), 3)[0].tolist() == list(range(9))  # of equals the first
    mixed = torch.zeros((1, 2, 8))
    mixed[0, 0, 7] = 1
    assert cell_order(mixed, 4)[0, 0] == 3
    assert part_of_pixels((4, 6), 2).tolist() == [[0, 0, 0, 1, 1, 1]] * 2 + [[2, 2, 2, 3, 3, 3]] * 2


def test_a_constant_image_is_blurred_to_itself_but_at_its_edge() -> None:
    even = torch.ones((1, 3, 40, 40))
    soft = blurred(even)
    torch.testing.assert_close(soft[:, :, 5:-5, 5:-5], even[:, :, 5:-5, 5:-5])
    assert soft[0, 0, 0, 0] < 0.5


def test_areas_and_gains_of_known_curves() -> None:
    layer = Layer("a", "x")
    falling, rising = np.linspace(1, 0, 5), np.linspace(0, 1, 5)
    table = np.tile(np.stack([falling**3, rising**0.5, falling, rising]), (40, 1, 1))
    noise = np.random.default_rng(0).normal(0, 0.01, (40, 1, 1))
    result = summarise_faithfulness([layer], [{layer: table[:8] + noise[:8]}, {layer: table[8:] + noise[8:]}], _quick())
    means = dict(zip([m.name for m in TABLE], result.data["layers"][1][0].tolist(), strict=True))
    shift = float(noise.mean())
    assert means["deletion_random"] == pytest.approx(0.5 + shift)
    assert means["deletion"] == pytest.approx(float(np.trapezoid(falling**3, dx=0.25)) + shift)
    assert means["insertion_gain"] == pytest.approx(float(np.trapezoid(rising**0.5, dx=0.25)) - 0.5)
    assert means["deletion_gain"] > 0
    np.testing.assert_allclose(result.data["curves"][1], table[0] + shift)
    assert result.attrs["steps"] == 4


def _quick() -> IntervalOptions:
    return IntervalOptions(resamples=20)
