"""The attention of a network while it runs, taken where its softmax takes queries and keys.

timm's attention layers, with or without norms of queries and keys, rotary embeddings, relative biases or grouped
queries, all end in `scaled_dot_product_attention`, or in a softmax of their own where fusion is off. There the queries
and keys are what they are for the network, so nothing of a layer has to be known or computed again.
`nn.MultiheadAttention` projects them out of sight: they are projected once more. The network itself runs as always,
with its fused kernel.

What is no attention of all tokens of the grid over all tokens is refused: windows, pooled keys, class attention, and
attention of channels over channels, which on a grid of as many positions has the same shape (XCiT, DaViT): there an
image of twice the size tells.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, multi_head_attention_forward, scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from cvbench.engine.analyses.attention.kernel import MEASURES, Tokens, attention_numbers, weight_numbers
from cvbench.engine.models.backbones import Backbone
from cvbench.engine.models.layouts import TapLayout
from cvbench.engine.models.makers import maker_of
from cvbench.engine.models.precision import forward_mode
from cvbench.errors import UsageError

_MIXES = "proj_w"
"""Attribute of timm's layers of talking heads (Shazeer et al. 2020)."""
_SOFTMAX = (torch.softmax, torch.Tensor.softmax, torch.nn.functional.softmax)
_CHANNELS = "it attends over channels, or that cannot be told from positions"

_Told = Callable[[Callable[[Tokens], Tensor], tuple[int, ...], int], None]
"""Gets what computes the numbers, the shape of the queries (B, heads, queries, ...), and how many keys there are."""
_See = Callable[[str, Callable[[Tokens], Tensor], tuple[int, ...], int], None]
"""The same, behind the name of the layer."""


@dataclass(frozen=True)
class Heads:
    """An attention layer: how many heads, and where its tokens stand."""

    heads: int
    tokens: Tokens


@dataclass
class _Found:
    """Numbers that one pass has seen, by tap."""

    numbers: dict[str, Tensor] = field(default_factory=dict)  # (B, heads, 5)
    refused: dict[str, str] = field(default_factory=dict)  # why
    doubtful: dict[str, int] = field(default_factory=dict)  # keys, where heads have as many channels


def attention_layers(backbone: Backbone) -> tuple[dict[str, Heads], dict[str, str]]:
    """Find the attention layers by one pass of an image of noise.

    Returns:
        Tap -> layer, in the order of computation; and tap -> why its attention is not measured.

    Raises:
        UsageError: There is none that can be measured; says why.
    """
    size = backbone.preprocess.geometry.size
    noise = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found, layouts = _pass(backbone, noise.to(backbone.device))
    if found.doubtful:
        larger = _larger_keys(backbone)
        found.refused |= {tap: _CHANNELS for tap, keys in found.doubtful.items() if larger.get(tap, 0) <= keys}
    layers = {
        tap: Heads(numbers.shape[1], Tokens.of(layouts[tap], size))
        for tap, numbers in found.numbers.items()
        if tap not in found.refused
    }
    if not layers:
        (tap, why), *_ = [*found.refused.items(), ("", "it has no self-attention that torch computes")]
        raise UsageError(
            f"{backbone.spec.key} has no attention of all positions over all positions",
            where=tap or None,
            why=why,
            fix="a ViT; for any network `analyze receptive-field` says how far a position looks",
        )
    return layers, found.refused


def measure_attention(backbone: Backbone, images: Tensor, taps: Mapping[str, int]) -> dict[str, Tensor]:
    """Measure the attention of a batch.

    Args:
        backbone: Whose.
        images: (B, 3, h, w) uint8 on its device.
        taps: Attention layer -> its heads, as `attention_layers` finds them.

    Returns:
        Tap -> (B, heads, 5) float32, `MEASURES`.

    Raises:
        UsageError: A layer that was not seen as it was found.
    """
    found, _ = _pass(backbone, images, only=taps)
    numbers = {}
    for tap, heads in taps.items():
        if tap in found.refused or found.numbers[tap].shape != (len(images), heads, len(MEASURES)):
            raise UsageError(f"{tap} attends in another way than it did", why=found.refused.get(tap))
        numbers[tap] = found.numbers[tap].float()
    return numbers


def _pass(
    backbone: Backbone, images: Tensor, only: Mapping[str, int] | None = None
) -> tuple[_Found, dict[str, TapLayout]]:
    """One forward pass; attention of the innermost tap that computes it, of `only` these."""
    layouts = backbone.layouts(backbone.tap_names())
    size = backbone.preprocess.geometry.size
    found = _Found()

    def see(tap: str, numbers: Callable[[Tokens], Tensor], shape: tuple[int, ...], keys: int) -> None:
        if tap not in layouts or (only is not None and tap not in only):
            return
        why = _not_global(layouts[tap], shape, keys, len(images))
        if not why and hasattr(backbone.network.get_submodule(tap), _MIXES):
            why = "its heads are mixed after the softmax"
        if not why and tap in found.numbers:
            why = "it computes several attentions"
        if why:
            found.refused.setdefault(tap, why)
            return
        found.numbers[tap] = numbers(Tokens.of(layouts[tap], size))
        if keys == layouts[tap].channels // shape[1]:
            found.doubtful[tap] = keys

    maps = [name for name, layout in layouts.items() if layout.kind != "vector"]
    with forward_mode(backbone.device, backbone.compute):
        _watched(backbone.network, backbone.inputs(images), maps, see)
    return found, layouts


def _larger_keys(backbone: Backbone) -> dict[str, int]:
    """Tap -> keys of its attention in an image of twice the size; of none where the network cannot take one."""
    height, width = (2 * side for side in backbone.preprocess.geometry.size)
    keys: dict[str, int] = {}

    def see(tap: str, _numbers: Callable[[Tokens], Tensor], _shape: tuple[int, ...], count: int) -> None:
        keys[tap] = count

    try:
        outline = maker_of(backbone.spec).outline(backbone.spec, (height, width))
        with torch.inference_mode():
            images = torch.zeros((1, 3, height, width), device=outline.device)
            _watched(outline.module, images, backbone.tap_names(), see)
    except Exception:  # whatever a network raises that is for one size
        return {}
    return keys


def _watched(network: Any, inputs: Tensor, names: Collection[str], see: _See) -> None:
    """Run a network; `see` is told of each attention, and of the innermost of these modules that computes it."""
    inside: list[str] = []

    def told(numbers: Callable[[Tokens], Tensor], shape: tuple[int, ...], keys: int) -> None:
        see(inside[-1] if inside else "", numbers, shape, keys)

    with ExitStack() as hooks:
        for name, module in network.named_modules():
            if name in names:
                hooks.callback(module.register_forward_pre_hook(_enter(inside, name)).remove)
                hooks.callback(module.register_forward_hook(_leave(inside), always_call=True).remove)
        with _Watch(told):
            network(inputs)


def _enter(inside: list[str], name: str) -> Callable[[nn.Module, Any], None]:
    return lambda _module, _inputs: inside.append(name)


def _leave(inside: list[str]) -> Callable[[nn.Module, Any, Any], None]:
    def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
        inside.pop()

    return leave


def _not_global(layout: TapLayout, shape: tuple[int, ...], keys: int, batch: int) -> str:
    """Why attention of queries (B, heads, queries, ...) is not that of a whole grid over itself; "" if it is."""
    tokens = layout.prefix + layout.height * layout.width
    if len(shape) != 4 or shape[0] != batch:
        return "it attends within windows or groups of positions"
    if shape[2] != tokens:
        return f"{shape[2]} queries attend, and the layer has {tokens} tokens"
    if keys != tokens:
        return f"its keys are pooled: {keys} for {tokens} tokens"
    if layout.kind == "tokens" and layout.width == 1 and layout.height > 1:
        return "the order of its tokens on the grid is not known"
    return "" if layout.height * layout.width > 1 else "it has one position"


class _Watch(TorchFunctionMode):
    """Tells of each attention that is computed."""

    def __init__(self, see: _Told) -> None:
        super().__init__()
        self._see = see

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given: dict[str, Any] = kwargs or {}
        if func is scaled_dot_product_attention:
            self._fused(*args, **given)
            return func(*args, **given)
        if func is multi_head_attention_forward:
            self._packed(**inspect.signature(func).bind(*args, **given).arguments)
            return func(*args, **given)
        output = func(*args, **given)
        if func in _SOFTMAX and output.ndim == 4 and output.shape[-1] == output.shape[-2]:
            shape = tuple(output.shape)
            self._see(lambda tokens: weight_numbers(output, tokens), shape, shape[-1])
        return output

    def _fused(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> None:
        def numbers(tokens: Tokens) -> Tensor:
            grouped = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1) if enable_gqa else key
            mask = attn_mask
            if is_causal:
                mask = torch.ones((tokens.count, tokens.count), dtype=torch.bool, device=query.device).tril()
            return attention_numbers(query, grouped, tokens, scale or query.shape[-1] ** -0.5, mask)

        self._see(numbers, tuple(query.shape), key.shape[-2])

    def _packed(
        self,
        query: Tensor,
        key: Tensor,
        num_heads: int,
        in_proj_weight: Tensor | None,
        in_proj_bias: Tensor | None,
        bias_k: Tensor | None,
        add_zero_attn: bool,
        key_padding_mask: Tensor | None = None,
        attn_mask: Tensor | None = None,
        q_proj_weight: Tensor | None = None,
        k_proj_weight: Tensor | None = None,
        **_others: Any,
    ) -> None:
        """Of `nn.MultiheadAttention`: queries and keys (tokens, B, channels), and masks that are True where unseen."""
        if query.ndim != 3:
            return
        mask = _added(attn_mask, key_padding_mask, num_heads)
        weights = (q_proj_weight, k_proj_weight) if in_proj_weight is None else in_proj_weight.chunk(3)[:2]
        biases = (None, None) if in_proj_bias is None else in_proj_bias.chunk(3)[:2]

        def heads(tokens: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
            assert weight is not None
            return linear(tokens, weight, bias).unflatten(-1, (num_heads, -1)).permute(1, 2, 0, 3)

        def numbers(tokens: Tokens) -> Tensor:
            queries, keys = (heads(*one) for one in zip((query, key), weights, biases, strict=True))
            return attention_numbers(queries, keys, tokens, queries.shape[-1] ** -0.5, mask)

        shape = (query.shape[1], num_heads, query.shape[0])
        self._see(numbers, (*shape, query.shape[2]), key.shape[0] + (bias_k is not None) + add_zero_attn)


def _added(mask: Tensor | None, padding: Tensor | None, heads: int) -> Tensor | None:
    """What two masks, (tokens, keys) or (B * heads, tokens, keys) and (B, keys), together add to the products."""
    found: Tensor | None = None
    for one in (mask, None if padding is None else padding[:, None, None]):
        if one is not None:
            wide = one.unflatten(0, (-1, heads)) if one.ndim == 3 else one
            added = (
                torch.zeros(wide.shape, device=wide.device).masked_fill(wide, -torch.inf)
                if wide.dtype is torch.bool
                else wide
            )
            found = added if found is None else found + added
    return found
