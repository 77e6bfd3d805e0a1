"""Views: what is kept of an activation, reduced where it is computed.

pooled  (B, C)        mean over the grid, prefix tokens left out, accumulated in float32
cls     (B, C)        the class token; comes with `pooled` and `maps` where the tap has one
maps    (B, H, W, C)  the whole grid, prefix tokens left out
head    (B, D)        what the classifier reads: ViT's class token after the norm, ConvNeXt's pooled and normed features
logits  (B, K)        before the softmax
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cvbench.engine.models.layouts import TapLayout
from cvbench.errors import UnknownNameError

TAP_VIEWS = ("pooled", "cls", "maps")
HEAD_VIEWS = ("head", "logits")
VIEWS = TAP_VIEWS + HEAD_VIEWS


@dataclass(frozen=True)
class Request:
    """One array to compute: a view of a tap. For `head` and `logits` the tap has the view's name."""

    view: str
    tap: str


def check_views(views: Sequence[str]) -> None:
    """Raise UnknownNameError if one of `views` does not exist."""
    for view in views:
        if view not in VIEWS:
            raise UnknownNameError.among("view", view, VIEWS, fix=f"--view {', '.join(VIEWS)}")


def expand_views(views: Sequence[str], layouts: Mapping[str, TapLayout]) -> list[Request]:
    """The requests for `views` of the taps in `layouts`, view by view, taps in the order given.

    `cls` is added by itself when `pooled` or `maps` is asked for; taps without a class token have none.

    Raises:
        UnknownNameError: for a view that does not exist.
    """
    check_views(views)
    wanted = dict.fromkeys(views)
    if "pooled" in wanted or "maps" in wanted:
        wanted["cls"] = None
    requests: list[Request] = []
    for view in wanted:
        if view in HEAD_VIEWS:
            requests.append(Request(view, view))
        else:
            requests += [Request(view, tap) for tap, layout in layouts.items() if view != "cls" or layout.class_token]
    return requests


def sample_shape(
    request: Request, layouts: Mapping[str, TapLayout], head_sizes: Mapping[str, int]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Shape of one sample's array, and the names of its axes.

    >>> sample_shape(Request("maps", "stem"), {"stem": TapLayout(7, 5, 96)}, {})
    ((7, 5, 96), ('row', 'column', 'channel'))
    """
    if request.view in HEAD_VIEWS:
        return (head_sizes[request.view],), ("channel",)
    layout = layouts[request.tap]
    if request.view == "maps":
        return (layout.height, layout.width, layout.channels), ("row", "column", "channel")
    return (layout.channels,), ("channel",)


def apply_view(view: str, activation: Tensor, layout: TapLayout, dtype: torch.dtype) -> Tensor:
    """Reduce a raw activation.

    Args:
        view: `pooled`, `cls` or `maps`.
        activation: As the module returned it, (B, ...) in the axes of `layout.kind`.
        layout: Of the tap.
        dtype: Of the result. A value beyond its range becomes infinite.

    Returns:
        (B, C), or (B, H, W, C) for `maps`; contiguous, and sharing no memory with the activation, which the network may
        overwrite in place.
    """
    if view == "pooled":
        return _pooled(activation, layout).to(dtype)
    if view == "cls":
        return activation[:, 0].to(dtype, copy=True, memory_format=torch.contiguous_format)
    return spatial(activation, layout).to(dtype, copy=True, memory_format=torch.contiguous_format)


def spatial(activation: Tensor, layout: TapLayout) -> Tensor:
    """A raw activation as (B, H, W, C), prefix tokens left out; shares its memory."""
    if layout.kind == "nchw":
        return activation.permute(0, 2, 3, 1)
    if layout.kind == "tokens":
        grid = (layout.height, layout.width)
        return torch.unflatten(activation[:, layout.prefix :], 1, grid)
    return activation[:, None, None] if layout.kind == "vector" else activation


def _pooled(activation: Tensor, layout: TapLayout) -> Tensor:
    if layout.kind == "vector":
        return activation.to(torch.float32, copy=True)
    if layout.kind == "tokens":
        return activation[:, layout.prefix :].mean(dim=1, dtype=torch.float32)
    return activation.mean(dim=(2, 3) if layout.kind == "nchw" else (1, 2), dtype=torch.float32)
