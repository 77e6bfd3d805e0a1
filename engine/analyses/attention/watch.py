"""Every attention that a network computes, at the place where its softmax takes queries and keys.

Attention layers of timm and transformers, with or without norms of queries and keys, rotary embeddings, relative biases
or grouped queries, end in `scaled_dot_product_attention`, or in a softmax of their own where fusion is off; those of
torchvision and open_clip are torch's `MultiheadAttention`. There the queries and keys are what they are for the
network, so nothing of a layer has to be known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, multi_head_attention_forward, scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from cvbench.engine.analyses.attention.kernel import Tokens, attention_numbers, weight_numbers

_SOFTMAX = (torch.softmax, torch.Tensor.softmax, torch.nn.functional.softmax)


@dataclass(frozen=True)
class Products:
    """An attention before its softmax.

    Attributes:
        query: (B, heads, queries, channels), or of another rank where it attends within groups.
        key: (B, heads, keys, channels).
        scale: Of their products.
        mask: As `attention_numbers` takes it.
    """

    query: Tensor
    key: Tensor
    scale: float
    mask: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, heads, queries, keys), or of the rank that it has."""
        return (*self.query.shape[:-1], self.key.shape[-2])

    def numbers(self, tokens: Tokens) -> Tensor:
        """(B, heads, 5) float64 of the softmax, see `attention_numbers`."""
        return attention_numbers(self.query, self.key, tokens, self.scale, self.mask)

    def weights(self) -> Tensor:
        """(B, heads, queries, keys): the softmax, whole."""
        logits = self.query @ self.key.transpose(-2, -1) * self.scale
        if self.mask is not None and self.mask.dtype is torch.bool:
            logits = logits.masked_fill(~self.mask, -torch.inf)
        elif self.mask is not None:
            logits = logits + self.mask
        return logits.softmax(dim=-1)


@dataclass(frozen=True)
class Weights:
    """An attention behind the softmax of a network that computes it step by step: (B, heads, queries, keys)."""

    values: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Theirs."""
        return tuple(self.values.shape)

    def numbers(self, tokens: Tokens) -> Tensor:
        """(B, heads, 5) float64, see `weight_numbers`."""
        return weight_numbers(self.values, tokens)

    def weights(self) -> Tensor:
        """Themselves."""
        return self.values


See = Callable[[Products | Weights], Tensor | None]
"""Is told of an attention; returns None, and the network goes on with its own kernel, or the weights to go on with."""


class AttentionWatch(TorchFunctionMode):
    """Tells of each attention that is computed while it is entered, and lets its weights be replaced.

    Args:
        see: See `See`.
    """

    def __init__(self, see: See) -> None:
        super().__init__()
        self._see = see

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given: dict[str, Any] = kwargs or {}
        if func is scaled_dot_product_attention:
            instead = self._fused(*args, **given)
            return func(*args, **given) if instead is None else instead
        if func is multi_head_attention_forward:
            made = self._packed(*args, **given)
            return func(*args, **given) if made is None else made
        output = func(*args, **given)
        if func in _SOFTMAX and output.ndim == 4 and output.shape[-1] == output.shape[-2]:
            weights = self._see(Weights(output))
            return output if weights is None else weights
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
    ) -> Tensor | None:
        if enable_gqa:
            groups = query.shape[-3] // key.shape[-3]
            key, value = (tensor.repeat_interleave(groups, dim=-3) for tensor in (key, value))
        if is_causal:
            attn_mask = torch.ones((query.shape[-2], key.shape[-2]), dtype=torch.bool, device=query.device).tril()
        products = Products(query, key, query.shape[-1] ** -0.5 if scale is None else scale, attn_mask)
        weights = self._see(products)
        return None if weights is None else weights @ value

    def _packed(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        _channels: int,
        heads: int,
        in_weight: Tensor | None,
        in_bias: Tensor | None,
        bias_k: Tensor | None,
        bias_v: Tensor | None,
        add_zero_attn: bool,
        dropout_p: float,
        out_weight: Tensor,
        out_bias: Tensor | None,
        **given: Any,
    ) -> tuple[Tensor, Tensor | None] | None:
        """The plain self-attention of torch's layer, whose inputs are (tokens, B, channels); no other is told of."""
        plain = query is key and key is value and query.ndim == 3 and bias_k is None and not add_zero_attn
        masks = [given.get(name) for name in ("key_padding_mask", "attn_mask")]
        if (
            not plain
            or in_weight is None
            or any(mask is not None for mask in masks)
            or given.get("static_k") is not None
        ):
            return None
        count, batch, channels = query.shape
        parts = linear(query, in_weight, in_bias).view(count, batch, 3, heads, channels // heads)
        queries, keys, values = parts.permute(2, 1, 3, 0, 4)  # each (B, heads, tokens, channels of a head)
        weights = self._see(Products(queries, keys, (channels // heads) ** -0.5))
        if weights is None:
            return None
        mixed = (weights @ values).permute(2, 0, 1, 3).reshape(count, batch, channels)
        return linear(mixed, out_weight, out_bias), None
