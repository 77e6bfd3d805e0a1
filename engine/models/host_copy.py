"""Host memory that a device reads and writes without stopping: images on their way up, results on their way down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from cvbench.errors import ResourceError

K = TypeVar("K")


def staging(shape: tuple[int, ...], device: str) -> torch.Tensor:
    """A zeroed uint8 host tensor to decode into; page-locked for a CUDA device, whose upload the host then need not
    wait for."""
    return torch.zeros(shape, dtype=torch.uint8, pin_memory=device.startswith("cuda"))


def page_locked(memory: NDArray[np.uint8]) -> Callable[[], None]:
    """Page-lock memory that is not torch's, as `staging` does with its own; gives what undoes it.

    Unlike with torch's own memory, nothing keeps it from being written to before an upload has read it: see `uploaded`.

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


def sent(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """A small array on a device, by page-locked memory: the host does not wait for what the device does before.

    Args:
        array: Any shape and type; copied, but for the CPU.
        device: "cpu" or a CUDA device.
    """
    here = torch.from_numpy(array)
    return here.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else here


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

    Attributes:
        device: "cpu" or "cuda", with or without a number.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self._up: Any = None
        self._down: Any = None
        if device.startswith("cuda"):
            make: Any = torch.cuda.Stream  # untyped
            self._up, self._down = make(device), make(device)

    def up(self, images: torch.Tensor) -> torch.Tensor:
        """Images of page-locked memory on the device: what it is told from now on finds them there.

        Memory that is not torch's must stay as it is until what is `uploaded` now has been waited for.
        """
        if self._up is None:
            return images.to(self.device)
        computing: Any = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self._up):
            there = images.to(self.device, non_blocking=True)
        computing.wait_stream(self._up)
        there.record_stream(computing)
        return there

    def uploaded(self) -> Any:
        """An event whose `synchronize` waits until all that was sent `up` until now has been read; None on the CPU."""
        return None if self._up is None else _recorded(self._up)

    def down(self, tensors: Mapping[K, torch.Tensor]) -> dict[K, HostCopy]:
        """Begin to copy what the device will have computed by what it was told until now; all arrive together."""
        there = {name: tensor for name, tensor in tensors.items() if tensor.is_cuda}
        found = {name: HostCopy(tensor) for name, tensor in tensors.items()}
        if there:
            self._down.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(self._down):
                here = {name: _copied(tensor) for name, tensor in there.items()}
            arrived = _recorded(self._down)
            for name, tensor in there.items():
                tensor.record_stream(self._down)
                found[name] = HostCopy(here[name], arrived)
        return found


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)


def _recorded(stream: Any) -> Any:
    make: Any = torch.cuda.Event  # untyped
    event = make()
    event.record(stream)
    return event
