"""Memory of the batches on their way: one block that processes share, used again and again."""

from __future__ import annotations

import mmap
import os
import tempfile
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.models.host_copy import Copies, page_locked
from cvbench.engine.pictures.geometry import Geometry
from cvbench.errors import ResourceError
from cvbench.jobs.extraction.decoding.layout import Layout

if TYPE_CHECKING:
    import torch


class Ring:
    """Slots of a batch each; page-locked for a CUDA device. Threads may share it.

    The block has no name in any file system, so that nothing of it stays however this process ends.

    Args:
        layout: Of a slot, and how many.
        copies: By which the slots go to the device.

    Raises:
        ResourceError: There is no memory for the block, or it cannot be page-locked.
    """

    def __init__(self, layout: Layout, copies: Copies) -> None:
        self.layout = layout
        self.file = _nameless(layout.nbytes)
        weakref.finalize(self, os.close, self.file)
        self._block = mmap.mmap(self.file, layout.nbytes)
        self._copies = copies
        self._free: deque[tuple[int, Any]] = deque((slot, None) for slot in range(layout.slots))
        self._lock = threading.Lock()
        if copies.device.startswith("cuda"):
            whole = np.frombuffer(self._block, np.uint8)
            weakref.finalize(self, page_locked(whole))

    def take(self) -> int:
        """The slot that was given back first; the device has read it. There must be one: see `Feed`."""
        with self._lock:
            slot, read = self._free.popleft()
        if read is not None:
            read.synchronize()
        return slot

    def give_back(self, slot: int) -> None:
        """Let a slot be used again, once the device has read what it was sent until now."""
        read = self._copies.uploaded()
        with self._lock:
            self._free.append((slot, read))

    def views(self, slot: int) -> dict[Geometry, NDArray[np.uint8]]:
        """For each geometry (batch, 3, h, w) uint8."""
        return self.layout.views(self._block, slot)

    def tensors(self, slot: int) -> dict[Geometry, torch.Tensor]:
        """Tensors over the same memory."""
        import torch

        return {geometry: torch.from_numpy(images) for geometry, images in self.views(slot).items()}


def _nameless(size: int) -> int:
    """Descriptor of a file of zeros without a name, in memory where the system has that.

    Raises:
        ResourceError: There is no room.
    """
    try:
        if hasattr(os, "memfd_create"):
            file = os.memfd_create("cvbench-batches", os.MFD_CLOEXEC)
        else:
            with tempfile.TemporaryFile(prefix="cvbench-") as made:
                file = os.dup(made.fileno())
        os.truncate(file, size)
    except OSError as error:
        raise ResourceError(
            f"no memory for batches on their way: {size:,} bytes",
            why=error.strerror,
            fix="a smaller --batch-size, or --decode-in threads",
        ) from error
    return file
