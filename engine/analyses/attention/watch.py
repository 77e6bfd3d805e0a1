"""Every attention that a network computes, at the place where its softmax takes queries and keys.

Attention layers of timm and transformers, with or without norms of queries and keys, rotary embeddings, relative biases
or grouped queries, end in `scaled_dot_product_attention`, or in a softmax of their own where fusion is off; those of
torchvision and open_clip are torch's `MultiheadAttention`. There the queries and keys are what they are for the
network, so nothing of a layer has to be known.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, multi_head_attention_forward, scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from cvbench.engine.analyses.attention.kernel import Tokens, attention_numbers, weight_numbers
from cvbench.engine.analyses.attention.together import fits, numbers_and_mixed

_PACKED = inspect.signature(multi_head_attention_forward)
_SOFTMAX = (torch.softmax, torch.Tensor.softmax, torch.nn.functional.softmax)


@dataclass(frozen=True)
class Products:
    """An attention before its softmax.

    Attributes:
        query: (B, heads, queries, channels), or of another rank where it attends within groups.
        key: (B, heads, keys, channels).
        scale: Of their products.
        value: Gives (B, heads, keys, any), what is mixed.
        mask: As `attention_numbers` takes it.
        more: Keys that are not there, as a layer makes them itself.
        whole: Whether the network takes what is mixed, and nothing else.
    """

    query: Tensor
    key: Tensor
    scale: float
    value: Callable[[], Tensor]
    mask: Tensor | None = None
    more: int = 0
    whole: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, heads, queries, keys), or of the rank that it has."""
        return (*self.query.shape[:-1], self.key.shape[-2] + self.more)

    def numbers(self, tokens: Tokens) -> tuple[Tensor, Tensor | None]:
        """(B, heads, 5) float64 of the softmax, see `attention_numbers`; and what it mixes, where that is at hand."""
        if self.whole and self.mask is None and fits(self.query, tokens):
            return numbers_and_mixed(self.query, self.key, self.value(), tokens, self.scale)
        return attention_numbers(self.query, self.key, tokens, self.scale, self.mask), None

    def weights(self) -> Tensor:
        """(B, heads, queries, keys): the softmax, whole."""
        logits = self.query @ self.key.transpose(-2, -1) * self.scale
        if self.mask is not None and self.mask.dtype is torch.bool:
            logits = logits.masked_fill(~self.mask, -torch.inf)
        elif self.mask is not None:
            logits = logits + self.mask
        return logits.softmax(dim=-1)

    def mixed(self, weights: Tensor) -> Tensor:
        """(B, heads, queries, any): the values mixed by other weights."""
        return weights @ self.value()


@dataclass(frozen=True)
class Weights:
    """An attention behind the softmax of a network that computes it step by step: (B, heads, queries, keys)."""

    values: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Theirs."""
        return tuple(self.values.shape)

    def numbers(self, tokens: Tokens) -> tuple[Tensor, None]:
        """(B, heads, 5) float64, see `weight_numbers`; and None: the network goes on with its own."""
        return weight_numbers(self.values, tokens), None

    def weights(self) -> Tensor:
        """Themselves."""
        return self.values

    def mixed(self, weights: Tensor) -> Tensor:
        """Other weights, as they are: the network mixes its values itself."""
        return weights


See = Callable[[Products | Weights], Tensor | None]
"""Is told of an attention; returns None, and the network goes on with its own kernel, or what `mixed` gives, to go on
with that."""


class AttentionWatch(TorchFunctionMode):
    """Tells of each attention that is computed while it is entered, and lets what it gives be replaced.

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
            made = self._packed(**_PACKED.bind(*args, **given).arguments)
            return func(*args, **given) if made is None else made
        output = func(*args, **given)
        if func in _SOFTMAX and output.ndim == 4 and output.shape[-1] == output.shape[-2]:
            found = self._see(Weights(output))
            return output if found is None else found
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
        given = query.shape[-1] ** -0.5 if scale is None else scale
        return self._see(Products(query, key, given, lambda: value, attn_mask))

    def _packed(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        num_heads: int,
        in_proj_weight: Tensor | None,
        in_proj_bias: Tensor | None,
        bias_k: Tensor | None,
        add_zero_attn: bool,
        out_proj_weight: Tensor,
        out_proj_bias: Tensor | None,
        key_padding_mask: Tensor | None = None,
        attn_mask: Tensor | None = None,
        q_proj_weight: Tensor | None = None,
        k_proj_weight: Tensor | None = None,
        v_proj_weight: Tensor | None = None,
        need_weights: bool = True,
        **_others: Any,
    ) -> tuple[Tensor, Tensor | None] | None:
        """Tell of torch's layer, which projects (tokens, B, channels) out of sight: they are projected once more."""
        if query.ndim != 3:
            return None
        apart = (q_proj_weight, k_proj_weight, v_proj_weight)
        matrices = apart if in_proj_weight is None else in_proj_weight.chunk(3)
        biases = (None, None, None) if in_proj_bias is None else in_proj_bias.chunk(3)

        def heads(of: int) -> Tensor:
            matrix = matrices[of]
            assert matrix is not None
            made = linear((query, key, value)[of], matrix, biases[of])
            return made.reshape(*made.shape[:2], num_heads, -1).permute(1, 2, 0, 3)

        queries, keys = heads(0), heads(1)
        mask, more = _added(attn_mask, key_padding_mask, num_heads), int(bias_k is not None) + int(add_zero_attn)
        scale, whole = queries.shape[-1] ** -0.5, not need_weights
        found = self._see(Products(queries, keys, scale, lambda: heads(2), mask, more, whole))
        if found is None:
            return None
        return linear(found.permute(2, 0, 1, 3).flatten(2), out_proj_weight, out_proj_bias), None


def _added(mask: Tensor | None, padding: Tensor | None, heads: int) -> Tensor | None:
    """Sum of two masks, (tokens, keys) or (B * heads, tokens, keys) and (B, keys), as they add to the products."""
    found: Tensor | None = None
    for one in (mask, None if padding is None else padding[:, None, None]):
        if one is not None:
            wide = one.reshape(-1, heads, *one.shape[1:]) if one.ndim == 3 else one
            added = (
                torch.zeros(wide.shape, device=wide.device).masked_fill(wide, -torch.inf)
                if wide.dtype is torch.bool
                else wide
            )
            found = added if found is None else found + added
    return found
