"""Maps made of the attention of all layers, against the papers' formulas in float64 on plain copies of the networks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cvbench.engine.analyses.cam.attended import attention_map
from cvbench.engine.analyses.cam.graph import class_map
from cvbench.engine.models.backbones import Backbone, load_backbone, resolve_spec
from cvbench.errors import UsageError

pytestmark = pytest.mark.usefixtures("one_thread")
NETWORKS = {
    "test_vit": 96,  # a class token, which the head reads
    "test_vit3": 96,  # pools by attention to all tokens; queries and keys are normalised
    "eva02_tiny_patch14_336": 56,  # rotary embeddings, class token and mean over patches
    "deit3_small_patch16_224": 48,
}
ROUNDING = 3e-4
"""Of the largest value: float32 through some ten layers, whose sharpened softmax makes more of it."""


@pytest.fixture(scope="module")
def load() -> Callable[[str], Backbone]:
    loaded: dict[str, Backbone] = {}

    def get(model: str) -> Backbone:
        if model not in loaded:
            loaded[model] = load_backbone(resolve_spec(model, weights="random", image_size=NETWORKS.get(model)))
            _louder(loaded[model])
        return loaded[model]

    return get


def _louder(backbone: Backbone) -> None:
    """Random weights attend to everything alike: raise them, so that tokens differ; a head of zeros says nothing."""
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, weight in backbone.network.named_parameters():
            if "attn" in name and weight.ndim == 2:
                weight *= 4
            if name.startswith("head") and weight.ndim == 2:
                weight.copy_(torch.randn(weight.shape, generator=draw) / 8)


def pictures(backbone: Backbone, count: int = 2) -> Tensor:
    size = backbone.preprocess.geometry.size
    noise = torch.randint(0, 256, (count, 3, *size), generator=torch.Generator().manual_seed(3))
    return noise.to(torch.uint8)


def plain(backbone: Backbone, images: Tensor) -> tuple[list[Tensor], list[Tensor], Any]:
    """Attentions (B, h, T, T) with their graph and tokens (B, T, C) of each block, in float64; and the network.

    The network is timm's own with its unfused softmax, as timm itself writes it; a block's tokens are cut from the
    graph of the blocks before it.
    """
    model = copy.deepcopy(backbone.network).double()
    attentions: list[Tensor] = []
    tokens: list[Tensor] = []
    for block in model.blocks:
        block.attn.fused_attn = False
        # Right behind the softmax timm calls this dropout, which does nothing here.
        block.attn.attn_drop.register_forward_hook(lambda _m, _i, out: attentions.append(out))
        block.register_forward_pre_hook(lambda _m, inputs: (inputs[0].detach().requires_grad_(), *inputs[1:]))
        block.register_forward_hook(lambda _m, _i, out: tokens.append(out))
    mean, std = (
        torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (backbone.preprocess.mean, backbone.preprocess.std)
    )
    with torch.enable_grad():
        model((images.double() / 255 - mean) / std)
    return attentions, tokens, model


def head(model: Any, tokens: Tensor) -> Tensor:
    found: Tensor = model.forward_head(model.norm(tokens))
    return found


@pytest.mark.parametrize("model", NETWORKS)
def test_rollout_is_the_product_of_the_papers_matrices(load: Callable[[str], Backbone], model: str) -> None:
    backbone = load(model)
    images = pictures(backbone)
    attentions, _, network = plain(backbone, images)
    rows, columns = (
        size // patch for size, patch in zip(images.shape[2:], network.patch_embed.patch_size, strict=True)
    )
    prefix = network.num_prefix_tokens
    read = {"token": slice(0, 1), "avg": slice(prefix, None), "map": slice(0, None)}[network.global_pool]
    expected = []
    for i in range(len(images)):
        total = np.eye(attentions[0].shape[-1])
        for attention in attentions:
            mixed = 0.5 * attention[i].detach().numpy().mean(axis=0) + 0.5 * np.eye(len(total))
            total = (mixed / mixed.sum(axis=1, keepdims=True)) @ total
        expected.append(total[read].mean(axis=0)[prefix:].reshape(rows, columns))
    found, logits, _ = attention_map(backbone, "rollout", images)
    np.testing.assert_allclose(found.numpy(), np.stack(expected), rtol=0, atol=ROUNDING * np.max(expected))
    assert expected[0].std() > 0.01 * expected[0].mean(), "the maps are flat: this compares nothing"
    plainly = backbone.network(backbone.inputs(images))
    torch.testing.assert_close(logits, plainly, rtol=0, atol=ROUNDING * float(plainly.abs().max()))


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize("classes", [None, [3, 999]])
def test_legrad_is_the_papers_gradient_of_each_block(
    load: Callable[[str], Backbone], model: str, classes: list[int] | None
) -> None:
    backbone = load(model)
    images = pictures(backbone)
    attentions, tokens, network = plain(backbone, images)
    picked = head(network, tokens[-1]).argmax(dim=1).tolist() if classes is None else classes
    total: Any = 0.0
    for attention, behind in zip(attentions, tokens, strict=True):
        score = head(network, behind)[torch.arange(len(images)), picked].sum()
        (gradient,) = torch.autograd.grad(score, attention)
        total = total + np.maximum(gradient.numpy(), 0).mean(axis=(1, 2)) / len(tokens)
    expected = total[:, network.num_prefix_tokens :]
    found, _, of = attention_map(backbone, "legrad", images, None if classes is None else torch.tensor(classes))
    assert of.tolist() == picked
    np.testing.assert_allclose(found.flatten(1).numpy(), expected, rtol=0, atol=ROUNDING * expected.max())
    assert expected.max() > 0


def test_a_class_of_another_index_has_another_map_and_rollout_knows_none(load: Callable[[str], Backbone]) -> None:
    backbone = load("test_vit")
    images = pictures(backbone)
    one, two = (class_map(backbone, "blocks.5", "legrad", images, torch.tensor([k, k])).raw for k in (3, 7))
    assert not torch.allclose(one, two)
    one, two = (class_map(backbone, "blocks.5", "rollout", images, torch.tensor([k, k])).raw for k in (3, 7))
    assert torch.equal(one, two)


@pytest.mark.parametrize("method", ["rollout", "legrad"])
def test_an_image_does_not_depend_on_its_batch(load: Callable[[str], Backbone], method: str) -> None:
    backbone = load("test_vit")
    images = pictures(backbone, 3)
    together = class_map(backbone, "blocks.5", method, images).raw
    apart = torch.cat([class_map(backbone, "blocks.5", method, images[i : i + 1]).raw for i in range(3)])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-6 * float(together.max()))


@pytest.mark.parametrize("method", ["rollout", "legrad"])
def test_torchs_own_attention_layers_are_read(method: str) -> None:
    """A ViT of torchvision is one of timm under other names: the same weights give the same maps."""
    theirs = load_backbone(resolve_spec("torchvision:vit_b_16", weights="random"))
    ours = load_backbone(resolve_spec("deit_base_patch16_224", weights="random"))
    state = {}
    for name, value in theirs.network.state_dict().items():
        name = name.replace("encoder.layers.encoder_layer_", "blocks.").replace("class_token", "cls_token")
        for old, new in (
            ("self_attention.in_proj_", "attn.qkv."),
            ("self_attention.out_proj", "attn.proj"),
            ("ln_1", "norm1"),
            ("ln_2", "norm2"),
            ("mlp.0", "mlp.fc1"),
            ("mlp.3", "mlp.fc2"),
            ("encoder.pos_embedding", "pos_embed"),
            ("encoder.ln", "norm"),
            ("conv_proj", "patch_embed.proj"),
            ("heads.head", "head"),
        ):
            name = name.replace(old, new)
        state[name] = value
    draw = torch.Generator().manual_seed(1)
    state["head.weight"] = torch.randn(state["head.weight"].shape, generator=draw) / 8  # torchvision begins with zeros
    ours.network.load_state_dict(state)
    with torch.no_grad():
        theirs.network.heads.head.weight.copy_(state["head.weight"])
    images = pictures(theirs, 1)
    one, two = (attention_map(backbone, method, images) for backbone in (theirs, ours))
    torch.testing.assert_close(one[1], two[1], rtol=0, atol=1e-3)
    torch.testing.assert_close(one[0], two[0], rtol=0, atol=1e-3 * float(two[0].max()))


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("test_convnext", "its blocks do not all give the same patch tokens"),
        ("swin_s3_tiny_224", "its blocks do not all give the same patch tokens"),
        ("vit_srelpos_small_patch16_224", ""),
        ("mixer_s32_224", "it computes no attention that can be read"),
    ],
)
def test_other_networks_are_refused_with_the_reason(model: str, why: str) -> None:
    backbone = load_backbone(resolve_spec(model, weights="random"))
    if not why:  # a relative bias is a mask of the fused kernel: that is read
        assert attention_map(backbone, "rollout", pictures(backbone, 1))[0].shape == (1, 14, 14)
        return
    with pytest.raises(UsageError, match="is for transformers whose blocks") as caught:
        attention_map(backbone, "rollout", pictures(backbone, 1))
    assert caught.value.why is not None
    assert why in caught.value.why
    assert caught.value.fix is not None
    assert "gradcam" in caught.value.fix


def test_another_precision_is_refused(load: Callable[[str], Backbone]) -> None:
    backbone = load_backbone(resolve_spec("test_vit", weights="random"), precision="bf16")
    with pytest.raises(UsageError, match="float32"):
        attention_map(backbone, "legrad", pictures(backbone))


def test_nothing_is_left_behind(load: Callable[[str], Backbone]) -> None:
    backbone = load("test_vit")
    images = pictures(backbone)
    attention_map(backbone, "legrad", images)
    assert torch.is_grad_enabled()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in backbone.network.modules())
