"""What timm's models say of their tokens beside the names that most share: prefix, strides, an order of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import isqrt
from typing import Any, Literal

import torch

from cvbench.engine.models.layouts import Digit
from cvbench.engine.models.networks import TokenOrder, prefix_tokens

_CLASS_TOKEN = re.compile(r"cls_token_?\d*")


def leading_tokens(model: Any) -> tuple[int, bool]:
    """Number of tokens in front of the grid, and whether the first is a class token.

    As `prefix_tokens`; where the model does not say, the length of its class tokens (one for each scale in CoaT and
    CrossViT, with that of distillation behind it in PiT).
    """
    if getattr(model, "num_prefix_tokens", None) is not None:
        return prefix_tokens(model)
    tokens = [value for name, value in model.named_parameters(recurse=False) if _CLASS_TOKEN.fullmatch(name)]
    lengths = {int(token.shape[-2]) for token in tokens if token.ndim == 3}
    return (lengths.pop(), True) if len(lengths) == 1 else (0, False)


def stage_strides(model: Any) -> tuple[int, ...]:
    """Strides of the model's stages as its `feature_info` says them, each once."""
    info = getattr(model, "feature_info", None) or []
    return tuple(dict.fromkeys(int(entry["reduction"]) for entry in info if "reduction" in entry))


def ends_in_classes(model: Any) -> bool:
    """Whether the model has a head; encoders of language models refuse theirs, whatever it is given."""
    if model.num_classes > 0:
        return True
    try:
        model.forward_head(torch.empty(0))
    except NotImplementedError:
        return False
    except Exception:  # a head that the empty tensor does not fit
        return True
    return True


def token_orders(model: Any) -> tuple[TokenOrder, ...]:
    """Orders of tokens other than row by row: of Hiera, whose units are gathered, and of NesT, which has blocks."""
    schedule = getattr(getattr(model, "unroll", None), "schedule", None)
    if schedule is not None and len(model.unroll.size) == 2:
        return tuple(_unrolled(tuple(model.unroll.size), [tuple(strides) for strides in schedule]))
    levels = getattr(model, "levels", None)
    if levels is not None and all(hasattr(level, "block_size") for level in levels):
        return tuple(_in_blocks(int(level.pos_embed.shape[1]), int(level.block_size)) for level in levels)
    return ()


def _unrolled(size: tuple[int, int], schedule: list[tuple[int, int]]) -> Iterator[TokenOrder]:
    """Hiera (Ryali et al. 2023): [B, (H, W), C] lies as [B, (sy, sx, H / sy, W / sx), C], stride by stride.

    Pooling takes the outermost stride away, so that what is left is unrolled by those behind it.
    """
    for pooled in range(len(schedule) + 1):
        digits: list[Digit] = []
        step = (1, 1)
        for strides in schedule[pooled:]:
            digits += _pair(strides, step)
            step = step[0] * strides[0], step[1] * strides[1]
        grid = size[0], size[1]
        for strides in schedule[:pooled]:
            grid = grid[0] // strides[0], grid[1] // strides[1]
        digits += _pair((grid[0] // step[0], grid[1] // step[1]), step)
        yield TokenOrder((grid[0] * grid[1],), tuple(digits), after="unroll")


def _in_blocks(blocks: int, edge: int) -> TokenOrder:
    """NesT (Zhang et al. 2022): (B, T, N, C), a square of T blocks of N = edge x edge tokens each."""
    across = isqrt(blocks)
    return TokenOrder((blocks, edge * edge), (*_pair((across, across), (edge, edge)), *_pair((edge, edge), (1, 1))))


def _pair(counts: tuple[int, int], steps: tuple[int, int]) -> tuple[Digit, Digit]:
    axes: tuple[Literal["row"], Literal["column"]] = ("row", "column")
    return (axes[0], counts[0], steps[0]), (axes[1], counts[1], steps[1])
