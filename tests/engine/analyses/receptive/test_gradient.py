"""Effective receptive fields: of convolution stacks by hand and within the geometric field, and of real networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cvbench.engine.analyses.receptive.gradient import (
    CURVE,
    MEASURES,
    Field,
    Output,
    cancelled_layers,
    field_numbers,
    measure_fields,
    position_gradients,
)
from cvbench.engine.models.backbones import Backbone, load_backbone, resolve_spec
from tests.engine.analyses.receptive.stacks import KERNELS, SIZE, weights

pytestmark = pytest.mark.usefixtures("one_thread")
F64 = NDArray[np.float64]
STACKS = "tests.engine.analyses.receptive.stacks"


def load(model: str, size: int | None = None, **options: str) -> Backbone:
    return load_backbone(resolve_spec(model, image_size=size, **options))  # type: ignore[arg-type]


def images(backbone: Backbone, count: int = 2) -> torch.Tensor:
    size = backbone.preprocess.geometry.size
    return torch.randint(0, 256, (count, 3, *size), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


def gradients(backbone: Backbone, shown: torch.Tensor, taps: list[str], output: Output = "sum") -> dict[str, F64]:
    found: dict[str, F64] = {}
    position_gradients(backbone, shown, taps, lambda tap, g: found.__setitem__(tap, g.double().numpy()), output)
    return found


def by_hand(depth: int) -> tuple[F64, tuple[int, int]]:
    """The gradient (3, h, w) of the middle of layer `depth` of the plain stack, back through each kernel; its grid."""
    sides = [SIZE]
    for _, stride in KERNELS[: depth + 1]:
        sides.append((-(-sides[-1][0] // stride), -(-sides[-1][1] // stride)))
    gradient = np.zeros((4, *sides[-1]))
    gradient[:, sides[-1][0] // 2, sides[-1][1] // 2] = 1
    for layer in reversed(range(depth + 1)):
        kernel, stride = KERNELS[layer]
        fan = 3 if layer == 0 else 4
        weight = weights(kernel, fan, 4).double().numpy() / (fan * kernel**2)
        below = np.zeros((fan, *sides[layer]))
        for row, column in np.argwhere(gradient.any(axis=0)):
            for y in range(kernel):
                for x in range(kernel):
                    down, across = row * stride + y - kernel // 2, column * stride + x - kernel // 2
                    if 0 <= down < sides[layer][0] and 0 <= across < sides[layer][1]:
                        below[:, down, across] += gradient[:, row, column] @ weight[:, :, y, x]
        gradient = below
    return gradient, sides[-1]


def geometric(depth: int) -> int:
    """The side of the geometric receptive field: 1 + sum (k - 1) times the strides before."""
    side, jump = 1, 1
    for kernel, stride in KERNELS[: depth + 1]:
        side, jump = side + (kernel - 1) * jump, jump * stride
    return side


def radius(energy: F64, middle: tuple[float, float], share: float) -> float:
    """Least distance within which a share of the energy (h, w) lies, by looking at every distance there is."""
    away = np.hypot(np.arange(energy.shape[0])[:, None] + 0.5 - middle[0], np.arange(energy.shape[1]) + 0.5 - middle[1])
    return next(float(r) for r in np.unique(away) if energy[away <= r].sum() >= share * energy.sum() * (1 - 1e-12))


@pytest.mark.parametrize("stack", ["plain", "rectified"])
def test_a_convolution_stack_is_that_by_hand_and_fills_its_geometric_field(stack: str) -> None:
    backbone = load(f"{STACKS}:{stack}")
    step = 1 if stack == "plain" else 2
    taps = [str(step * depth) for depth in range(len(KERNELS))]
    shown = images(backbone)
    found, numbers = gradients(backbone, shown, taps), measure_fields(backbone, shown, taps, "sum")
    for depth, tap in enumerate(taps):
        expected, grid = by_hand(depth)
        if stack == "plain" or depth == 0:  # a ReLU of positive and negative inputs closes some ways
            np.testing.assert_allclose(found[tap][0], expected, rtol=1e-5, atol=1e-9)
        field = Field(grid, SIZE)
        energy = np.abs(found[tap]).sum(axis=1)
        for image in range(2):
            values = dict(zip(MEASURES, numbers[tap][image].tolist(), strict=False))
            assert (values["rows"], values["columns"]) <= (geometric(depth), geometric(depth))
            if stack == "plain":
                assert (values["rows"], values["columns"]) == (geometric(depth), geometric(depth))
            for name, share, of in (
                ("radius_50", 0.5, energy),
                ("radius_95", 0.95, energy),
                ("radius_50_squared", 0.5, (found[tap] ** 2).sum(axis=1)),
                ("radius_95_squared", 0.95, (found[tap] ** 2).sum(axis=1)),
            ):
                assert values[name] == pytest.approx(radius(of[image], field.middle, share), rel=1e-6)


def test_signs_of_channels_stay_within_the_same_field() -> None:
    backbone = load(f"{STACKS}:plain")
    numbers = measure_fields(backbone, images(backbone, 1), ["3"], "signs")["3"][0]
    assert numbers[4:6].tolist() == [geometric(3)] * 2
    summed = measure_fields(backbone, images(backbone, 1), ["3"], "sum")["3"][0]
    assert not torch.equal(numbers, summed)


def test_numbers_of_known_gradients() -> None:
    field = Field((4, 6), (40, 60))
    assert field.middle == (25.0, 35.0)
    delta = torch.zeros((2, 3, 40, 60))
    delta[0, 1, 25, 35] = -2  # its middle lies half a pixel down and across
    found = field_numbers(delta, field)
    assert found[0, :4].tolist() == pytest.approx([np.hypot(0.5, 0.5)] * 4)
    assert found[0, 4:6].tolist() == [1, 1]
    assert found[0, 6:].tolist() == [1] * CURVE
    assert found[1, 4:6].tolist() == [0, 0]  # no gradient at all
    assert torch.isnan(found[1, [0, 1, 2, 3, *range(6, 6 + CURVE)]]).all()
    even = torch.ones((1, 3, 40, 60))
    energy = np.ones((40, 60))
    assert field_numbers(even, field)[0, 0].item() == radius(energy, field.middle, 0.5)
    assert field.uniform_radii() == (radius(energy, field.middle, 0.5), radius(energy, field.middle, 0.95))
    away = field.distances().numpy()
    shares = [(away <= r).mean() for r in field.curve().tolist()]
    np.testing.assert_allclose(field_numbers(even, field)[0, 6:], shares, rtol=1e-12)


def test_a_transformer_sees_all_patches_and_chunks_change_nothing() -> None:
    backbone = load("test_vit", 64, weights="random")
    shown = images(backbone, 5)  # more than one chunk
    found = measure_fields(backbone, shown, ["patch_embed", "blocks.0", "blocks.5"], "sum")
    assert found["patch_embed"][:, 4:6].tolist() == [[16, 16]] * 5  # one patch
    assert found["blocks.5"][:, 4:6].tolist() == [[64, 64]] * 5
    alone = measure_fields(backbone, shown[4:], ["blocks.5"], "sum")["blocks.5"]
    np.testing.assert_allclose(found["blocks.5"][4], alone[0], rtol=1e-4)
    assert not any(module._forward_hooks for module in backbone.network.modules())
    assert all(not parameter.requires_grad for parameter in backbone.network.parameters())


def test_gradients_are_those_of_the_network_in_float64() -> None:
    backbone = load("test_convnext", 64, weights="random")
    shown, tap = images(backbone), "stages.2.blocks.0"
    found = gradients(backbone, shown, ["stages.0.blocks.0", tap])[tap]
    inputs = backbone.inputs(shown).double().requires_grad_()
    taken: dict[str, torch.Tensor] = {}
    hook = backbone.network.get_submodule(tap).register_forward_hook(
        lambda _m, _i, output: taken.__setitem__(tap, output)
    )
    backbone.network.double()(inputs)
    hook.remove()
    layout = backbone.layouts([tap])[tap]
    score = taken[tap][:, :, layout.height // 2, layout.width // 2].sum()
    (expected,) = torch.autograd.grad(score, inputs)
    backbone.network.float()
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-4 * float(expected.abs().max()))


def test_channels_that_sum_to_a_constant_are_found() -> None:
    backbone = load(f"{STACKS}:normed")
    assert cancelled_layers(backbone, ["stem", "norm"]) == ["norm"]


def test_a_gradient_that_is_not_finite_has_no_radius() -> None:
    field = Field((2, 2), (8, 8))
    gradient = torch.ones((3, 3, 8, 8))
    gradient[0, 0, 0, 0], gradient[1, 1, 7, 7] = torch.nan, -torch.inf
    numbers = field_numbers(gradient, field)
    assert numbers[:2].isnan().all()
    assert numbers[2].isfinite().all()


def test_the_middle_of_tokens_in_an_order_of_their_own_is_the_middle() -> None:
    """Hiera's own way back to rows and columns says which token it is."""
    backbone, tap = load("hiera_tiny_224", weights="random"), "blocks.1"
    shown = images(backbone, 1)
    found = gradients(backbone, shown, [tap], "sum")[tap]
    inputs, taken = backbone.inputs(shown).requires_grad_(), list[torch.Tensor]()
    hook = backbone.network.get_submodule(tap).register_forward_hook(lambda _m, _i, output: taken.append(output))
    backbone.network(inputs)
    hook.remove()
    (expected,) = torch.autograd.grad(backbone.network.reroll(taken[0], 1)[:, 14, 14].sum(), inputs)
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("model", "tap"), [("nest_tiny", "levels.0.transformer_encoder.0"), ("selecsls42", "features.3.out0")]
)
def test_blocks_of_tokens_and_one_of_several_outputs_have_fields(model: str, tap: str) -> None:
    backbone = load(model, weights="random")
    numbers = measure_fields(backbone, images(backbone, 1), [tap], "signs")[tap]
    assert numbers.isfinite().all()
    assert 0 < numbers[0, 4] <= 224
