"""Residual sums of real small networks: those that plain hooks see in float64, and which are none."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cvbench.engine.analyses.base import Layer
from cvbench.engine.analyses.residual.changes import change_numbers
from cvbench.engine.analyses.residual.result import ResidualLayer, residual_pairs, summarise_residual
from cvbench.engine.analyses.residual.sums import LEAST, measure_residual, ratio_numbers, residual_sums
from cvbench.engine.models.backbones import Backbone, load_backbone, resolve_spec
from cvbench.engine.models.layouts import TapLayout
from cvbench.engine.models.own_models import OwnModel
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.errors import UsageError

F64 = NDArray[np.float64]
Kept = dict[str, tuple[F64, F64]]


def load(model: str, size: int = 64) -> Backbone:
    weights = "pretrained" if ":" in model else "random"
    return load_backbone(resolve_spec(model, weights=weights, image_size=None if ":" in model else size))


def images(backbone: Backbone, count: int = 3) -> Tensor:
    size = backbone.preprocess.geometry.size
    return torch.randint(0, 256, (count, 3, *size), generator=torch.Generator().manual_seed(5)).to(torch.uint8)


def plain() -> OwnModel:
    """Two blocks; the first adds to its input in place, the second adds nothing."""

    class Adds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(6, 6, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.conv(x)
            found += x
            return found

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 6, 8, 8)
            self.blocks = nn.Sequential(Adds(), nn.Conv2d(6, 6, 1))
            self.fc = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.fc(self.blocks(self.stem(x)).mean(dim=(2, 3)))
            return found

    torch.manual_seed(0)
    return OwnModel(Net(), size=(32, 32))


def none() -> OwnModel:
    """Blocks that add nothing."""
    torch.manual_seed(0)
    net = nn.Sequential()
    net.blocks = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.Conv2d(4, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return OwnModel(net, size=(32, 32))


def seen_in_float64(backbone: Backbone, shown: Tensor, sides: Callable[[Any], dict[str, tuple[Any, Any]]]) -> Kept:
    """Skip and branch of each sum by hooks on the modules whose input is the skip, and whose output is the branch."""
    inputs = backbone.inputs(shown).double()
    network = copy.deepcopy(backbone.network).double()
    kept: dict[str, list[Tensor]] = {}
    for name, (skip, branch) in sides(network).items():
        skip.register_forward_pre_hook(lambda _m, x, name=name: kept.setdefault(name, []).append(x[0].clone()))
        branch.register_forward_hook(lambda _m, _x, y, name=name: kept.setdefault(name, []).append(y.clone()))
    with torch.no_grad():
        network(inputs)
    return {name: (first.numpy(), second.numpy()) for name, (first, second) in kept.items()}


def of_vit(network: Any) -> dict[str, tuple[Any, Any]]:
    return {
        f"blocks.{i}.{part}": (getattr(block, f"norm{k}"), getattr(block, f"drop_path{k}"))
        for i, block in enumerate(network.blocks)
        for k, part in ((1, "attn"), (2, "mlp"))
    }


def of_convnext(network: Any) -> dict[str, tuple[Any, Any]]:
    return {
        f"stages.{i}.blocks.{j}": (block, block.drop_path)
        for i, stage in enumerate(network.stages)
        for j, block in enumerate(stage.blocks)
    }


def ratios(skip: F64, branch: F64, axis: int) -> F64:
    """(B, tokens), by the definition."""
    norms = [np.sqrt((values**2).sum(axis=axis)) for values in (branch, skip)]
    found: F64 = (norms[0] / norms[1]).reshape(len(skip), -1)
    return found


def changes(skip: F64, branch: F64) -> F64:
    """(B, 2) of maps (B, C, H, W), by the definition: the whole plane of `fft2`, and NumPy's variance."""

    def share(maps: F64) -> F64:
        energy = (np.abs(np.fft.fft2(maps)) ** 2).sum(axis=1)
        down, across = (2 * np.fft.fftfreq(side) for side in maps.shape[2:])
        rho = np.hypot(down[:, None], across[None, :])
        found: F64 = energy[:, rho > 0.5].sum(axis=1) / energy[:, rho > 0].sum(axis=1)
        return found

    after = skip + branch
    variance = [maps.var(axis=(2, 3)).mean(axis=1) for maps in (after, skip)]
    return np.stack([share(after) - share(skip), np.log(variance[0] / variance[1])], axis=1)


def on_grid(tokens: F64, prefix: int, side: int) -> F64:
    """(B, C, side, side) of tokens."""
    return tokens[:, prefix:].reshape(len(tokens), side, side, -1).transpose(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("model", "leading"), [("test_vit", ("class_token",)), ("test_vit2", ("registers",))], ids=["class", "register"]
)
def test_a_vit_has_attention_and_mlp_behind_their_layer_scale(model: str, leading: tuple[str, ...]) -> None:
    """`test_vit2` has scales of 1e-5, so what is added is not what the tap `attn` gives."""
    backbone = load(model)
    found, refused = residual_sums(backbone)
    assert not refused
    shown = images(backbone)
    numbers = measure_residual(backbone, shown, {tap: (one.block, one.number) for tap, one in found.items()})
    expected = seen_in_float64(backbone, shown, of_vit)
    assert list(found) == list(expected)
    for tap, (skip, branch) in expected.items():
        assert found[tap].measures == ("patches", *leading, "high_frequency", "variance")
        assert found[tap].part == tap.rpartition(".")[2]
        ratio = ratios(skip, branch, 2)
        wanted = np.stack([np.median(ratio[:, 1:], axis=1), ratio[:, 0]], axis=1)
        np.testing.assert_allclose(numbers[tap][:, :2].numpy(), wanted, rtol=1e-4)
        own = changes(*(on_grid(values, 1, found[tap].layout.height) for values in (skip, branch)))
        np.testing.assert_allclose(numbers[tap][:, 2:].numpy(), own, rtol=1e-3, atol=1e-5)


def test_a_convnext_has_whole_blocks_behind_their_layer_scale() -> None:
    """The scale is a parameter, which only the output of the end of the path shows."""
    backbone = load("test_convnext")
    with torch.no_grad():
        for stage in backbone.network.stages:
            for block in stage.blocks:
                block.gamma.copy_(torch.linspace(0.1, 3, len(block.gamma)))
    found, refused = residual_sums(backbone)
    shown = images(backbone)
    numbers = measure_residual(backbone, shown, {tap: (one.block, one.number) for tap, one in found.items()})
    expected = seen_in_float64(backbone, shown, of_convnext)
    assert not refused
    assert list(found) == list(expected)
    for tap, one in found.items():
        shown_there = [name for name, least in LEAST.items() if one.layout.height >= least]
        assert (one.part, one.measures) == ("", ("patches", *shown_there))
        wanted = np.median(ratios(*expected[tap], 1), axis=1)
        np.testing.assert_allclose(numbers[tap][:, 0].numpy(), wanted, rtol=1e-4)
        own = changes(*expected[tap])[:, 2 - len(shown_there) :]
        np.testing.assert_allclose(numbers[tap][:, 1:].numpy(), own, rtol=1e-3, atol=1e-5)


def test_a_sum_in_place_and_a_block_without_one() -> None:
    backbone = load("tests.engine.analyses.test_residual:plain")
    found, refused = residual_sums(backbone)
    assert list(found) == ["blocks.0"]
    assert list(refused) == ["blocks.1"]
    shown = images(backbone)
    (numbers,) = measure_residual(backbone, shown, {"blocks.0": ("blocks.0", 0)}).values()
    expected = seen_in_float64(backbone, shown, lambda net: {"blocks.0": (net.blocks[0], net.blocks[0].conv)})
    wanted = np.median(ratios(*expected["blocks.0"], 1), axis=1)
    np.testing.assert_allclose(numbers[:, 0].numpy(), wanted, rtol=1e-4)
    with pytest.raises(UsageError, match=r"blocks\.1 is added in another way"):
        measure_residual(backbone, shown.clone(), {"blocks.1": ("blocks.1", 0)})


def test_class_token_and_registers_are_apart_and_a_token_without_a_skip_counts_as_the_largest() -> None:
    layout = TapLayout(2, 3, 4, prefix=3, kind="tokens", class_token=True)
    drawn = np.random.default_rng(0).normal(size=(2, 2, 9, 4)).astype(np.float32)
    drawn[0, 0, 5] = 0
    skip, branch = (torch.from_numpy(values) for values in drawn)
    with np.errstate(divide="ignore"):
        ratio = ratios(drawn[0].astype(np.float64), drawn[1].astype(np.float64), 2)
    wanted = np.stack([np.median(ratio[:, 3:], axis=1), ratio[:, 0], ratio[:, 1:3].mean(axis=1)], axis=1)
    np.testing.assert_allclose(ratio_numbers(skip, branch, layout).numpy(), wanted, rtol=1e-5)
    found = ratio_numbers(torch.zeros_like(skip), branch, layout)
    assert bool(found.isnan().all())


def test_what_a_sum_changes_on_a_grid_that_is_not_square() -> None:
    """A mean over neighbours takes away high frequencies and variance, a branch that undoes it the other way."""
    rng = np.random.default_rng(0)
    skip = rng.normal(size=(3, 5, 4, 7)) + 100
    smoothed = (np.roll(skip, 1, axis=3) + np.roll(skip, 1, axis=2) - 2 * skip) / 3
    layout = TapLayout(4, 7, 5, prefix=0, kind="nchw")
    for branch, sign in ((smoothed, -1), (-0.5 * smoothed, 1)):
        found = change_numbers(torch.from_numpy(skip), torch.from_numpy(branch), layout).numpy()
        np.testing.assert_allclose(found, changes(skip, branch), rtol=1e-3)
        assert (np.sign(found) == sign).all()
    first, second = (torch.from_numpy(np.moveaxis(values, 1, -1)) for values in (skip, smoothed))
    found = change_numbers(first, second, TapLayout(4, 7, 5, prefix=0, kind="nhwc")).numpy()
    np.testing.assert_allclose(found, changes(skip, smoothed), rtol=1e-3)
    constant = torch.ones(2, 5, 4, 7)
    assert bool(change_numbers(constant, constant, layout).isnan().all())


def test_changes_are_averaged_over_the_branches_of_a_kind_that_have_them() -> None:
    both = ("patches", "high_frequency", "variance")
    layers = [
        ResidualLayer(Layer("a", "blocks.0.attn"), "attn", both),
        ResidualLayer(Layer("a", "blocks.0.mlp"), "mlp", both),
        ResidualLayer(Layer("a", "blocks.1.attn"), "attn", ("patches", "variance")),
        ResidualLayer(Layer("b", "stages.0"), "", ("patches",)),
    ]
    rng = np.random.default_rng(0)
    tables = [{one.layer: rng.random((5, len(one.measures))) for one in layers} for _ in range(2)]
    result = summarise_residual(layers, tables, IntervalOptions(resamples=20))
    first, second, third, _ = (np.concatenate([table[one.layer] for table in tables]) for one in layers)
    wanted = [[first[:, 1].mean(), (first[:, 2] + third[:, 1]).mean() / 2], second[:, 1:].mean(axis=0), [np.nan] * 2]
    np.testing.assert_allclose(result.data["kinds"][1], np.array([list(one) for one in wanted]), rtol=1e-12)
    assert [(one["backbone"], one["part"], one["branches"]) for one in result.attrs["kinds"]] == [
        ("a", "attn", 2),
        ("a", "mlp", 1),
        ("b", "", 1),
    ]


def test_blocks_whose_skip_is_projected_are_named() -> None:
    """The later stages of `test_resnet`, of one block each, change grid and channels."""
    found, refused = residual_sums(load("test_resnet"))
    assert list(found) == ["layer1.0"]
    assert refused == dict.fromkeys(("layer2.0", "layer3.0", "layer4.0"), "nothing is added to its input as it is")


def test_what_has_no_residual_sums_is_refused() -> None:
    with pytest.raises(UsageError, match="has no residual sums"):
        residual_sums(load("tests.engine.analyses.test_residual:none"))


def test_branches_of_a_kind_are_compared_and_the_last_of_two_backbones() -> None:
    layers = [
        ResidualLayer(Layer("a", "blocks.0.attn"), "attn", ("patches", "class_token")),
        ResidualLayer(Layer("a", "blocks.0.mlp"), "mlp", ("patches", "class_token")),
        ResidualLayer(Layer("a", "blocks.1.attn"), "attn", ("patches", "class_token")),
        ResidualLayer(Layer("a", "blocks.1.mlp"), "mlp", ("patches", "class_token")),
        ResidualLayer(Layer("b", "stages.0"), "", ("patches",)),
    ]
    assert [(pair.first, pair.second) for pair in residual_pairs(layers)] == [(2, 0), (3, 1), (3, 4)]
    rng = np.random.default_rng(0)
    tables = [{one.layer: rng.random((5, len(one.measures))) for one in layers} for _ in range(3)]
    tables[1][layers[0].layer][2, 1] = np.nan
    result = summarise_residual(layers, tables, IntervalOptions(resamples=20))
    for i, one in enumerate(layers):
        values = np.concatenate([table[one.layer] for table in tables])
        found = result.data["layers"][1][i]
        np.testing.assert_allclose(found[: len(one.measures)], np.nanmean(values, axis=0), rtol=1e-12)
        assert np.isnan(found[len(one.measures) :]).all()
    assert result.data["layers_undefined"][1][0].tolist()[:2] == [0, 1]
