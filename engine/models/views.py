"""Views: what is kept of an activation, reduced where it is computed.

pooled  (B, C)        mean over the grid, prefix tokens left out, accumulated in float32
cls     (B, C)        the class token; comes with `pooled` and `maps` where the tap has one, or alone
maps    (B, H, W, C)  the whole grid, prefix tokens left out
head    (B, D)        what the classifier reads: ViT's class token after the norm, ConvNeXt's pooled and normed features
logits  (B, K)        before the softmax
registers  (B, R, C)  the prefix tokens that are no class token: registers, a distillation token

A package installed beside cvbench adds one by an entry point of the group `cvbench.views`, whose name is the view's and
which names a `View`; it is imported when the view is first used.

Importing this imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from cvbench.engine.models.layouts import TapLayout
from cvbench.errors import CvbenchError, UnknownNameError, UsageError
from cvbench.plugins import load_plugin, plugins

if TYPE_CHECKING:
    import torch
    from torch import Tensor

GROUP = "cvbench.views"
MADE_BY = "view_made_by"
"""Key of a fingerprint that says which code made the view, where that is a plugin's."""

Source = Literal["tap", "head", "logits"]


def _any(layout: TapLayout) -> bool:
    return True


@dataclass(frozen=True)
class View:
    """One way to keep what a backbone computes.

    Attributes:
        name: As `--view` takes it and as the store names it.
        about: What it is, in words.
        dims: Names of the axes behind that of the samples; ("channel",) for a vector.
        shape: Layout of what it reads -> the shape of one sample's array, along `dims`.
        apply: (what it reads, its layout, dtype) -> (B, *shape) of that dtype, contiguous and sharing no memory with
            what it reads, which the network may overwrite in place.
        source: What it reads. "tap": the output of each tap asked for, (B, ...) with the axes of `layout.kind`; "head":
            what the classifier reads, (B, D); "logits": what it says, (B, K); both with a layout of kind "vector".
        dtype: Stored type, whatever is asked for; such values are never rounded. "": the one asked for.
        needs: Whether it can be taken of a tap of this layout; there is no array of the others.
        lacking: What these do not have, for the message.
        comes_with: Views that it is taken beside, unasked; a plugin's with none.
        in_part: Whether the samples of `--maps` are enough, as it is large.
        version: To be raised when its numbers change; a plugin's is part of the features' fingerprint.
    """

    name: str
    about: str
    dims: tuple[str, ...]
    shape: Callable[[TapLayout], tuple[int, ...]]
    apply: Callable[[Tensor, TapLayout, torch.dtype], Tensor]
    source: Source = "tap"
    dtype: Literal["", "float16", "float32"] = ""
    needs: Callable[[TapLayout], bool] = _any
    lacking: str = ""
    comes_with: tuple[str, ...] = ()
    in_part: bool = False
    version: int = 1

    def layouts(
        self, taps: Mapping[str, TapLayout], head_sizes: Mapping[str, int], model: str = "this model"
    ) -> dict[str, TapLayout]:
        """Tap -> layout of all that it is taken of; a view of the head has one, of its own name.

        Args:
            taps: Layouts of the taps asked for.
            head_sizes: {"head": D, "logits": K}; no "logits" without a classifier.
            model: Its name, for the message.

        Raises:
            UsageError: A view of the logits, and the model has no classifier.
        """
        if self.source == "tap":
            return {tap: layout for tap, layout in taps.items() if self.needs(layout)}
        if self.source not in head_sizes:
            raise UsageError(
                f"{model} has no classifier, so no {self.name}",
                fix=f"leave --view {self.name} out, or take a model with a head",
            )
        return {self.name: TapLayout(1, 1, head_sizes[self.source], kind="vector")}


@dataclass(frozen=True)
class Request:
    """One array to compute: a view of a tap. For a view of the head the tap has the view's name."""

    view: str
    tap: str


def spatial(activation: Tensor, layout: TapLayout) -> Tensor:
    """A raw activation as (B, H, W, C), prefix tokens left out; shares its memory."""
    if layout.kind == "nchw":
        return activation.permute(0, 2, 3, 1)
    if layout.kind == "tokens":
        batch, _, channels = activation.shape
        return activation[:, layout.prefix :].view(batch, layout.height, layout.width, channels)
    return activation[:, None, None] if layout.kind == "vector" else activation


def _channels(layout: TapLayout) -> tuple[int, ...]:
    return (layout.channels,)


def _grid(layout: TapLayout) -> tuple[int, ...]:
    return layout.height, layout.width, layout.channels


def _pooled(activation: Tensor, layout: TapLayout, dtype: torch.dtype) -> Tensor:
    import torch

    if layout.kind == "vector":
        return activation.to(torch.float32, copy=True).to(dtype)
    if layout.kind == "tokens":
        return activation[:, layout.prefix :].mean(dim=1, dtype=torch.float32).to(dtype)
    return activation.mean(dim=(2, 3) if layout.kind == "nchw" else (1, 2), dtype=torch.float32).to(dtype)


def _class_token(activation: Tensor, layout: TapLayout, dtype: torch.dtype) -> Tensor:
    return _copied(activation[:, 0], dtype)


def _registers(activation: Tensor, layout: TapLayout, dtype: torch.dtype) -> Tensor:
    return _copied(activation[:, int(layout.class_token) : layout.prefix], dtype)


def _register_shape(layout: TapLayout) -> tuple[int, ...]:
    return layout.prefix - int(layout.class_token), layout.channels


def _maps(activation: Tensor, layout: TapLayout, dtype: torch.dtype) -> Tensor:
    return _copied(spatial(activation, layout), dtype)


def _copied(values: Tensor, dtype: torch.dtype) -> Tensor:
    import torch

    return values.to(dtype, copy=True, memory_format=torch.contiguous_format)


def _vector(values: Tensor, layout: TapLayout, dtype: torch.dtype) -> Tensor:
    return values.to(dtype)


VECTOR = ("channel",)
POOLED, MAPS = "pooled", "maps"
BUILT_IN = {
    view.name: view
    for view in (
        View(POOLED, "mean over positions", VECTOR, _channels, _pooled),
        View(
            "cls",
            "class token",
            VECTOR,
            _channels,
            _class_token,
            needs=lambda layout: layout.class_token,
            lacking="class token",
            comes_with=(POOLED, MAPS),
        ),
        View(MAPS, "all positions", ("row", "column", "channel"), _grid, _maps, in_part=True),
        View("head", "head", VECTOR, _channels, _vector, source="head", dtype="float32"),
        View("logits", "view logits", VECTOR, _channels, _vector, source="logits", dtype="float32"),
        View(
            "registers",
            "register tokens",
            ("token", "channel"),
            _register_shape,
            _registers,
            needs=lambda layout: layout.prefix > int(layout.class_token),
            lacking="register tokens",
        ),
    )
}
"""Name -> view, of those that are not a plugin's."""


def stored_views() -> tuple[str, ...]:
    """Names of all views that a store may hold and `--view` of an extraction takes; nothing is imported."""
    return (*BUILT_IN, *(name for name in plugins(GROUP) if name not in BUILT_IN))


def vector_views() -> tuple[str, ...]:
    """Names of the views of one vector a sample, and of plugins' views, which may be; nothing is imported."""
    return tuple(name for name in stored_views() if name not in BUILT_IN or BUILT_IN[name].dims == VECTOR)


@cache
def find_view(name: str) -> View:
    """The view of a name; a plugin's is imported.

    Raises:
        UnknownNameError: There is none; names its neighbours.
        UsageError: A plugin's that cannot be imported, or is no view; or whose name another view has.
    """
    if name in BUILT_IN and name in plugins(GROUP):
        raise UsageError(
            f"a package adds a view {name!r}, which cvbench has",
            where=", ".join(point.value for point in plugins(GROUP)[name]),
            fix="uninstall it, or give its view another name",
        )
    if name in BUILT_IN:
        return BUILT_IN[name]
    if name not in plugins(GROUP):
        raise UnknownNameError.among("view", name, stored_views(), fix=f"--view {', '.join(stored_views())}")
    found = load_plugin(GROUP, name, View)
    if found.name != name or found.comes_with:
        raise UsageError(
            f"the plugin's view {name!r} cannot be used",
            where=plugins(GROUP)[name][0].value,
            why="it comes with other views" if found.comes_with else f"it calls itself {found.name!r}",
            fix="leave `comes_with` empty; the entry point's name and the view's must be the same",
        )
    return found


def known_view(name: str) -> View | None:
    """Find a view as `find_view`; None for no view, or a plugin's that is gone or cannot be imported."""
    try:
        return find_view(name)
    except CvbenchError:
        return None


def made_by(name: str) -> dict[str, Any]:
    """Fields of the fingerprint for the code behind a plugin's view; none for a view of cvbench's own."""
    if name in BUILT_IN or name not in plugins(GROUP):
        return {}
    return {MADE_BY: plugins(GROUP)[name][0].value, "view_version": find_view(name).version}


def check_views(views: Sequence[str]) -> None:
    """Raise UnknownNameError if one of `views` does not exist, UsageError if a plugin's cannot be used."""
    for view in views:
        find_view(view)


def with_companions(views: Sequence[str]) -> list[View]:
    """The views of these names, each once, and behind them those that come with them."""
    wanted = dict.fromkeys(views)
    beside = [view.name for view in BUILT_IN.values() if not wanted.keys().isdisjoint(view.comes_with)]
    return [find_view(name) for name in dict.fromkeys([*wanted, *beside])]


def expand_views(views: Sequence[str], layouts: Mapping[str, TapLayout]) -> list[Request]:
    """The requests for `views` of the taps in `layouts`, view by view, taps in the order given.

    `cls` is added by itself when `pooled` or `maps` is asked for; taps without a class token have none.

    Raises:
        UnknownNameError: for a view that does not exist.
    """
    requests: list[Request] = []
    for view in with_companions(views):
        if view.source == "tap":
            requests += [Request(view.name, tap) for tap, layout in layouts.items() if view.needs(layout)]
        else:
            requests.append(Request(view.name, view.name))
    return requests


def sample_shape(
    request: Request, layouts: Mapping[str, TapLayout], head_sizes: Mapping[str, int]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Shape of one sample's array, and the names of its axes.

    >>> sample_shape(Request("maps", "stem"), {"stem": TapLayout(7, 5, 96)}, {})
    ((7, 5, 96), ('row', 'column', 'channel'))

    Raises:
        UsageError: The model or tap has no such view.
    """
    view = find_view(request.view)
    layout = view.layouts(layouts, head_sizes)[request.tap]
    shape = view.shape(layout)
    if len(shape) != len(view.dims):
        raise UsageError(f"the view {view.name} gives {len(shape)} axes and names {len(view.dims)}", where=request.tap)
    return shape, view.dims


def apply_view(name: str, values: Tensor, layout: TapLayout, dtype: torch.dtype) -> Tensor:
    """Reduce what a view reads.

    Args:
        name: Of the view.
        values: As the module returned it, (B, ...) in the axes of `layout.kind`; or (B, D) of the head.
        layout: Of these.
        dtype: Of the result. A value beyond its range becomes infinite.

    Returns:
        (B, *shape) with the view's shape; contiguous, and sharing no memory with the values, which the network may
        overwrite in place.

    Raises:
        UsageError: A plugin's view that gives something else.
    """
    view = find_view(name)
    found = view.apply(values, layout, dtype)
    expected = (len(values), *view.shape(layout))
    if tuple(found.shape) != expected or found.dtype is not dtype:
        raise UsageError(
            f"the view {name} gives {found.dtype} {tuple(found.shape)}",
            why=f"what it says of itself is {dtype} {expected}",
            fix="its `apply` and its `shape` must agree",
        )
    return found
