"""Queries, keys and values that an attention makes out of sight: by one matrix, which it hands to a function.

Such are torch's `MultiheadAttention`, open_clip's own attention, torchvision's Swin, and those of timm whose bias is
kept apart (EVA, BEiT, Swin V2). No module gives theirs, so they are projected once more of what the layer reads, by the
rows of its matrix that make them: the network's own, but for the order of their sums. As those of `fused`, they are
before any norm, scale or rotary embedding. Those of torchvision's Swin are of the grid, which it cuts into windows only
then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import linear

from cvbench.engine.models.fused import Item, kind_of, part_of

LETTERS = "qkv"
_APART = {
    "timm.models.eva.EvaAttention",
    "timm.models.beit.Attention",
    "timm.models.swin_transformer_v2.WindowAttention",
}
_OPEN_CLIP = "open_clip.transformer.Attention"
_SWIN = "torchvision.models.swin_transformer.ShiftedWindowAttention"


@dataclass(frozen=True)
class Projection:
    """Queries, keys or values of an attention layer.

    Attributes:
        of: 0, 1 or 2: which.
    """

    of: int

    def made(self, module: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> Tensor:
        """(B, ..., C): of the inputs of the layer, as it was called with them."""
        matrix, bias = _rows(module, self.of)
        return linear(_read(module, inputs, named)[self.of], matrix, bias)


Read = Item | Projection
"""How a tap is read of a call of its module: a part of what it returns, or made of what it reads."""


def tapped(item: Read, module: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any], output: Any) -> Tensor:
    """The activation of a tap in one call of its module."""
    return item.made(module, inputs, named) if isinstance(item, Projection) else part_of(output, item)


def projects(module: nn.Module) -> bool:
    """Whether a module is an attention whose projections are made out of sight, in an order that is known."""
    kind = kind_of(module)
    if isinstance(module, nn.MultiheadAttention):
        return type(module).forward is nn.MultiheadAttention.forward
    if kind in _APART:
        return isinstance(module.qkv, nn.Linear) and module.q_bias is not None
    return kind == _OPEN_CLIP or kind in (_SWIN, f"{_SWIN}V2")


def no_projection(module: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any], batch: int) -> str:
    """Why queries, keys and values of a call cannot be taps; "" if they can."""
    query, key, _ = _read(module, inputs, named)
    if isinstance(module, nn.MultiheadAttention) and not module.batch_first:
        return "its tokens stand before the images (batch_first=False)"
    if query is not key:
        return "its queries are of other tokens than its keys"
    return "" if query.shape[0] == batch else grouped(tuple(query.shape), batch)


def grouped(shape: tuple[int, ...], batch: int) -> str:
    """Words for tensors of another first axis than that of the images.

    >>> grouped((8, 49, 96), 2)
    'it is (8, 49, 96) for 2 images: each window or group has tokens of its own'
    """
    own = "these do not come first" if shape[1] == batch else "each window or group has tokens of its own"
    return f"it is {shape} for {batch} images: {own}"


def _read(module: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs that a layer projects to queries, keys and values."""
    if isinstance(module, nn.MultiheadAttention):
        query, key, value = (
            inputs[place] if place < len(inputs) else named[name]
            for place, name in enumerate(("query", "key", "value"))
        )
        return query, key, value
    read = inputs[0] if inputs else named["x"]
    return read, read, read


def _rows(module: Any, of: int) -> tuple[Tensor, Tensor | None]:
    """The matrix (C, channels) that makes queries, keys or values, and its bias (C,)."""
    kind = kind_of(module)
    if kind in _APART:
        return module.qkv.weight.chunk(3)[of], (module.q_bias, module.k_bias, module.v_bias)[of]
    if kind.startswith(_SWIN):
        plain = module.qkv.bias is None or (kind != _SWIN and LETTERS[of] == "k")  # V2 sets that of its keys to 0
        return module.qkv.weight.chunk(3)[of], None if plain else module.qkv.bias.chunk(3)[of]
    bias = None if module.in_proj_bias is None else module.in_proj_bias.chunk(3)[of]
    if module.in_proj_weight is None:  # keys and values of other widths
        return (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)[of], bias
    return module.in_proj_weight.chunk(3)[of], bias
