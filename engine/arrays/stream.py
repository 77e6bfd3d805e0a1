"""CuPy on the stream that torch works on, whichever releases of the two are there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class _Torchs:
    """A stream of torch's, said as CUDA's stream protocol has it: torch's own streams know that from 2.10 on."""

    stream: Any

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, int(self.stream.cuda_stream)


@contextlib.contextmanager
def on_stream_of(cupy: Any, device: torch.device) -> Iterator[None]:
    """Run CuPy on torch's current stream of a device within the block.

    Args:
        cupy: The module.
        device: A CUDA device with its number.
    """
    import torch

    stream = torch.cuda.current_stream(device)
    with cupy.cuda.Device(device.index):  # first: a stream of CuPy's is of the device that is current where it is made
        external = getattr(cupy.cuda.Stream, "from_external", None)  # CuPy 14; before, `ExternalStream`
        with external(_Torchs(stream)) if external else cupy.cuda.ExternalStream(stream.cuda_stream):
            yield
