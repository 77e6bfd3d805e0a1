from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from torch.overrides import TorchFunctionMode

from cvbench.engine.models.backbones import Request, load_backbone, resolve_spec
from cvbench.engine.models.layouts import TapLayout, token_layout
from cvbench.engine.models.networks import Network
from cvbench.engine.models.taps import TapTable, trace_taps
from cvbench.engine.models.timm_models import timm_network
from cvbench.errors import UnknownNameError, UsageError


def table(model: str, size: tuple[int, int] = (64, 64), **options: Any) -> TapTable:
    def build(wanted: tuple[int, int]) -> Network:
        sized: dict[str, Any] = {"img_size": wanted} if "vit" in model else {}
        with torch.device("meta"):
            return timm_network(timm.create_model(model, **sized, **options).eval(), None)

    return trace_taps(build, size)


@pytest.fixture(scope="module")
def convnext() -> TapTable:
    return table("test_convnext")


@pytest.fixture(scope="module")
def vit() -> TapTable:
    return table("test_vit", (32, 64))


def test_convnext_blocks_and_convolutions_in_order(convnext: TapTable) -> None:
    names = [f"stages.{stage}.blocks.{block}" for stage, depth in enumerate((1, 2, 4, 2)) for block in range(depth)]
    assert convnext.resolve(["blocks"]) == names
    assert convnext.resolve(["paper"]) == [f"{name}.conv_dw" for name in names]
    assert convnext.resolve(["branches"]) == [f"{name}.{part}" for name in names for part in ("conv_dw", "mlp")]


def test_vit_blocks_and_attention_in_order(vit: TapTable) -> None:
    assert vit.resolve(["blocks"]) == [f"blocks.{i}" for i in range(6)]
    assert vit.resolve(["paper"]) == [f"blocks.{i}.attn" for i in range(6)]
    assert vit.resolve(["branches"]) == [f"blocks.{i}.{part}" for i in range(6) for part in ("attn", "mlp")]
    scaled = table("test_vit3").resolve(["branches"])
    assert scaled[:4] == ["blocks.0.attn", "blocks.0.ls1", "blocks.0.mlp", "blocks.0.ls2"]


def test_queries_keys_and_values_are_taps_behind_their_layer(vit: TapTable) -> None:
    names = list(vit.layouts)
    at = names.index("blocks.0.attn.qkv")
    assert names[at : at + 4] == ["blocks.0.attn.qkv", *(f"blocks.0.attn.{letter}" for letter in "qkv")]
    for letter in "qkv":
        assert vit.layouts[f"blocks.0.attn.{letter}"] == replace(vit.layouts["blocks.0.attn.qkv"], channels=64)
    without = {name: place for name, place in vit.places().items() if name[-2:] not in (".q", ".k", ".v")}
    assert [*without.values()] == list(range(len(without)))  # as stores keep them that were begun before
    assert {vit.places()[f"blocks.3.attn.{letter}"] for letter in "qkv"} == {without["blocks.3.attn.qkv"]}
    assert vit.resolve(["blocks.*.attn.k"]) == [f"blocks.{i}.attn.k" for i in range(6)]


@pytest.mark.parametrize("model", ["test_vit", "xcit_nano_12_p16_224", "cait_xxs24_224"])
def test_queries_keys_and_values_are_what_the_attention_takes(model: str) -> None:
    """Against the rows of the layer's matrix that make them, in float64."""
    size = None if model != "test_vit" else 32
    backbone = load_backbone(resolve_spec(model, weights="random", image_size=size))
    edges = backbone.preprocess.geometry.size
    images = torch.randint(0, 256, (2, 3, *edges), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    fused = next(name for name in backbone.tap_names() if name.endswith(".qkv"))
    attention = fused.rpartition(".")[0]
    taps = [f"{attention}.{letter}" for letter in "qkv"]
    found = backbone.run(images, [Request("maps", tap) for tap in taps], dtype="float32")
    layer = backbone.network.get_submodule(fused)
    read: list[torch.Tensor] = []
    layer.register_forward_pre_hook(lambda _part, inputs: read.append(inputs[0].double()))
    with torch.no_grad():
        backbone.network(backbone.inputs(images))
    for place, tap in enumerate(taps):
        layout = backbone.layouts([tap])[tap]
        rows = slice(place * layout.channels, (place + 1) * layout.channels)
        bias = None if layer.bias is None else layer.bias[rows].double()
        tokens = torch.nn.functional.linear(read[0], layer.weight[rows].double(), bias)[:, layout.prefix :]
        made = found[Request("maps", tap)].flatten(1, 2).double()
        torch.testing.assert_close(made, tokens, rtol=1e-4, atol=1e-4 * float(tokens.abs().max()))


def test_the_split_is_that_of_the_softmax() -> None:
    """Queries and keys, as they are kept, give the products that the network's own kernel is given."""
    backbone = load_backbone(resolve_spec("test_vit", weights="random", image_size=32))
    given: list[torch.Tensor] = []
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.nn.functional.scaled_dot_product_attention and not given:
                given.extend(args[:3])
            return func(*args, **(kwargs or {}))

    with Watch(), torch.no_grad():
        backbone.network(backbone.inputs(images))
    for letter, taken in zip("qkv", given, strict=True):
        tap = f"blocks.0.attn.{letter}"
        (found,) = backbone.run(images, [Request("maps", tap)], dtype="float32").values()
        expected = taken.transpose(1, 2).flatten(2)[:, 1:]  # (B, T, heads x channels), behind the class token
        torch.testing.assert_close(found.flatten(1, 2), expected, rtol=1e-5, atol=1e-5)


def test_layouts_inside_a_block_differ(convnext: TapTable) -> None:
    found = convnext.layouts
    assert found["stages.1.blocks.0.conv_dw"] == TapLayout(8, 8, 32, kind="nchw")
    assert found["stages.1.blocks.0.norm"] == TapLayout(8, 8, 32, kind="nhwc")
    assert found["stages.1.blocks.0.mlp.fc1"] == TapLayout(8, 8, 128, kind="nhwc")
    assert found["head.fc"] == TapLayout(1, 1, 1000, kind="vector")


def test_tokens_of_a_grid_that_is_not_square(vit: TapTable) -> None:
    assert vit.layouts["blocks.3"] == TapLayout(2, 4, 64, prefix=1, kind="tokens", class_token=True)
    assert vit.layouts["patch_embed.proj"] == TapLayout(2, 4, 64, kind="nchw")


def test_channels_equal_to_both_edges_are_told_apart_by_growth() -> None:
    found = table("test_convnext", (96, 96)).layouts  # the first stage: 24 channels on 24 x 24
    assert found["stages.0.blocks.0"] == TapLayout(24, 24, 24, kind="nchw")
    assert found["stages.0.blocks.0.norm"] == TapLayout(24, 24, 24, kind="nhwc")


def test_convolutions_on_an_image_that_is_not_square() -> None:
    found = table("test_convnext", (64, 96)).layouts
    assert found["stages.1.blocks.0"] == TapLayout(8, 12, 32, kind="nchw")
    assert found["stages.1.blocks.0.mlp"] == TapLayout(8, 12, 32, kind="nhwc")


def test_registers_are_no_class_token() -> None:
    layout = table("test_vit3").layouts["blocks.0"]
    assert (layout.prefix, layout.class_token) == (1, False)


def test_untouched_inputs_are_no_taps_but_in_place_activations_are(convnext: TapTable) -> None:
    assert "stages.0.downsample" not in convnext.layouts
    assert not [name for name in convnext.layouts if "drop" in name and "downsample" not in name]
    assert "act1" in table("test_resnet").layouts


@pytest.mark.parametrize(
    ("model", "first", "last", "count"),
    [
        ("test_resnet", "layer1.0", "layer4.0", 4),
        ("test_efficientnet", "blocks.0.0", "blocks.4.0", 5),
        ("test_byobnet", "stages.0.0", "stages.3.0", 4),
        ("test_mambaout", "stages.0.blocks.0", "stages.3.blocks.0", 6),
    ],
)
def test_blocks_of_other_families(model: str, first: str, last: str, count: int) -> None:
    found = table(model).resolve(["blocks"])
    assert (found[0], found[-1], len(found)) == (first, last, count)


def test_patterns_mix_without_duplicates_in_order_of_computation(vit: TapTable) -> None:
    found = vit.resolve(["norm", "blocks.[45]", "blocks.4", "blocks.0.*.proj"])
    assert found == ["blocks.0.attn.proj", "blocks.4", "blocks.5", "norm"]


def test_order_is_that_of_computation(vit: TapTable) -> None:
    names = list(vit.layouts)
    assert names.index("blocks.0.attn") < names.index("blocks.0.mlp") < names.index("blocks.0") < names.index("norm")


def test_a_misspelt_tap_names_its_neighbours(vit: TapTable) -> None:
    with pytest.raises(UnknownNameError) as caught:
        vit.resolve(["blocks.3.atn"])
    assert "blocks.3.attn" in caught.value.did_you_mean
    assert caught.value.fix == "--taps list"
    with pytest.raises(UnknownNameError) as caught:
        vit.resolve(["block"])
    assert "blocks" in caught.value.did_you_mean


def test_a_set_that_a_model_lacks_is_an_error() -> None:
    with pytest.raises(UnknownNameError, match="no taps for the set 'paper'"):
        table("test_resnet").resolve(["paper"])
    with pytest.raises(UnknownNameError, match="no taps for the set 'branches'"):
        table("test_resnet").resolve(["branches"])


def test_head_sizes_and_head_taps(vit: TapTable) -> None:
    assert vit.head_sizes == {"head": 64, "logits": 1000}
    assert "head" in vit.in_head
    assert "norm" not in vit.in_head
    assert table("test_vit", num_classes=0).head_sizes == {"head": 64}


def test_an_impossible_image_size_is_named() -> None:
    with pytest.raises(UsageError, match="images of 8 x 8"):
        table("vit_tiny_patch16_224", (8, 8))


def test_tokens_without_a_known_grid_are_a_sequence() -> None:
    assert token_layout((2, 196, 8), None, (224, 224), 1, True) == TapLayout(196, 1, 8, kind="tokens")
    assert token_layout((2, 197, 8), None, (224, 224), 1, True) == TapLayout(196, 1, 8, 1, "tokens", True)
    assert token_layout((2, 195, 8), None, (224, 224), 1, True) is None


def test_tokens_of_a_pyramid_follow_the_grid() -> None:
    assert token_layout((2, 2 * 7, 8), (4, 14), (64, 224), 0, False) == TapLayout(2, 7, 8, kind="tokens")
    assert token_layout((2, 8, 56), (4, 14), (64, 224), 0, False) is None  # channels in the middle


@pytest.mark.parametrize("model", ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"])
def test_attention_matrices_are_no_maps(model: str) -> None:
    """(B, heads, 49, 49) at the last stage, one window: by its shape a grid of 49 x 49."""
    size = (256, 256) if model.endswith("256") else (224, 224)

    def build(wanted: tuple[int, int]) -> Network:
        with torch.device("meta"):
            return timm_network(timm.create_model(model, img_size=wanted).eval(), None)

    layouts = trace_taps(build, size).layouts
    assert not [name for name in layouts if "softmax" in name]
    assert layouts["layers.3.blocks.1"].kind == "nhwc"


def test_all_stages_of_hrnet_are_blocks() -> None:
    blocks = table("hrnet_w18_small", (64, 64)).resolve(["blocks"])
    assert blocks[0] == "layer1.0"
    assert {"stage2.0.branches.1.0", "stage4.0.branches.3.1", "incre_modules.3.0"} <= {*blocks}
    assert blocks[-1] == "final_layer"


def test_a_pattern_that_ends_in_the_first_half_names_no_blocks() -> None:
    names = ["stem", "layers.0", "layers.1", *(f"late.{i}" for i in range(8))]
    found = TapTable({name: TapLayout(4, 4, 8) for name in names}, frozenset(), ("stem", "late.7"), {})
    assert found.resolve(["blocks"]) == ["stem", "late.7"]
