"""The randomisation test: ranks against scipy's, which parameters are shuffled when, and maps of shuffled networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from cvbench.engine.analyses.cam.graph import class_map
from cvbench.engine.analyses.cam.randomised import (
    parameter_parts,
    randomised_correlations,
    rank_correlation,
    shuffled_backbones,
)
from cvbench.engine.models.backbones import Backbone, load_backbone, resolve_spec

SIZE = 64


def small(model: str) -> Backbone:
    return load_backbone(resolve_spec(model, weights="random", image_size=SIZE))


def images(count: int = 2) -> torch.Tensor:
    noise = torch.randint(0, 256, (count, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(3))
    return noise.to(torch.uint8)


def test_ranks_are_those_of_scipy_with_ties() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.integers(0, 6, (2, 20, 4, 5)).astype(np.float32)  # many ties
    found = rank_correlation(torch.from_numpy(one), torch.from_numpy(two)).numpy()
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(one, two, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert np.ptp(expected) > 0.3


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_map_without_ranks_has_no_correlation(value: float) -> None:
    flat = torch.zeros((1, 3, 3)).index_fill_(1, torch.tensor([1]), value)
    assert rank_correlation(flat, torch.arange(9.0).view(1, 3, 3)).isnan().all()


@pytest.mark.parametrize(
    ("model", "count", "first", "behind"),
    [
        ("test_vit", 7, {"cls_token", "pos_embed", "patch_embed.proj.weight"}, {"norm.weight", "head.weight"}),
        ("test_convnext", 10, {"stem.0.weight"}, {"head.norm.weight", "head.fc.weight"}),
    ],
)
def test_parts_are_in_the_order_of_computation(model: str, count: int, first: set[str], behind: set[str]) -> None:
    backbone = small(model)
    parts = parameter_parts(backbone)
    names = [name for part in parts for name in part]
    assert sorted(names) == sorted(name for name, _ in backbone.network.named_parameters())
    assert len(parts) == count
    assert first <= set(parts[0])
    assert behind <= set(parts[-1])
    if model == "test_convnext":  # what lies between two stages goes with the block behind it
        (part,) = (part for part in parts if "stages.2.downsample.1.weight" in part)
        assert any(name.startswith("stages.2.blocks.0.") for name in part)


def test_each_step_shuffles_more_and_changes_no_distribution() -> None:
    backbone = small("test_vit")
    before = {name: value.clone() for name, value in backbone.network.named_parameters()}
    steps = [dict(one.network.named_parameters()) for one in shuffled_backbones(backbone, 3, 5)]
    parts = parameter_parts(backbone)
    changed = [
        {
            name
            for name, value in step.items()
            if not torch.equal(value, before[name]) and before[name].unique().numel() > 1
        }
        for step in steps
    ]
    for step, names, count in zip(steps, changed, (3, 5, 7), strict=True):  # of 7 parts a third, two thirds, all
        expected = {name for part in parts[-count:] for name in part if before[name].unique().numel() > 1}
        assert names == expected
        for name, value in step.items():
            torch.testing.assert_close(value.flatten().sort().values, before[name].flatten().sort().values)
    for name in changed[0]:
        assert torch.equal(steps[0][name], steps[2][name]), "what was shuffled stays so"
    for name, value in backbone.network.named_parameters():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("method", ["gradcam", "eigencam"])
def test_correlations_are_those_of_the_maps_of_the_same_class(method: str) -> None:
    backbone = small("test_convnext")
    others = shuffled_backbones(backbone, 2, 0)
    found = randomised_correlations(backbone, others, "stages.2.blocks.1", method, images())
    assert found.shape == (2, 2, 2)
    own = class_map(backbone, "stages.2.blocks.1", method, images())
    classes = own.choice[:, 0].long()
    for step, other in enumerate(others):
        raw = class_map(other, "stages.2.blocks.1", method, images(), classes).raw
        for i in range(2):
            one, two = own.raw[i].numpy().ravel(), raw[i].numpy().ravel()
            assert found[i, 0, step] == pytest.approx(spearmanr(one, two).statistic, abs=1e-6)
            shown = spearmanr(np.maximum(one, 0), np.maximum(two, 0)).statistic
            assert found[i, 1, step] == pytest.approx(shown, abs=1e-6, nan_ok=True)


def test_a_method_that_knows_no_class_does_not_see_the_classifier() -> None:
    """The first of as many steps as parts shuffles what lies behind the last block alone."""
    backbone = small("test_convnext")
    first = shuffled_backbones(backbone, 10, 0)[:1]
    assert (
        randomised_correlations(backbone, first, "stages.3.blocks.1", "eigencam", images())[:, 0].tolist()
        == [[1.0]] * 2
    )
    assert (randomised_correlations(backbone, first, "stages.2.blocks.1", "gradcam", images())[:, 0] < 1).all()
