"""Attention of networks that are no plain ViT of timm: other layers, shared keys, another order of tokens, channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cvbench.engine.analyses.attention.capture import attention_layers, measure_attention
from cvbench.engine.analyses.attention.kernel import Tokens
from cvbench.engine.models.backbones import Backbone, load_backbone, resolve_spec
from cvbench.errors import UsageError
from tests.engine.analyses.attention.nets import GRID, HEADS, WIDTH
from tests.engine.analyses.attention.test_kernel import reference


def load(model: str, size: int | None = None) -> Backbone:
    return load_backbone(resolve_spec(model, weights="pretrained" if ":" in model else "random", image_size=size))


def images(backbone: Backbone, count: int = 2) -> torch.Tensor:
    size = backbone.preprocess.geometry.size
    return torch.randint(0, 256, (count, 3, *size), generator=torch.Generator().manual_seed(5)).to(torch.uint8)


def softmax(logits: Any) -> Any:
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def test_torchs_own_layers_with_masks_and_shared_keys_are_those_in_float64() -> None:
    backbone = load("tests.engine.analyses.attention.nets:net")
    layers, refused = attention_layers(backbone)
    assert not refused
    tokens = Tokens(GRID, 5, True, (14.0, 14.0))
    assert [(tap, one.heads, one.tokens) for tap, one in layers.items()] == [
        (tap, HEADS, tokens) for tap in ("blocks.0.self_attn", "blocks.1.inner", "blocks.2")
    ]
    shown = images(backbone)
    found = measure_attention(backbone, shown, dict.fromkeys(layers, HEADS))
    network, inputs, given = backbone.network.double(), backbone.inputs(shown).double(), dict[str, torch.Tensor]()
    handles = [
        network.blocks[i].register_forward_pre_hook(lambda _m, x, i=i: given.__setitem__(f"{i}", x[0]))
        for i in range(3)
    ]
    with torch.no_grad():
        network(inputs)
        unseen = network.blocks[1].mask(tokens.count)
        attentions = (network.blocks[0].self_attn, None), (network.blocks[1].inner, unseen)
        weights = [
            module(*[given[f"{i}"]] * 3, attn_mask=mask, average_attn_weights=False)[1].numpy()
            for i, (module, mask) in enumerate(attentions)
        ]
        queries, keys = (one.numpy() for one in network.blocks[2].heads(given["2"]))
    for handle in handles:
        handle.remove()
    logits = np.einsum("bhqc,bhkc->bhqk", queries, keys.repeat(2, axis=1)) / (WIDTH // HEADS) ** 0.5
    assert not weights[1][:, :, 1, 2:].any()
    for tap, expected in zip(layers, [*weights, softmax(logits)], strict=True):
        np.testing.assert_allclose(found[tap].numpy(), reference(expected, tokens), rtol=1e-4, atol=1e-5, err_msg=tap)


def test_tokens_in_an_order_of_their_own_are_where_they_are() -> None:
    """Hiera's lie unit by unit; where each is, its own unrolling of the coordinates says."""
    backbone, tap = load("hiera_tiny_224"), "blocks.4.attn"
    with torch.no_grad():
        backbone.network.get_submodule(f"{tap}.qkv").weight *= 8
    layers, refused = attention_layers(backbone)
    assert "blocks.0.attn" in refused
    taken: list[torch.Tensor] = []
    hook = backbone.network.get_submodule(f"{tap}.qkv").register_forward_hook(lambda _m, _i, o: taken.append(o))
    found = measure_attention(backbone, images(backbone), {tap: layers[tap].heads})[tap].numpy()
    hook.remove()
    grid, heads = (14, 14), layers[tap].heads
    qkv = taken[0].double().numpy()
    queries, keys, _ = qkv.reshape(len(qkv), 196, 3, heads, -1).transpose(2, 0, 3, 1, 4)
    weights = softmax(np.einsum("bhqc,bhkc->bhqk", queries, keys) / queries.shape[-1] ** 0.5)
    rows, columns = np.divmod(np.arange(56 * 56), 56)
    places = backbone.network.unroll(torch.tensor(np.stack([rows, columns], axis=1))[None].float())[0].numpy()
    cells = places.reshape(16, 196, 2).min(axis=0) // 4  # two poolings of 2 x 2 take the first two factors
    order = np.argsort(cells[:, 0] * 14 + cells[:, 1])
    assert not np.array_equal(order, np.arange(196))
    in_rows = weights[:, :, order][..., order]
    expected = reference(in_rows, Tokens(grid, 0, False, (16.0, 16.0)))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.abs(reference(weights, Tokens(grid, 0, False, (16.0, 16.0)))[..., 0] / expected[..., 0] - 1).max() > 0.01


def test_attention_over_as_many_channels_as_positions_is_none_over_positions() -> None:
    """XCiT's heads have 64 channels, and 128 pixels have 64 patches."""
    with pytest.raises(UsageError):
        attention_layers(load("xcit_medium_24_p16_224", 128))


def test_heads_of_as_many_channels_as_positions_are_measured() -> None:
    layers, refused = attention_layers(load("vit_medium_patch16_gap_240", 128))  # 64 of both
    assert len(layers) == 12
    assert not refused
