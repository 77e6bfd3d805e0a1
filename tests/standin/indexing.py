"""`tensor[key]` by operations that a dispatch mode sees: torch's own asks the driver for the device first."""

from __future__ import annotations

from typing import Any

import torch


def taken(tensor: torch.Tensor, key: Any) -> torch.Tensor:
    """`tensor[key]` of integers, slices, None, Ellipsis and tensors or lists of indices; differentiable."""
    found, there = _viewed(tensor, key)
    return torch.ops.aten.index(found, there) if there else found


def put(tensor: torch.Tensor, key: Any, value: Any) -> None:
    """`tensor[key] = value`."""
    found, there = _viewed(tensor, key)
    given = value if isinstance(value, torch.Tensor) else torch.full((), value, dtype=tensor.dtype, device="cuda:0")
    if there:
        torch.ops.aten.index_put_(found, there, given)
    else:
        torch.ops.aten.copy_(found, given)


def _viewed(tensor: torch.Tensor, key: Any) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
    """The view that integers, slices and None take, and the indices of its axes; none if there are no tensors."""
    parts = list(key) if isinstance(key, tuple) else [key]
    if any(part is Ellipsis for part in parts):
        at = next(i for i, part in enumerate(parts) if part is Ellipsis)
        known = sum(part is not None and part is not Ellipsis for part in parts)
        parts[at : at + 1] = [slice(None)] * (tensor.ndim - known)
    axis, indices, found = 0, list[Any](), tensor
    for part in parts:
        if part is None:
            found = torch.ops.aten.unsqueeze(found, axis)
            indices.append(None)
            axis += 1
        elif isinstance(part, slice):
            if part != slice(None):
                found = torch.ops.aten.slice(found, axis, part.start, part.stop, part.step or 1)
            indices.append(None)
            axis += 1
        elif isinstance(part, torch.Tensor | list):
            indices.append(part if isinstance(part, torch.Tensor) else torch.tensor(part))
            axis += 1
        else:
            found = torch.ops.aten.select(found, axis, int(part))
    if not any(index is not None for index in indices):
        return found, []
    return found, [i if i is None or i.is_cuda else torch.ops.aten._to_copy(i, device="cuda:0") for i in indices]
