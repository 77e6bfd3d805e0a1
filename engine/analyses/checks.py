"""What the analyses of spatial maps ask of a layer before they measure it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cvbench.engine.analyses.base import NOT_FINITE, Layer
from cvbench.errors import IntegrityError, UsageError

WITHOUT_GRID = "left out, as they have no grid of 2x2 at least"
"""How the note begins that a result has on layers without spatial extent."""


def has_extent(shape: Sequence[int]) -> bool:
    """Whether maps of this shape, (n, H, W, C), have a grid of 2x2 at least."""
    return len(shape) == 4 and min(shape[1:3]) >= 2


def check_grid(layer: Layer, shape: Sequence[int], wants: str) -> tuple[int, int]:
    """Height and width of a layer's maps.

    Args:
        layer: For the message.
        shape: (n, H, W, C).
        wants: What needs a grid, for the message.

    Raises:
        UsageError: No grid, or one without spatial extent.
    """
    grid = tuple(shape[1:3]) if len(shape) == 4 else ()
    if not has_extent(shape):
        shown = "x".join(map(str, grid)) or "no"
        raise UsageError(
            f"{layer} has no spatial extent: it has {shown} grid, {wants} needs 2x2 at least",
            where=str(layer),
            fix="choose other layers with --taps, or extract larger images (--image-size)",
        )
    return int(grid[0]), int(grid[1])


def with_extent(shapes: Mapping[Layer, Sequence[int]], wants: str) -> tuple[tuple[Layer, ...], tuple[str, ...]]:
    """Layers whose maps have spatial extent, in their order, and a note on those left out, if there are any.

    Args:
        shapes: Layer -> (n, H, W, C) of its maps.
        wants: What needs a grid, for the messages.

    Raises:
        UsageError: No layer has spatial extent.
    """
    kept = tuple(layer for layer, shape in shapes.items() if has_extent(shape))
    without = [layer for layer in shapes if layer not in kept]
    if not kept and without:
        check_grid(without[0], shapes[without[0]], wants)
    shown = ", ".join(map(str, without[:5])) + (f" and {len(without) - 5} more" if len(without) > 5 else "")
    note = f"{WITHOUT_GRID}, which {wants} needs: {shown}"
    return kept, (note,) if without else ()


def check_samples(layer: Layer, found: int, n: int) -> None:
    """Refuse a layer of another number of samples than its unit.

    Raises:
        IntegrityError: It has.
    """
    if found != n:
        raise IntegrityError(f"{layer} has {found} samples where the unit has {n}", where=str(layer))


def not_finite(layer: Layer) -> IntegrityError:
    """The error for a layer with values that are not finite."""
    return IntegrityError(
        f"{layer} holds values that are not finite",
        where=str(layer),
        fix=NOT_FINITE,
    )
