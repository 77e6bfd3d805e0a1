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
    """A copy of a tensor on its way to the host; on the CPU there is nothing to copy.

    Args:
        host: Where it goes, page-locked; a tensor of the CPU itself.
        arrived: The event of its arrival, None where it is there.
    """

    def __init__(self, host: torch.Tensor, arrived: Any = None) -> None:
        self._host, self._event = host, arrived

    def numpy(self) -> NDArray[Any]:
        """The values, same shape and dtype as the tensor; waits until they are there."""
        if self._event is not None:
            self._event.synchronize()
        return np.ascontiguousarray(self._host.numpy())


class Copies:
    """Copies between the host and one device, each way on a stream of its own: the device computes meanwhile.

    Made once by whoever computes there; threads may share it. What the computing stream gives back is kept from being
    used again while a copy still reads or writes it (`record_stream`), without the host's waiting.

    Args:
        device: "cpu" or "cuda", with or without a number.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._up: Any = None
        self._down: Any = None
        if device.startswith("cuda"):
            make: Any = torch.cuda.Stream  # untyped
            self._up, self._down = make(device), make(device)

    def up(self, images: torch.Tensor) -> torch.Tensor:
        """Images of page-locked memory on the device: what it is told from now on finds them there.

        Their memory must stay as it is until what is `passed` now has been waited for.
        """
        if self._up is None:
            return images.to(self._device)
        computing: Any = torch.cuda.current_stream()
        with torch.cuda.stream(self._up):
            there = images.to(self._device, non_blocking=True)
        computing.wait_stream(self._up)
        there.record_stream(computing)
        return there

    def down(self, tensor: torch.Tensor) -> HostCopy:
        """Begin to copy what the device will have computed by what it was told until now."""
        if not tensor.is_cuda:
            return HostCopy(tensor)
        self._down.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._down):
            host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            host.copy_(tensor, non_blocking=True)
            arrived = passed("cuda")
        tensor.record_stream(self._down)
        return HostCopy(host, arrived)
