"""The attention of a network while it runs, taken where its softmax takes queries and keys (see `watch`).

The network itself runs as always, with its fused kernel; or, where the numbers have cost a softmax already, with what
that mixes, which is the same up to rounding (see `together`).

What is no attention of all tokens of the grid over all tokens is refused: windows, pooled keys, class attention, and
attention of channels over channels, which on a grid of as many positions has the same shape (XCiT, DaViT): there an
image of twice the size tells.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from cvbench.engine.analyses.attention.kernel import MEASURES, Tokens
from cvbench.engine.analyses.attention.watch import AttentionWatch, Products, Weights
from cvbench.engine.models.backbones import Backbone
from cvbench.engine.models.layouts import TapLayout
from cvbench.engine.models.makers import maker_of
from cvbench.engine.models.precision import forward_mode
from cvbench.errors import UsageError

_MIXES = "proj_w"
"""Attribute of timm's layers of talking heads (Shazeer et al. 2020)."""
_CHANNELS = "it attends over channels, or that cannot be told from positions"
_NO_TAPS = "its attention is of layers that are no taps: where their tokens lie on a grid is not known"
_See = Callable[[str, Products | Weights], Tensor | None]
"""Gets the name of a layer, and an attention that it computes; returns as `watch.See`."""


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
    outside: bool = False  # of layers that are no taps


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
        none = _NO_TAPS if found.outside else "it has no self-attention that torch computes"
        (tap, why), *_ = [*found.refused.items(), ("", none)]
        raise UsageError(
            f"{backbone.spec.key} has no attention of all positions over all positions",
            where=tap or None,
            why=why,
            fix="a ViT, or for a module of one's own OwnModel(grid=..., prefix=...); for any network `analyze "
            "receptive-field` says how far a position looks",
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

    def see(tap: str, attention: Products | Weights) -> Tensor | None:
        found.outside = found.outside or tap not in layouts
        if tap not in layouts or (only is not None and tap not in only):
            return None
        why = not_global(layouts[tap], attention.shape, len(images))
        if not why and hasattr(backbone.network.get_submodule(tap), _MIXES):
            why = "its heads are mixed after the softmax"
        if not why and tap in found.numbers:
            why = "it computes several attentions"
        if why:
            found.refused.setdefault(tap, why)
            return None
        found.numbers[tap], mixed = attention.numbers(Tokens.of(layouts[tap], size))
        if attention.shape[-1] == layouts[tap].channels // attention.shape[1]:
            found.doubtful[tap] = attention.shape[-1]
        return mixed

    maps = [name for name, layout in layouts.items() if layout.kind != "vector"]
    with forward_mode(backbone.device, backbone.compute):
        _watched(backbone.network, backbone.inputs(images), maps, see)
    return found, layouts


def _larger_keys(backbone: Backbone) -> dict[str, int]:
    """Tap -> keys of its attention in an image of twice the size; of none where the network cannot take one."""
    height, width = (2 * side for side in backbone.preprocess.geometry.size)
    keys: dict[str, int] = {}

    def see(tap: str, attention: Products | Weights) -> None:
        keys[tap] = attention.shape[-1]

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

    def told(attention: Products | Weights) -> Tensor | None:
        return see(inside[-1] if inside else "", attention)

    with ExitStack() as hooks:
        for name, module in network.named_modules():
            if name in names:
                hooks.callback(module.register_forward_pre_hook(_enter(inside, name)).remove)
                hooks.callback(module.register_forward_hook(_leave(inside), always_call=True).remove)
        with AttentionWatch(told):
            network(inputs)


def _enter(inside: list[str], name: str) -> Callable[[nn.Module, Any], None]:
    return lambda _module, _inputs: inside.append(name)


def _leave(inside: list[str]) -> Callable[[nn.Module, Any, Any], None]:
    def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
        inside.pop()

    return leave


def not_global(layout: TapLayout, shape: tuple[int, ...], batch: int) -> str:
    """Why attention (B, heads, queries, keys) is not that of a whole grid over itself; "" if it is."""
    tokens, keys = layout.prefix + layout.height * layout.width, shape[-1]
    if len(shape) != 4 or shape[0] != batch:
        return "it attends within windows or groups of positions"
    if shape[2] != tokens:
        return f"{shape[2]} queries attend, and the layer has {tokens} tokens"
    if keys != tokens:
        return f"its keys are pooled: {keys} for {tokens} tokens"
    if layout.kind == "tokens" and layout.width == 1 and layout.height > 1:
        return "the order of its tokens on the grid is not known"
    return "" if layout.height * layout.width > 1 else "it has one position"
