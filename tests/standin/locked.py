"""Page-locked memory of the stand-in: what lies elsewhere goes up only while the host waits, whatever it asks for."""

from __future__ import annotations

import weakref

import torch

_LOCKED: dict[int, int] = {}
"""Address -> bytes."""


def lock(address: int, size: int) -> None:
    """Page-lock memory."""
    _LOCKED[address] = size


def unlock(address: int) -> None:
    """Undo `lock`."""
    _LOCKED.pop(address, None)


def locked(tensor: torch.Tensor) -> torch.Tensor:
    """Page-lock the memory of a tensor for as long as there is any."""
    storage = tensor.untyped_storage()
    lock(storage.data_ptr(), storage.nbytes())
    weakref.finalize(storage, unlock, storage.data_ptr())
    return tensor


def is_locked(tensor: torch.Tensor) -> bool:
    """Whether all of a tensor's memory is page-locked; of none it is."""
    first, size = tensor.data_ptr(), tensor.nbytes
    return not size or any(start <= first and first + size <= start + held for start, held in _LOCKED.items())
