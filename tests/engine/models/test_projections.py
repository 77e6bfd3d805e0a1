"""Queries, keys and values that no module gives: against what attention makes of them in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cvbench.engine.analyses.cam.graph import trace
from cvbench.engine.analyses.receptive.gradient import position_gradients
from cvbench.engine.models.backbones import Backbone, Request, describe, load_backbone, resolve_spec
from cvbench.engine.models.own_models import OwnModel
from cvbench.errors import UsageError

HERE = "tests.engine.models.test_projections"


def load(model: str, size: int | None = None, **options: Any) -> Backbone:
    own = model.startswith(HERE)
    backbone = load_backbone(resolve_spec(model, weights="pretrained" if own else "random", image_size=size), **options)
    draw = torch.Generator().manual_seed(0)
    for name, values in backbone.network.named_parameters():
        if "bias" in name:  # random ones are 0, and then none would be missed
            values.data = torch.randn(values.shape, generator=draw)
        if "in_proj_weight" in name or "qkv.weight" in name:
            values.data *= 2
    return backbone


def images(backbone: Backbone, count: int = 2) -> Tensor:
    size = backbone.preprocess.geometry.size
    return torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def kept(backbone: Backbone, layer: str, shown: Tensor) -> list[np.ndarray[Any, Any]]:
    """(B, prefix + H * W, C) float64 queries, keys and values, from the views that a store keeps of them."""
    views, taps = ["maps"], [f"{layer}.{letter}" for letter in "qkv"]
    layouts = backbone.layouts(taps)
    if layouts[taps[0]].class_token:
        views.append("cls")
    found = backbone.run(shown, [Request(view, tap) for tap in taps for view in views], dtype="float32")
    tokens = [
        torch.cat([found[Request(view, tap)].reshape(len(shown), -1, layouts[tap].channels) for view in views[::-1]], 1)
        for tap in taps
    ]
    return [one.double().numpy() for one in tokens]


def read_by(backbone: Backbone, layer: str, shown: Tensor) -> tuple[Any, Tensor]:
    """The layer in float64, and what it reads of these images, computed in float64 up to there."""
    network = backbone.network.double()
    module, read = network.get_submodule(layer), list[Tensor]()
    handle = module.register_forward_pre_hook(
        lambda _m, given, named: read.append((*given, *named.values())[0]), with_kwargs=True
    )
    with torch.no_grad():
        network(backbone.inputs(shown).double())
    handle.remove()
    return module, read[0]


def heads(tokens: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    return tokens.reshape(*tokens.shape[:2], count, -1).transpose(0, 2, 1, 3)


def softmax(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def attended(found: list[Any], count: int, bias: Any = 0.0) -> tuple[Any, Any]:
    """(B, heads, T, T) weights, and (B, T, C): what attention makes of them before its last layer."""
    q, k, v = (heads(one, count) for one in found)
    weights = softmax(np.einsum("bhqc,bhkc->bhqk", q, k) / q.shape[-1] ** 0.5 + bias)
    mixed = np.einsum("bhqk,bhkc->bqhc", weights, v)
    return weights, mixed.reshape(*mixed.shape[:2], -1)


class Own(nn.Module):
    """Torch's attention on a class token, a register and 2 x 3 patches: by name, of other widths, turned, pooling."""

    num_prefix_tokens = 2

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.cls_token = nn.Parameter(torch.randn(1, 2, 16))
        self.named = nn.MultiheadAttention(16, 4, batch_first=True)
        self.narrow = nn.MultiheadAttention(16, 2, kdim=16, vdim=10, batch_first=True)
        self.turned = nn.MultiheadAttention(16, 2)
        self.pooling = nn.MultiheadAttention(16, 2, batch_first=True)
        self.norm = nn.LayerNorm(16)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        x = x + self.named(value=x, query=x, key=x)[0]
        x = x + self.narrow(x, x, value=x[..., :10], need_weights=False)[0]
        turned = x.transpose(0, 1)
        x = self.norm(x + self.turned(turned, turned, turned)[0].transpose(0, 1))
        return torch.as_tensor(self.pooling(self.cls_token[:, :1].expand(len(x), -1, -1), x, x)[0][:, 0])


def own() -> OwnModel:
    torch.manual_seed(0)
    return OwnModel(Own(), size=(16, 24), grid=(2, 3), stages=("patches", "norm"))


@pytest.mark.parametrize(
    ("model", "layer"),
    [
        ("torchvision:vit_b_32", "encoder.layers.encoder_layer_1.self_attention"),
        ("open_clip:ViT-B-32/openai", "transformer.resblocks.1.attn"),
        (f"{HERE}:own", "named"),
    ],
)
def test_of_torchs_layer_they_make_its_weights_and_its_output(model: str, layer: str) -> None:
    backbone = load(model)
    shown = images(backbone)
    found = kept(backbone, layer, shown)
    if model.endswith("own"):  # the register, which is in no view of the two
        found = [
            np.insert(one, 1, register[:, 0], axis=1) for one, register in zip(found, registers(backbone), strict=True)
        ]
    module, read = read_by(backbone, layer, shown)
    with torch.no_grad():
        output, expected = module(read, read, read, average_attn_weights=False)
    weights, mixed = attended(found, module.num_heads)
    assert expected.std() > 0.02 / expected.shape[-1]  # heads that choose
    np.testing.assert_allclose(weights, expected.numpy(), rtol=1e-3, atol=1e-6)
    made = module.out_proj(torch.from_numpy(mixed)).detach().numpy()
    np.testing.assert_allclose(made, output.numpy(), rtol=1e-4, atol=1e-5 * np.abs(made).max())


def registers(backbone: Backbone) -> list[Any]:
    requests = [Request("registers", f"named.{letter}") for letter in "qkv"]
    return [one.double().numpy() for one in backbone.run(images(backbone), requests, dtype="float32").values()]


class _Watch(TorchFunctionMode):
    """What one attention, the `which`-th, is given, or gives behind a softmax of its own."""

    def __init__(self, which: int) -> None:
        super().__init__()
        self.which, self.given, self.weights = which, list[tuple[Tensor, ...]](), list[Tensor]()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func is nn.functional.scaled_dot_product_attention:
            self.given.append(args[:3])
        if func in (nn.functional.softmax, Tensor.softmax):
            self.weights.append(output)
        return output


def watched(backbone: Backbone, shown: Tensor, which: int) -> tuple[list[Any], list[Any]]:
    """Queries, keys and values of the fused kernel, and weights of softmaxes, of the network in float64."""
    with _Watch(which) as watch, torch.no_grad():
        backbone.network.double()(backbone.inputs(shown).double())
    given = [one.numpy() for one in watch.given[which]] if watch.given else []
    return given, [one.numpy() for one in watch.weights]


def turned(tokens: Any, angles: Any) -> Any:
    """Each pair of channels turned by its angle (Su et al. 2021), (B, heads, T, C) and (T, C / 2)."""
    even, odd = tokens[..., ::2], tokens[..., 1::2]
    found = np.empty_like(tokens)
    found[..., ::2] = even * np.cos(angles) - odd * np.sin(angles)
    found[..., 1::2] = odd * np.cos(angles) + even * np.sin(angles)
    return found


def test_evas_are_those_of_its_kernel_before_they_are_turned() -> None:
    """The class token's are never turned; those of patches are, and values are not."""
    backbone = load("eva02_tiny_patch14_224", 56)
    shown = images(backbone)
    found = [heads(one, 3) for one in kept(backbone, "blocks.2.attn", shown)]
    given, _ = watched(backbone, shown, 2)
    sines, cosines = backbone.network.rope.get_embed().double().numpy().reshape(16, 2, -1).transpose(1, 0, 2)
    angles = np.arctan2(sines, cosines)[:, ::2]
    for tokens, expected, turns in zip(found, given, (angles, angles, 0 * angles), strict=True):
        size = np.abs(expected).max()
        assert np.abs(expected[:, :, 1:] - tokens[:, :, 1:]).max() > 0.1 * size or not turns.any()
        np.testing.assert_allclose(tokens[:, :, :1], expected[:, :, :1], atol=1e-5 * size)
        np.testing.assert_allclose(turned(tokens[:, :, 1:], turns), expected[:, :, 1:], atol=1e-5 * size)


def test_beits_are_what_its_kernel_is_given() -> None:
    backbone = load("beit_base_patch16_224")
    shown = images(backbone, 1)
    found, (given, _) = kept(backbone, "blocks.2.attn", shown), watched(backbone, shown, 2)
    for tokens, expected in zip(found, given, strict=True):
        np.testing.assert_allclose(heads(tokens, expected.shape[1]), expected, atol=2e-5 * np.abs(expected).max())


def test_of_a_window_as_large_as_the_grid_they_make_its_weights() -> None:
    backbone, layer = load("swin_tiny_patch4_window7_224"), "layers.3.blocks.1.attn"
    shown = images(backbone, 1)
    found, (_, weights) = kept(backbone, layer, shown), watched(backbone, shown, 11)
    bias = backbone.network.get_submodule(layer)._get_rel_pos_bias().detach().numpy()[0]
    made, _ = attended(found, 24, bias)
    np.testing.assert_allclose(made, weights[11], rtol=1e-3, atol=1e-6)


def test_a_window_as_large_as_the_grid_has_its_tokens_row_by_row() -> None:
    """Swin V2's last stage reads its block's input, whose grid nothing has cut yet."""
    backbone = load("swinv2_tiny_window8_256")
    shown = images(backbone, 1)
    found = kept(backbone, "layers.3.blocks.1.attn", shown)
    block, grid = read_by(backbone, "layers.3.blocks.1", shown)
    matrix, zero = block.attn.qkv.weight.detach(), torch.zeros_like(block.attn.q_bias)
    biases = (block.attn.q_bias, zero, block.attn.v_bias)
    for of, (tokens, bias) in enumerate(zip(found, biases, strict=True)):
        rows = matrix[768 * of : 768 * (of + 1)]
        expected = (torch.einsum("bhwc,dc->bhwd", grid, rows) + bias).detach().flatten(1, 2).numpy()
        np.testing.assert_allclose(tokens, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("model", ["torchvision:swin_t", "torchvision:swin_v2_t"])
def test_those_of_the_grid_make_the_weights_of_every_window(model: str) -> None:
    backbone = load(model, 64)
    shown, layer = images(backbone, 1), "features.1.0.attn"
    layout = backbone.layouts([f"{layer}.q"])[f"{layer}.q"]
    queries, keys, _ = (one.reshape(layout.height, layout.width, -1) for one in kept(backbone, layer, shown))
    _, weights = watched(backbone, shown, 0)
    module = backbone.network.get_submodule(layer)
    edge, count = module.window_size[0], module.num_heads
    bias = module.get_relative_position_bias().detach().numpy()[0]
    for number in (0, 3):  # the first window of each of the first two rows of windows
        row, column = divmod(number, -(-layout.width // edge))
        part = slice(row * edge, (row + 1) * edge), slice(column * edge, (column + 1) * edge)
        q, k = (heads(one[part].reshape(1, edge * edge, -1), count)[0] for one in (queries, keys))
        if "v2" in model:
            q, k = (one / np.linalg.norm(one, axis=-1, keepdims=True) for one in (q, k))
            scale = module.logit_scale.detach().exp().numpy()
        else:
            scale = q.shape[-1] ** -0.5
        expected = softmax(np.einsum("hqc,hkc->hqk", q, k) * scale + bias)
        np.testing.assert_allclose(weights[0][number], expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "tap", "why"),
    [
        ("swin_tiny_patch4_window7_224", "layers.0.blocks.1.attn.q", "each window or group has tokens of its own"),
        ("swinv2_tiny_window8_256", "layers.1.blocks.0.attn.k", "each window or group has tokens of its own"),
        ("swin_tiny_patch4_window7_224", "layers.0.blocks.1.attn.qkv", "(128, 49, 288) for 2 images"),
        (f"{HERE}:own", "turned.v", "batch_first=False"),
        (f"{HERE}:own", "pooling.q", "its queries are of other tokens than its keys"),
    ],
)
def test_what_has_no_tokens_of_a_whole_image_is_refused_in_words(model: str, tap: str, why: str) -> None:
    spec = resolve_spec(model, weights="pretrained" if model.startswith(HERE) else "random")
    assert tap not in describe(spec, taps=["blocks"]).tap_names
    with pytest.raises(UsageError, match=f"{tap} can be no tap") as caught:
        describe(spec, taps=[tap])
    assert why in (caught.value.why or "")


def test_keys_of_other_widths_and_arguments_by_name_are_read() -> None:
    backbone = load(f"{HERE}:own")
    found = describe(backbone.spec, taps=["n*.[qkv]"])
    layouts = [found.layouts[f"narrow.{letter}"] for letter in "qkv"]
    assert [(one.height, one.width, one.channels, one.prefix, one.class_token) for one in layouts] == [
        (2, 3, 16, 2, True)
    ] * 3
    shown = images(backbone)
    requests = [Request("maps", f"narrow.{letter}") for letter in "qkv"]
    made = [one.double() for one in backbone.run(shown, requests, dtype="float32").values()]
    module, read = read_by(backbone, "narrow", shown)
    matrices = module.q_proj_weight, module.k_proj_weight, module.v_proj_weight
    for of, (values, matrix) in enumerate(zip(made, matrices, strict=True)):
        given = read[..., :10] if of == 2 else read
        expected = given @ matrix.T + module.in_proj_bias[16 * of : 16 * (of + 1)]
        torch.testing.assert_close(values.flatten(1, 2), expected[:, 2:].detach(), rtol=1e-4, atol=1e-5)


def test_they_change_no_place_of_the_other_taps_and_are_no_blocks() -> None:
    found = describe(resolve_spec("torchvision:vit_b_32", weights="random"), taps=["blocks"])
    assert len(found.layouts) == 12
    others = [name for name in found.tap_names if not name.endswith(("attention.q", "attention.k", "attention.v"))]
    assert [found.places[name] for name in others] == list(range(len(others)))
    layer = "encoder.layers.encoder_layer_3.self_attention"
    assert {found.places[f"{layer}.{letter}"] for letter in "qkv"} == {found.places[layer]}


def test_what_needs_them_to_flow_on_is_refused_and_a_gradient_is_theirs() -> None:
    backbone = load("torchvision:vit_b_32", 64)
    shown, layer = images(backbone, 1), "encoder.layers.encoder_layer_2.self_attention"
    with pytest.raises(UsageError, match="can be kept and not replaced"):
        trace(backbone, f"{layer}.q", shown)
    found: dict[str, Tensor] = {}
    position_gradients(backbone, shown, [f"{layer}.k"], found.__setitem__)
    inputs, read = backbone.inputs(shown).requires_grad_(), list[Tensor]()
    module = backbone.network.get_submodule(layer)
    handle = module.register_forward_pre_hook(lambda _m, given: read.append(given[0]))
    backbone.network(inputs)
    handle.remove()
    score = (read[0][0, 1 + 2 + 1] @ module.in_proj_weight[768:1536].T).sum()  # a grid of 2 x 2, its middle the last
    (expected,) = torch.autograd.grad(score, inputs)
    assert expected.abs().max() > 0
    torch.testing.assert_close(found[f"{layer}.k"], expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_compiled_they_are_those_of_a_plain_pass() -> None:
    plain = load("torchvision:vit_b_32", 64)
    other = load("torchvision:vit_b_32", 64, compiled=True)
    shown = images(plain)
    requests = [Request("maps", f"encoder.layers.encoder_layer_1.self_attention.{letter}") for letter in "qv"]
    expected, found = (one.run(shown, requests, dtype="float32") for one in (plain, other))
    for request in requests:
        torch.testing.assert_close(found[request], expected[request], rtol=1e-4, atol=1e-4)
