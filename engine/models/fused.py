"""Parts of what a module returns: one of several tensors, or some of its channels.

Queries, keys and values of one fused layer are taps of their own, `blocks.0.attn.q`, `.k` and `.v`, where the order of
its channels is known: all queries, all keys, all values. They are as the layer gives them, before any norm, scale or
rotary embedding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

Item = int | slice | None
"""None: the whole output; a number: which of several; a slice: of the last axis."""
_ORDERED = {
    "layers.attention.Attention", "layers.attention.AttentionRope", "models.vision_transformer.Attention",
    "models.vision_transformer_relpos.RelPosAttention", "models.eva.EvaAttention", "models.beit.Attention",
    "models.cait.TalkingHeadAttn", "models.convit.MHSA", "models.xcit.XCA",
    "models.swin_transformer.WindowAttention", "models.swin_transformer_v2.WindowAttention",
    "models.swin_transformer_v2_cr.WindowMultiHeadAttention",
}  # fmt: skip
"""Classes of timm that read (B, T, 3 C) as (B, T, 3, heads, C / heads); in windows where these are as large as the grid
there is one an image."""
_FUSED = "qkv"


def kind_of(module: nn.Module) -> str:
    """The class of a module, with the place where it is written."""
    return f"{type(module).__module__}.{type(module).__qualname__}"


def queries_keys_values(module: nn.Module) -> dict[str, str]:
    """Fused layer -> the attention that it is of, by name, where the order of its channels is known."""
    found = {}
    for name, part in module.named_modules():
        fused = getattr(part, _FUSED, None)
        apart = getattr(part, "q_bias", None) is not None  # then the layer gives them without their bias
        if kind_of(part).removeprefix("timm.") in _ORDERED and isinstance(fused, nn.Linear) and not apart:
            found[f"{name}.{_FUSED}".lstrip(".")] = name
    return found


def part_of(output: Any, item: Item) -> Tensor:
    """The part of an output."""
    if item is None:
        whole: Tensor = output
        return whole
    part: Tensor = output[..., item] if isinstance(item, slice) else output[item]
    return part


def with_part(output: Any, item: Item, part: Tensor) -> Any:
    """The output with another part in the place of its own."""
    if item is None:
        return part
    if isinstance(item, slice):
        return torch.cat([output[..., : item.start], part.to(output), output[..., item.stop :]], dim=-1)
    return type(output)([*output[:item], part, *output[item + 1 :]])
