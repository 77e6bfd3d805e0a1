"""Numbers of every head of one attention layer, of each image.

Of the attention A(q, k) of the patch queries q over all keys k, patches at `pos` and prefix tokens (class, registers)

distance         mean over q of sum_k A(q, k) |pos(q) - pos(k)| / sum_k A(q, k), k over patches; pixels of the input
                 (Dosovitskiy et al. 2021, fig. 7; Raghu et al. 2021): attention to patches counts as a whole
                 (0 for a query that sees no patch)
distance_raw     the same without the division: what goes to prefix tokens counts as distance 0
entropy          mean over q of - sum_k A ln A over all keys; nats, at most ln(number of keys)
class_mass       mean over q of A on the class token
register_mass    mean over q of A on the other prefix tokens

The softmax is computed anew from queries and keys, some heads or a block of queries at a time: memory does not grow
with the square of the tokens, and the network may use any fused kernel. (Of small logits on a CPU one softmax is
enough, see `together`.) Products are in float64, whatever the network's own precision. What each falls short of the
largest of its query's patches is in float32 (in float64 if the queries are), with a relative error of 2^-24 of its
weight however large the products are; all that is of a query is in float64 again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cvbench.engine.models.layouts import Digit, TapLayout

MEASURES = ("distance", "distance_raw", "entropy", "class_mass", "register_mass")
BLOCKS = {"cpu": 2**18, "cuda": 2**24}
"""Attention weights that are computed at a time, by kind of device: 2 MiB of products stay in a core's cache; a GPU
needs more to be busy. A few arrays of them are held."""
_TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True)
class Tokens:
    """Places of the tokens of a layer.

    Attributes:
        grid: (rows, columns) of the patches.
        prefix: Tokens in front of them.
        class_token: Whether the first of these is a class token.
        stride: (down, across) pixels of the input from one patch to the next.
        digits: Of the patches' axis where they do not lie row by row, see `engine.models.layouts`.
    """

    grid: tuple[int, int]
    prefix: int
    class_token: bool
    stride: tuple[float, float]
    digits: tuple[Digit, ...] = ()

    @classmethod
    def of(cls, layout: TapLayout, size: tuple[int, int]) -> Tokens:
        """The tokens of a layer of this layout, of images of (height, width) pixels."""
        grid = layout.height, layout.width
        stride = size[0] / grid[0], size[1] / grid[1]
        return cls(grid, layout.prefix, layout.class_token, stride, layout.digits)

    @property
    def count(self) -> int:
        """All tokens."""
        return self.prefix + self.grid[0] * self.grid[1]

    def places(self, device: torch.device) -> Tensor:
        """(patches, 2) float64: pixels down and across, in the order in which the patches lie.

        >>> Tokens((2, 2), 0, False, (8.0, 4.0), (("column", 2, 1), ("row", 2, 1))).places(torch.device("cpu")).tolist()
        [[0.0, 0.0], [8.0, 0.0], [0.0, 4.0], [8.0, 4.0]]
        """
        digits = self.digits or (("row", self.grid[0], 1), ("column", self.grid[1], 1))
        cells = torch.zeros((2, *(count for _, count, _ in digits)), dtype=torch.float64, device=device)
        for axis, (of, count, step) in enumerate(digits):
            steps = torch.arange(count, dtype=torch.float64, device=device) * step
            cells[int(of == "column")] += steps.view(-1, *[1] * (len(digits) - axis - 1))
        return cells.flatten(1).T * torch.tensor(self.stride, dtype=torch.float64, device=device)


def attention_numbers(
    query: Tensor, key: Tensor, tokens: Tokens, scale: float, mask: Tensor | None = None, *, block: int | None = None
) -> Tensor:
    """Compute the numbers of every head from queries and keys.

    Args:
        query, key: (B, heads, tokens, channels), as the softmax of the layer takes them.
        tokens: Where they stand.
        scale: Of their products.
        mask: Added to the scaled products, or, of bools, whether a key is seen; broadcast to (B, heads, tokens,
            tokens). None for none.
        block: Most attention weights that are computed at a time; None: `BLOCKS`.

    Returns:
        (B, heads, 5) float64, `MEASURES`. Without a class token or registers, their share is 0.
    """
    batch, heads, _, channels = query.shape
    wide = _wide(query).mul_(scale).view(batch * heads, -1, channels)
    turned = _wide(key).view(batch * heads, -1, channels).transpose(1, 2)
    narrow = torch.promote_types(query.dtype, torch.float32)

    def numbers(part: slice, rows: slice, away: Tensor) -> Tensor:
        logits = wide[part, rows] @ turned[part]
        if mask is not None:
            logits = _masked(logits, _part(mask, (batch, heads), part, rows))
        return _of_logits(logits, away, tokens, narrow, masked=mask is not None)

    return _over_blocks(numbers, query, tokens, narrow, block)


def weight_numbers(weights: Tensor, tokens: Tokens, *, block: int | None = None) -> Tensor:
    """Numbers of attention weights (B, heads, tokens, tokens) that a network computes itself."""
    own = weights.flatten(0, 1)

    def numbers(part: slice, rows: slice, away: Tensor) -> Tensor:
        wide = own[part, rows].double()
        entropy = -torch.special.xlogy(wide, wide).sum(dim=-1)
        prefix, patches = wide[..., : tokens.prefix], wide[..., tokens.prefix :]
        reach, there = torch.linalg.vecdot(patches, away), patches.sum(dim=-1)
        return query_numbers(prefix, reach / there.clamp(min=_TINY), reach, entropy, tokens)

    return _over_blocks(numbers, weights, tokens, torch.float64, block)


def _over_blocks(
    numbers: Callable[[slice, slice, Tensor], Tensor], of: Tensor, tokens: Tokens, dtype: torch.dtype, block: int | None
) -> Tensor:
    """(B, heads, 5): means over queries of `numbers` of some heads of some images, and of some queries of theirs."""
    batch, heads, count = of.shape[:3]
    most = BLOCKS.get(of.device.type, BLOCKS["cpu"]) if block is None else block
    places = tokens.places(of.device)
    high = min(len(places), max(1, most // count))
    wide = max(1, most // (high * count))
    total = torch.zeros((batch * heads, len(MEASURES)), dtype=torch.float64, device=of.device)
    for first in range(0, len(places), high):
        away = torch.cdist(places[first : first + high], places).to(dtype)
        rows = slice(tokens.prefix + first, tokens.prefix + min(first + high, len(places)))
        for start in range(0, batch * heads, wide):
            part = slice(start, min(start + wide, batch * heads))
            total[part] += numbers(part, rows, away)
    return total.view(batch, heads, -1) / len(places)


def _wide(tensor: Tensor) -> Tensor:
    """A copy in float64, contiguous."""
    return torch.empty(tensor.shape, dtype=torch.float64, device=tensor.device).copy_(tensor)


def _part(mask: Tensor, shape: tuple[int, int], part: slice, rows: slice) -> Tensor:
    """(heads of images, queries or 1, keys or 1): the mask of a block."""
    whole = mask if mask.ndim >= 2 else mask.expand(1, *mask.shape)
    own = whole.expand(*shape, *whole.shape[-2:])
    if own.shape[2] > 1:
        own = own[:, :, rows]
    number = torch.arange(part.start, part.stop, device=mask.device)
    return own[number // shape[1], number % shape[1]]


def _masked(logits: Tensor, mask: Tensor) -> Tensor:
    if mask.dtype is torch.bool:
        return logits.masked_fill(~mask, -torch.inf)
    return logits + mask.double()


def _of_logits(logits: Tensor, away: Tensor, tokens: Tokens, narrow: torch.dtype, *, masked: bool) -> Tensor:
    """Sums over the queries of a block, see `query_numbers`.

    Args:
        logits: (heads of images, queries, keys) float64, which are overwritten.
        away: (queries, patches) pixels.
        tokens: Where they stand.
        narrow: Of what is computed for each key.
        masked: Whether logits may be -inf.
    """
    prefix, patches = logits[..., : tokens.prefix], logits[..., tokens.prefix :]
    most = patches.amax(dim=-1)
    if masked:
        most = most.clamp(min=torch.finfo(most.dtype).min / 4)  # a query may see no patch
    top = torch.cat([prefix, most[..., None]], dim=-1).amax(dim=-1)
    lower = prefix - top[..., None]
    before, below = lower.exp(), most - top

    short = patches.sub_(most[..., None]).to(narrow)
    weights = short.exp()
    there, reach = weights.sum(dim=-1).double(), torch.linalg.vecdot(weights, away).double()
    if masked:
        short, lower = (one.clamp(min=torch.finfo(one.dtype).min) for one in (short, lower))
    falls = weights.mul_(short).sum(dim=-1).double()

    factor = below.exp()
    total = factor * there + before.sum(dim=-1)
    entropy = total.log() - (factor * (falls + below * there) + (before * lower).sum(dim=-1)) / total
    return query_numbers(
        before / total[..., None], reach / there.clamp(min=_TINY), factor * reach / total, entropy, tokens
    )


def query_numbers(prefix: Tensor, distance: Tensor, raw: Tensor, entropy: Tensor, tokens: Tokens) -> Tensor:
    """(heads of images, 5) float64 sums over queries, of what each has.

    Args:
        prefix: (heads of images, queries, prefix) its attention to prefix tokens.
        distance, raw, entropy: (heads of images, queries).
        tokens: Where they stand.
    """
    first_register = int(tokens.class_token)
    columns = [distance, raw, entropy, prefix[..., :first_register].sum(dim=-1), prefix[..., first_register:].sum(-1)]
    return torch.stack([column.sum(dim=1) for column in columns], dim=-1)
