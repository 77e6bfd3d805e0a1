"""Numbers of every head of one attention layer, of each image.

Of the attention A(q, k) of the patch queries q over all keys k, patches at `pos` and prefix tokens (class, registers)

distance         mean over q of sum_k A(q, k) |pos(q) - pos(k)| / sum_k A(q, k), k over patches; pixels of the input
                 (Dosovitskiy et al. 2021, fig. 7; Raghu et al. 2021): attention to patches counts as a whole
                 (0 for a query whose attention to patches is below what float64 holds)
distance_raw     the same without the division: what goes to prefix tokens counts as distance 0
entropy          mean over q of - sum_k A ln A over all keys; nats, at most ln(number of keys)
class_mass       mean over q of A on the class token
register_mass    mean over q of A on the other prefix tokens

The softmax is computed anew from queries and keys, in float64, a block of queries at a time: memory does not grow with
the square of the tokens, and the network may use any fused kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cvbench.engine.models.layouts import Digit, TapLayout

MEASURES = ("distance", "distance_raw", "entropy", "class_mass", "register_mass")
BLOCK = 2**19
"""Attention weights of a block of queries: 4 MiB, of which a few arrays are held at a time."""


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
    query: Tensor, key: Tensor, tokens: Tokens, scale: float, mask: Tensor | None = None, *, block: int = BLOCK
) -> Tensor:
    """Compute the numbers of every head from queries and keys.

    Args:
        query, key: (B, heads, tokens, channels), as the softmax of the layer takes them.
        tokens: Where they stand.
        scale: Of their products.
        mask: Added to the scaled products, or, of bools, whether a key is seen; broadcast to (B, heads, tokens,
            tokens). None for none.
        block: Most attention weights that are held at a time.

    Returns:
        (B, heads, 5) float64, `MEASURES`. Without a class token or registers, their share is 0.
    """
    batch, heads, count, _ = query.shape
    step = max(1, block // (batch * heads * count))
    total = torch.zeros((batch, heads, len(MEASURES)), dtype=torch.float64, device=query.device)
    places = tokens.places(query.device)
    wide, turned = query.double() * scale, key.double().transpose(-2, -1)
    for start in range(tokens.prefix, count, step):
        rows = slice(start, min(start + step, count))
        logits = wide[:, :, rows] @ turned
        if mask is not None:
            logits = _masked(logits, _rows(mask, rows))
        weights = logits.softmax(dim=-1)
        total += _block_numbers(weights, _entropy(weights, logits), places, start - tokens.prefix, tokens)
    return total / len(places)


def weight_numbers(weights: Tensor, tokens: Tokens, *, block: int = BLOCK) -> Tensor:
    """Numbers of attention weights (B, heads, tokens, tokens) that a network computes itself."""
    batch, heads, count, _ = weights.shape
    step = max(1, block // (batch * heads * count))
    total = torch.zeros((batch, heads, len(MEASURES)), dtype=torch.float64, device=weights.device)
    places = tokens.places(weights.device)
    for start in range(tokens.prefix, count, step):
        rows = slice(start, min(start + step, count))
        own = weights[:, :, rows].double()
        entropy = -torch.special.xlogy(own, own).sum(dim=-1)
        total += _block_numbers(own, entropy, places, start - tokens.prefix, tokens)
    return total / len(places)


def _rows(mask: Tensor, rows: slice) -> Tensor:
    return mask if mask.ndim < 2 or mask.shape[-2] == 1 else mask[..., rows, :]


def _masked(logits: Tensor, mask: Tensor) -> Tensor:
    if mask.dtype is torch.bool:
        return logits.masked_fill(~mask, -torch.inf)
    return logits + mask.double()


def _entropy(weights: Tensor, logits: Tensor) -> Tensor:
    """(..., keys) -> (...): ln Z - sum w l, which needs one logarithm a query; the largest weight is exp(max l) / Z."""
    most = logits.amax(dim=-1)
    return most - weights.amax(dim=-1).log() - (weights * logits.nan_to_num(neginf=0.0)).sum(dim=-1)


def _block_numbers(weights: Tensor, entropy: Tensor, places: Tensor, first: int, tokens: Tokens) -> Tensor:
    """(B, heads, 5), sums over the queries of a block, of which patch `first` is the first."""
    away = torch.cdist(places[first : first + weights.shape[2]], places)  # (queries, patches)
    patches = weights[..., tokens.prefix :]
    raw = (patches * away).sum(dim=-1)
    first_register = int(tokens.class_token)
    columns = [
        raw / patches.sum(dim=-1).clamp(min=torch.finfo(torch.float64).tiny),
        raw,
        entropy,
        weights[..., :first_register].sum(dim=-1),
        weights[..., first_register : tokens.prefix].sum(dim=-1),
    ]
    return torch.stack([column.sum(dim=2) for column in columns], dim=-1)
