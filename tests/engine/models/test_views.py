from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cvbench.engine.models.layouts import TapLayout
from cvbench.engine.models.views import Request, apply_view, expand_views, sample_shape
from cvbench.errors import UnknownNameError

B, H, W, C = 2, 3, 5, 4  # H and W differ, so that a swap shows
TOKENS = TapLayout(H, W, C, prefix=2, kind="tokens", class_token=True)
LAYOUTS = {
    "nchw": TapLayout(H, W, C, kind="nchw"),
    "nhwc": TapLayout(H, W, C, kind="nhwc"),
    "tokens": TOKENS,
    "vector": TapLayout(1, 1, C, kind="vector"),
}


def activation(kind: str, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """(raw activation, its (B, H, W, C) map): cell (y, x) of image b, channel c holds b + y / 10 + x / 100 + c."""
    b, y, x, c = torch.meshgrid(torch.arange(B), torch.arange(H), torch.arange(W), torch.arange(C), indexing="ij")
    grid = (b + y / 10 + x / 100 + c).to(dtype)
    if kind == "nchw":
        return grid.permute(0, 3, 1, 2).contiguous(), grid
    if kind == "tokens":
        prefix = torch.full((B, 2, C), 50.0, dtype=dtype)
        prefix[:, 1] = -50.0
        return torch.cat([prefix, grid.reshape(B, H * W, C)], dim=1), grid
    if kind == "vector":
        return grid[:, 0, 0].contiguous(), grid[:, :1, :1]
    return grid.clone(), grid


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("source", [torch.float32, torch.bfloat16])
def test_pooled_is_the_mean_over_the_grid(kind: str, source: torch.dtype) -> None:
    raw, grid = activation(kind, source)
    found = apply_view("pooled", raw, LAYOUTS[kind], torch.float32)
    assert found.dtype is torch.float32
    # The mean of bfloat16 values is accumulated in float32, so it is as exact as that of float32 values.
    torch.testing.assert_close(found.double(), grid.double().mean(dim=(1, 2)), rtol=1e-6, atol=1e-6)


def test_registers_are_the_prefix_without_the_class_token() -> None:
    raw, _ = activation("tokens")
    found = apply_view("registers", raw, TOKENS, torch.float32)
    assert torch.equal(found, raw[:, 1:2])
    assert found.is_contiguous()
    assert sample_shape(Request("registers", "a"), {"a": TOKENS}, {}) == ((1, C), ("token", "channel"))
    bare = TapLayout(H, W, C, prefix=2, kind="tokens")  # no class token: both are registers
    assert torch.equal(apply_view("registers", raw, bare, torch.float16), raw[:, :2].half())
    alone = TapLayout(H, W, C, prefix=1, kind="tokens", class_token=True)
    asked = expand_views(["registers"], {"a": TOKENS, "b": alone, "c": LAYOUTS["nchw"]})
    assert asked == [Request("registers", "a")]


@pytest.mark.parametrize("kind", LAYOUTS)
def test_maps_keep_rows_and_columns(kind: str) -> None:
    raw, grid = activation(kind)
    found = apply_view("maps", raw, LAYOUTS[kind], torch.float32)
    assert torch.equal(found, grid)
    assert found.is_contiguous()


@pytest.mark.parametrize(
    ("kind", "view"), [*((kind, view) for kind in LAYOUTS for view in ("pooled", "maps")), ("tokens", "cls")]
)
def test_a_later_change_in_place_does_not_reach_the_kept_values(kind: str, view: str) -> None:
    raw, _ = activation(kind)
    found = apply_view(view, raw, LAYOUTS[kind], torch.float32)
    before = found.clone()
    raw.fill_(-1)
    assert torch.equal(found, before)


def test_class_token_is_the_first_and_in_no_mean() -> None:
    raw, _ = activation("tokens")
    assert torch.equal(apply_view("cls", raw, TOKENS, torch.float32), torch.full((B, C), 50.0))


def test_halves_overflow_to_infinity_and_are_not_clamped() -> None:
    raw = torch.full((1, 4, 2, 2), 1e5)
    assert bool(apply_view("pooled", raw, TapLayout(2, 2, 4), torch.float16).isinf().all())


def test_the_mean_of_large_halves_does_not_overflow_on_the_way() -> None:
    raw = torch.full((1, 4, 8, 8), 6e4, dtype=torch.float16)
    found = apply_view("pooled", raw, TapLayout(8, 8, 4), torch.float16)
    assert torch.equal(found, torch.full((1, 4), 6e4, dtype=torch.float16))


def test_class_tokens_accompany_pooled_and_maps_once() -> None:
    layouts = {"blocks.0": TOKENS, "stem": LAYOUTS["nchw"]}
    assert expand_views(["pooled", "maps", "head"], layouts) == [
        Request("pooled", "blocks.0"),
        Request("pooled", "stem"),
        Request("maps", "blocks.0"),
        Request("maps", "stem"),
        Request("head", "head"),
        Request("cls", "blocks.0"),
    ]
    assert expand_views(["logits"], layouts) == [Request("logits", "logits")]
    assert expand_views(["pooled"], {"stem": LAYOUTS["nchw"]}) == [Request("pooled", "stem")]


def test_shapes_of_one_sample() -> None:
    heads = {"head": 9, "logits": 10}
    layouts = {"t": TOKENS}
    assert sample_shape(Request("maps", "t"), layouts, heads) == ((H, W, C), ("row", "column", "channel"))
    assert sample_shape(Request("pooled", "t"), layouts, heads) == ((C,), ("channel",))
    assert sample_shape(Request("logits", "logits"), layouts, heads) == ((10,), ("channel",))


def test_an_unknown_view_names_its_neighbours() -> None:
    with pytest.raises(UnknownNameError) as caught:
        expand_views(["poold"], {})
    assert caught.value.did_you_mean == ("pooled",)
