"""Attention of real small networks: that of their own softmax, whatever they compute it with; and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from cvbench.engine.analyses.attention.capture import attention_layers, measure_attention
from cvbench.engine.analyses.attention.kernel import Tokens
from cvbench.engine.models.backbones import Backbone, load_backbone, resolve_spec
from cvbench.errors import UsageError
from tests.engine.analyses.attention.test_kernel import reference

pytestmark = pytest.mark.usefixtures("one_thread")
SIZES = {"test_vit": 96, "test_vit2": 64, "test_vit3": 96, "eva02_tiny_patch14_224": 56}


@pytest.fixture(scope="module")
def load() -> Callable[[str], Backbone]:
    loaded: dict[str, Backbone] = {}

    def get(model: str) -> Backbone:
        if model not in loaded:
            size = SIZES.get(model)
            loaded[model] = load_backbone(resolve_spec(model, weights="random", image_size=size))
            _louder(loaded[model])
        return loaded[model]

    return get


def _louder(backbone: Backbone) -> None:
    """Random weights attend to everything alike: raise their logits, so that heads differ."""
    with torch.no_grad():
        for name, weight in backbone.network.named_parameters():
            if "attn" in name and any(part in name for part in ("qkv.weight", "q_proj.weight", "k_proj.weight")):
                weight *= 2


def images(backbone: Backbone, count: int = 2) -> torch.Tensor:
    size = backbone.preprocess.geometry.size
    noise = torch.randint(0, 256, (count, 3, *size), generator=torch.Generator().manual_seed(3))
    return noise.to(torch.uint8)


@pytest.mark.parametrize("model", SIZES)
@pytest.mark.parametrize("fused", [True, False])
def test_the_numbers_are_those_of_the_softmax_of_the_network(
    load: Callable[[str], Backbone], model: str, fused: bool
) -> None:
    """Of the same network in float64, whose weights are taken where its dropout of attention takes them."""
    backbone = load(model)
    layers, refused = attention_layers(backbone)
    assert not refused
    assert all(tap.endswith(".attn") for tap in layers)
    assert len(layers) == len(backbone.network.blocks)
    attentions = {tap: backbone.network.get_submodule(tap) for tap in layers}
    assert all(module.fused_attn for module in attentions.values())
    weights: dict[str, Any] = {}
    shown = images(backbone)
    try:
        for module in attentions.values():
            module.fused_attn = fused
        found = measure_attention(backbone, shown, {tap: one.heads for tap, one in layers.items()})
        inputs = backbone.inputs(shown).double()
        handles = []
        for tap, module in attentions.items():
            module.fused_attn = False
            hook = lambda _m, given, tap=tap: weights.__setitem__(tap, given[0].numpy())  # noqa: E731
            handles.append(module.attn_drop.register_forward_pre_hook(hook))
        with torch.no_grad():
            backbone.network.double()(inputs)
    finally:
        backbone.network.float()
        for handle in handles:
            handle.remove()
        for module in attentions.values():
            module.fused_attn = True
    for tap, one in layers.items():
        assert weights[tap].dtype == np.float64
        expected = reference(weights[tap], one.tokens)
        assert expected[..., 2].min() < 0.95 * np.log(one.tokens.count)  # heads that choose
        # The float32 network's own rounding lies between: some 1e-6 of logits of some tens.
        np.testing.assert_allclose(found[tap].numpy(), expected, rtol=1e-4, atol=5e-6, err_msg=tap)


def test_queries_and_keys_of_the_same_network_give_the_numbers_to_six_digits(load: Callable[[str], Backbone]) -> None:
    backbone = load("test_vit")
    layers, _ = attention_layers(backbone)
    shown, taken = images(backbone), dict[str, Any]()
    handles = [
        backbone.network.get_submodule(f"{tap}.qkv").register_forward_hook(
            lambda _m, _i, output, tap=tap: taken.__setitem__(tap, output.double().numpy())
        )
        for tap in layers
    ]
    found = measure_attention(backbone, shown, {tap: one.heads for tap, one in layers.items()})
    for handle in handles:
        handle.remove()
    for tap, one in layers.items():
        batch, count, width = taken[tap].shape
        channels = width // 3 // one.heads
        query, key, _ = taken[tap].reshape(batch, count, 3, one.heads, channels).transpose(2, 0, 3, 1, 4)
        logits = np.einsum("bhqc,bhkc->bhqk", query, key) / channels**0.5
        weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
        expected = reference(weights / weights.sum(axis=-1, keepdims=True), one.tokens)
        np.testing.assert_allclose(found[tap].numpy(), expected, rtol=1e-6, atol=1e-9)


def test_an_image_does_not_depend_on_its_batch(load: Callable[[str], Backbone]) -> None:
    backbone = load("test_vit2")
    layers, _ = attention_layers(backbone)
    taps = {tap: one.heads for tap, one in layers.items()}
    shown = images(backbone, 3)
    together, alone = measure_attention(backbone, shown, taps), measure_attention(backbone, shown[1:2], taps)
    for tap in taps:
        np.testing.assert_allclose(together[tap][1], alone[tap][0], rtol=1e-5)


def test_the_network_computes_what_it_does_without(load: Callable[[str], Backbone]) -> None:
    backbone, shown = load("test_vit"), images(load("test_vit"))
    with torch.no_grad():
        before = backbone.network(backbone.inputs(shown))
        measure_attention(backbone, shown, {"blocks.0.attn": 2})
        after = backbone.network(backbone.inputs(shown))
    assert torch.equal(before, after)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in backbone.network.modules())


def test_registers_are_no_class_token(load: Callable[[str], Backbone]) -> None:
    layers, _ = attention_layers(load("test_vit2"))
    assert layers["blocks.0.attn"].tokens == Tokens((4, 4), 1, False, (16.0, 16.0))
    layers, _ = attention_layers(load("test_vit"))
    assert layers["blocks.0.attn"].tokens.class_token


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("test_convnext", "no self-attention"),
        ("xcit_nano_12_p16_224", "queries attend"),
        ("cait_xxs24_224", "mixed after the softmax"),
    ],
)
def test_what_is_no_attention_over_the_grid_is_refused(load: Callable[[str], Backbone], model: str, why: str) -> None:
    with pytest.raises(UsageError) as refused:
        attention_layers(load(model))
    assert why in str(refused.value)


def test_layers_with_windows_are_named_and_the_others_measured(load: Callable[[str], Backbone]) -> None:
    layers, refused = attention_layers(load("swin_tiny_patch4_window7_224"))
    assert list(layers) == ["layers.3.blocks.0.attn", "layers.3.blocks.1.attn"]  # the grid is one window
    assert {why for tap, why in refused.items()} == {"it attends within windows or groups of positions"}
    assert all(one.tokens.grid == (7, 7) for one in layers.values())


def test_torchs_own_layer_is_read() -> None:
    backbone = load_backbone(resolve_spec("torchvision:vit_b_32", weights="random"))
    layers, refused = attention_layers(backbone)
    assert refused == {}
    assert list(layers) == [f"encoder.layers.encoder_layer_{i}.self_attention" for i in range(12)]
    shown = images(backbone, 1)
    kept: dict[str, torch.Tensor] = {}
    block = backbone.network.encoder.layers.encoder_layer_3.self_attention
    block.register_forward_pre_hook(lambda _m, inputs: kept.update(tokens=inputs[0]))
    found = measure_attention(backbone, shown, {name: heads.heads for name, heads in layers.items()})
    _, weights = block(*[kept["tokens"]] * 3, need_weights=True, average_attn_weights=False)
    expected = reference(weights.double().numpy(), layers["encoder.layers.encoder_layer_3.self_attention"].tokens)
    np.testing.assert_allclose(found["encoder.layers.encoder_layer_3.self_attention"], expected, rtol=1e-4, atol=1e-5)
