"""Host memory that a device reads and writes without stopping: images on their way up, results on their way down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cvbench.errors import ResourceError


def staging(shape: tuple[int, ...], device: str) -> torch.Tensor:
    """A zeroed uint8 host tensor to decode into; page-locked for a CUDA device, whose upload the host then need not
    wait for."""
    return torch.zeros(shape, dtype=torch.uint8, pin_memory=device.startswith("cuda"))


def page_locked(memory: NDArray[np.uint8]) -> Callable[[], None]:
    """Page-lock memory that is not torch's, as `staging` does with its own; gives what undoes it.

    Unlike with torch's own memory, nothing keeps it from being written to before an upload has read it: see `passed`.

    Args:
        memory: (n,) uint8, contiguous.

    Raises:
        ResourceError: The driver refuses.
    """
    library: Any = torch.cuda  # its runtime is untyped
    runtime = library.cudart()
    code = int(runtime.cudaHostRegister(memory.ctypes.data, memory.nbytes, 0))
    if code:
        raise ResourceError(
            f"{memory.nbytes:,} bytes of host memory cannot be page-locked",
            why=f"CUDA error {code}",
            fix="a smaller --batch-size, or --decode-in threads",
        )

    def undo() -> None:
        runtime.cudaHostUnregister(memory.ctypes.data)  # which lives as long as this is to be done

    return undo


def passed(device: str) -> Any:
    """An event of what the device was told until now, whose `synchronize` waits for it; None on the CPU."""
    if not device.startswith("cuda"):
        return None
    make: Any = torch.cuda.Event  # untyped
    event = make()
    event.record()
    return event


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
            self._event = passed("cuda")

    def numpy(self) -> NDArray[Any]:
        """The values, same shape and dtype as the tensor."""
        if self._event is not None:
            self._event.synchronize()
        return np.ascontiguousarray(self._host.numpy())
