"""Moves results from the device to host memory without stopping the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def staging(shape: tuple[int, ...], device: str) -> torch.Tensor:
    """A zeroed uint8 host tensor to decode into; page-locked for a CUDA device, whose upload the host then need not
    wait for."""
    return torch.zeros(shape, dtype=torch.uint8, pin_memory=device.startswith("cuda"))


class HostCopy:
    """A copy on its way to the host.

    On CUDA the copy is queued behind the work that makes the tensor, and `numpy` waits for that alone; on the CPU there
    is nothing to copy.
    """

    def __init__(self, tensor: torch.Tensor) -> None:
        self._event: Any = None
        self._host = tensor
        if tensor.is_cuda:
            self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._host.copy_(tensor, non_blocking=True)
            event: Any = torch.cuda.Event  # untyped
            self._event = event()
            self._event.record()

    def numpy(self) -> NDArray[Any]:
        """The values, same shape and dtype as the tensor."""
        if self._event is not None:
            self._event.synchronize()
        return np.ascontiguousarray(self._host.numpy())
