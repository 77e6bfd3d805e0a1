"""`tensor[key]` by operations that a dispatch mode sees: torch's own asks the driver for the device first."""

from __future__ import annotations

from typing import Any

import torch


def taken(tensor: torch.Tensor, key: Any) -> torch.Tensor:
    """`tensor[key]` of integers, slices, None, Ellipsis and tensors or lists of indices; differentiable."""
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
    if any(index is not None for index in indices):
        there = [None if i is None else i.to(found.device) for i in indices]
        found = torch.ops.aten.index(found, there)
    return found


def put(tensor: torch.Tensor, key: Any, value: Any) -> None:
    """`tensor[key] = value`, of what `taken` gives as a view."""
    taken(tensor, key).copy_(torch.as_tensor(value, dtype=tensor.dtype, device=tensor.device))
