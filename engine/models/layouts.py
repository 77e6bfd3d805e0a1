"""Where height, width and channels stand in an activation, told from its shape.

"nchw"    (B, C, H, W)   H x W keeps the image's aspect, or is 1 x 1
"nhwc"    (B, H, W, C)   likewise. If C = H = W the shape does not tell; a second pass at twice the size does, since
                         only the spatial axes grow
"tokens"  (B, T, C)      T is a patch grid, with or without the model's prefix tokens (class, registers) in front.
                         The grid is the patch embedding's, or that divided by a power of two (pyramids), or one of
                         the network's maps, where its tokens are known to lie row by row. Where the model names no
                         grid, the order of its tokens is unknown: a sequence, height T, width 1. Tokens that lie in
                         another order than row by row have `digits`; their axis may be split, (B, T, N, C)
"vector"  (B, C)         height = width = 1
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["nchw", "nhwc", "tokens", "vector"]
Shape = tuple[int, ...]
Digit = tuple[Literal["row", "column"], int, int]
"""One factor of an axis of tokens: the coordinate that it counts in, its number of steps, and the cells of one step."""


@dataclass(frozen=True)
class TapLayout:
    """The shape of one image's activation at a tap.

    Attributes:
        height, width: The grid, cells.
        channels: C.
        prefix: Tokens in front of the grid.
        kind: Where the axes stand in the raw activation, see above.
        class_token: Whether the first prefix token is a class token (and not a register).
        digits: Of the tokens' axis, the outermost first, where they do not lie row by row; see `in_rows`.
    """

    height: int
    width: int
    channels: int
    prefix: int = 0
    kind: Kind = "nchw"
    class_token: bool = False
    digits: tuple[Digit, ...] = ()


def in_rows(activation: Tensor, layout: TapLayout) -> Tensor:
    """A raw activation with its tokens row by row, (B, prefix + H * W, C); all others, and other kinds, as they are.

    Where the layout has digits, this is a copy; a 2 x 2 grid whose columns are the outer digit:

    >>> import torch
    >>> layout = TapLayout(2, 2, 1, kind="tokens", digits=(("column", 2, 1), ("row", 2, 1)))
    >>> in_rows(torch.tensor([[[11], [21], [12], [22]]]), layout).flatten().tolist()
    [11, 12, 21, 22]
    """
    if not layout.digits:
        return activation.flatten(1, -2) if layout.kind == "tokens" and activation.ndim > 3 else activation
    leading = activation[:, : layout.prefix]
    grid = activation[:, layout.prefix :] if layout.prefix else activation
    places = sorted(range(len(layout.digits)), key=lambda i: (layout.digits[i][0] != "row", -layout.digits[i][2]))
    split = grid.reshape(len(grid), *(count for _, count, _ in layout.digits), layout.channels)
    ordered = split.permute(0, *(1 + place for place in places), split.ndim - 1)
    rows = ordered.reshape(len(grid), layout.height * layout.width, layout.channels)
    if not layout.prefix:
        return rows
    import torch

    return torch.cat([leading, rows], dim=1)


def digits_layout(shape: Shape, digits: Sequence[Digit]) -> TapLayout | None:
    """The layout of tokens (B, T, C) or (B, T, N, C) of this order, or None if they are not as many.

    >>> digits_layout((2, 4, 9, 8), (("row", 2, 3), ("column", 2, 3), ("row", 3, 1), ("column", 3, 1))).height
    6
    """
    rows, columns = (prod(count for of, count, _ in digits if of == axis) for axis in ("row", "column"))
    if prod(shape[1:-1]) != rows * columns:
        return None
    told = tuple(digit for digit in digits if digit[1] > 1)
    plain = told == (("row", rows, 1), ("column", columns, 1))
    return TapLayout(rows, columns, shape[-1], kind="tokens", digits=() if plain else told)


def token_layout(
    shape: Shape,
    grid: tuple[int, int] | None,
    size: tuple[int, int],
    prefix: int,
    class_token: bool,
    maps: Iterable[tuple[int, int]] = (),
) -> TapLayout | None:
    """The layout of tokens (B, T, C), or None if T is neither a grid nor the prefix tokens and a grid.

    Args:
        shape: (B, T, C).
        grid: The patch embedding's (rows, columns); None if the model does not say.
        size: Of the image; any whole stride that divides it can then give the number of tokens.
        prefix: The model's number of prefix tokens.
        class_token: Whether the first of them is a class token.
        maps: Further grids, of a model whose tokens lie row by row on them.

    >>> token_layout((2, 17, 64), (2, 8), (32, 128), 1, True)
    TapLayout(height=2, width=8, channels=64, prefix=1, kind='tokens', class_token=True, digits=())
    """
    tokens, channels = shape[1:]
    known = [*([] if grid is None else _pyramid(grid)), *maps]
    for leading in dict.fromkeys((0, prefix)):
        for rows, columns in known:
            if tokens == leading + rows * columns:
                return TapLayout(rows, columns, channels, leading, "tokens", class_token and leading > 0)
    for leading in dict.fromkeys((0, prefix)) if grid is None else ():
        for rows, columns in _grids_of_strides(size):
            if tokens == leading + rows * columns:
                return TapLayout(tokens - leading, 1, channels, leading, "tokens", class_token and leading > 0)
    return None


def grids_of(size: tuple[int, int], strides: Iterable[int]) -> list[tuple[int, int]]:
    """The grids of more than one cell that these strides leave of an image, rounded up or down.

    >>> grids_of((224, 224), (32, 64))
    [(7, 7), (4, 4), (3, 3)]
    """
    found = [(-(-size[0] // s), -(-size[1] // s)) for s in strides]
    found += [(size[0] // s, size[1] // s) for s in strides]
    return [grid for grid in dict.fromkeys(found) if min(grid) > 0 and prod(grid) > 1]


def _pyramid(grid: tuple[int, int]) -> list[tuple[int, int]]:
    """The grid, halved as long as both edges are even."""
    grids = [grid]
    while grids[-1][0] % 2 == 0 and grids[-1][1] % 2 == 0:
        grids.append((grids[-1][0] // 2, grids[-1][1] // 2))
    return grids


def _grids_of_strides(size: tuple[int, int]) -> list[tuple[int, int]]:
    strides = range(1, min(size) + 1)
    return [(size[0] // s, size[1] // s) for s in strides if size[0] % s == 0 and size[1] % s == 0]


def spatial_kinds(shape: Shape, size: tuple[int, int]) -> list[Kind]:
    """Pairs of axes that could be the grid: of the image's aspect up to one cell, and no finer than the image."""
    pairs: tuple[tuple[Kind, int, int], ...] = (("nchw", shape[2], shape[3]), ("nhwc", shape[1], shape[2]))
    return [kind for kind, height, width in pairs if _is_grid(height, width, size)]


def may_be_attention(shape: Shape, kind: Kind, tokens: set[int]) -> bool:
    """Whether a square "grid" is as long as some layer has tokens: it may be their attention matrix, head by head."""
    height, width = shape[2:] if kind == "nchw" else shape[1:3]
    return height == width > 1 and height in tokens


def _is_grid(height: int, width: int, size: tuple[int, int]) -> bool:
    if size[0] == size[1] or (height, width) == (1, 1):
        return height == width <= size[1]
    # height = size[0] / s and width = size[1] / s, each rounded up or down
    return height <= size[0] and width <= size[1] and abs(height * size[1] - width * size[0]) < max(size)


def kinds_that_grow(shape: Shape, larger: Shape) -> list[Kind]:
    """The layout of a 4-D activation by comparison with an image twice as large; empty if that does not tell.

    An axis of a grid doubles, up to one cell; one of tokens, as in an attention matrix, becomes four times as long.
    """
    if any(b > 2 * a + 1 for a, b in zip(shape, larger, strict=True)):
        return []
    grows = tuple(a != b for a, b in zip(shape, larger, strict=True))[1:]
    decided: dict[tuple[bool, ...], Kind] = {(False, True, True): "nchw", (True, True, False): "nhwc"}
    if grows in decided:
        return [decided[grows]]
    return ["nchw"] if shape[1:] == (1, 1, 1) else []
