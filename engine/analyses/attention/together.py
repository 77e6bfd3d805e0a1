"""Numbers of every head, and what the heads mix, from one softmax: on a CPU the network need not compute its own again.

Here products are in float32. A logit is at most `LOGITS` in size by the norms of queries and keys (Cauchy-Schwarz; keys
less their mean, which no softmax sees), so that it errs by some 2^-20, its exponential needs no maximum, and means over
queries are those of float64 to a millionth. Images with larger logits, masked attention, other types and devices have
the numbers of `kernel`, in float64, and the network's own kernel.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from cvbench.engine.analyses.attention.kernel import MEASURES, Tokens, attention_numbers, query_numbers

LOGITS = 32.0
"""Largest size of a logit whose product is in float32."""
BLOCK = 2**17
"""Attention weights that are computed at a time: a few arrays of 0.5 MiB stay in a core's cache."""
MOST = 2048
"""Most tokens whose distances are held, 16 MiB for each grid."""


def numbers_and_mixed(
    query: Tensor, key: Tensor, value: Tensor, tokens: Tokens, scale: float, *, block: int = BLOCK
) -> tuple[Tensor, Tensor]:
    """Compute the numbers of every head, and its output.

    Args:
        query, key: (B, heads, tokens, channels), as the softmax of the layer takes them, without a mask.
        value: (B, heads, tokens, any).
        tokens: Where they stand.
        scale: Of the products.
        block: Most attention weights that are computed at a time.

    Returns:
        (B, heads, 5) float64, `MEASURES`; and the values mixed by the softmax, as
        `torch.nn.functional.scaled_dot_product_attention` gives them up to rounding.
    """
    if not fits(query, tokens):
        return _apart(query, key, value, tokens, scale)
    scaled, centred = _contiguous(query).mul_(scale), _contiguous(key)
    centred -= centred.mean(dim=-2, keepdim=True)
    largest = scaled.norm(dim=-1).amax(dim=-1) * centred.norm(dim=-1).amax(dim=-1)
    small = largest.amax(dim=-1) <= LOGITS
    if bool(small.all()):
        return _together(scaled, centred, value, tokens, block)
    if not bool(small.any()):
        return _apart(query, key, value, tokens, scale)
    numbers = torch.empty((*query.shape[:2], len(MEASURES)), dtype=torch.float64)
    mixed = torch.empty((*query.shape[:3], value.shape[-1]))
    numbers[small], mixed[small] = _together(scaled[small], centred[small], value[small], tokens, block)
    numbers[~small], mixed[~small] = _apart(query[~small], key[~small], value[~small], tokens, scale)
    return numbers, mixed


def _contiguous(tensor: Tensor) -> Tensor:
    """A copy."""
    return tensor.clone(memory_format=torch.contiguous_format)


def fits(query: Tensor, tokens: Tokens) -> bool:
    """Whether one softmax is enough: float32 on a CPU, and distances that can be held."""
    return query.device.type == "cpu" and query.dtype is torch.float32 and tokens.count <= MOST


def _apart(query: Tensor, key: Tensor, value: Tensor, tokens: Tokens, scale: float) -> tuple[Tensor, Tensor]:
    """Give the same, each by its own kernel."""
    numbers = attention_numbers(query, key, tokens, scale)
    return numbers, scaled_dot_product_attention(query, key, value, scale=scale)


def _together(query: Tensor, key: Tensor, value: Tensor, tokens: Tokens, block: int) -> tuple[Tensor, Tensor]:
    """Give the same from one softmax, of queries that are scaled, where logits are small."""
    batch, heads, count = query.shape[:3]
    queries, turned, values = query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2), value.flatten(0, 1)
    away, mixed = _away(tokens), torch.empty((batch * heads, count, value.shape[-1]))
    before = torch.empty((batch * heads, count, tokens.prefix))
    there, reach, spread = torch.empty((3, batch * heads, count))
    high = min(count, max(1, block // count))
    wide = max(1, block // (high * count))
    held = torch.empty((2, wide * high * count))
    for first in range(0, count, high):
        rows = slice(first, min(first + high, count))
        for start in range(0, batch * heads, wide):
            part = slice(start, min(start + wide, batch * heads))
            shape = part.stop - part.start, rows.stop - rows.start, count
            logits, weights = (one[: shape[0] * shape[1] * shape[2]].view(shape) for one in held)
            torch.bmm(queries[part, rows], turned[part], out=logits)
            torch.exp(logits, out=weights)
            torch.bmm(weights, values[part], out=mixed[part, rows])
            before[part, rows] = weights[..., : tokens.prefix]
            torch.sum(weights[..., tokens.prefix :], dim=-1, out=there[part, rows])
            torch.sum(logits.mul_(weights), dim=-1, out=spread[part, rows])
            torch.sum(weights.mul_(away[rows]), dim=-1, out=reach[part, rows])
    sums = there.double() + before.sum(dim=-1, dtype=torch.float64)
    mixed /= sums.float()[..., None]
    of_patches = slice(None), slice(tokens.prefix, None)
    numbers = query_numbers(
        (before.double() / sums[..., None])[of_patches],
        (reach.double() / there.double())[of_patches],
        (reach.double() / sums)[of_patches],
        (sums.log() - spread.double() / sums)[of_patches],
        tokens,
    )
    return numbers.view(batch, heads, -1) / (count - tokens.prefix), mixed.view(batch, heads, count, -1)


def _away(tokens: Tokens) -> Tensor:
    """(tokens, tokens) float32 pixels from patch to patch; 0 from and to prefix tokens. Costs 1 % of the softmax: not
    kept."""
    places = tokens.places(torch.device("cpu"))
    found = torch.zeros((tokens.count, tokens.count))
    found[tokens.prefix :, tokens.prefix :] = torch.cdist(places, places)
    return found
