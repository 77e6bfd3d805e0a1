"""What a card would have been asked to do: launches, waits of the host, copies, bytes read and written."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, fields, replace


@dataclass
class Counters:
    """Counts since `reset`.

    Attributes:
        launches: Kernels, library calls and copies within the device.
        torch_launches: The same of torch's own operations; views are none.
        waits: Times that the thread which launches stops for the device: for a value, an event or a stream.
        waits_beside: Those of other threads, which keep no kernel from being launched.
        uploads, fetches: Copies to the device and to the host.
        uploaded, fetched: Their bytes.
        moved: Bytes that launches of CuPy's face read and wrote.
        torch_moved: The same of torch's; an operand that is repeated counts as often as it lies there.
    """

    launches: int = 0
    torch_launches: int = 0
    waits: int = 0
    waits_beside: int = 0
    uploads: int = 0
    fetches: int = 0
    uploaded: int = 0
    fetched: int = 0
    moved: int = 0
    torch_moved: int = 0
    thread: int = field(default_factory=threading.get_ident)

    def reset(self) -> None:
        """All to zero; the calling thread is the one that launches."""
        for counted in fields(self):
            setattr(self, counted.name, 0)
        self.thread = threading.get_ident()

    def wait(self) -> None:
        """The calling thread stops for the device."""
        if threading.get_ident() == self.thread:
            self.waits += 1
        else:
            self.waits_beside += 1

    def copy(self) -> Counters:
        """The counts as they are now."""
        return replace(self)

    def __sub__(self, other: Counters) -> Counters:
        """What was counted since."""
        counted = [one.name for one in fields(self) if one.name != "thread"]
        return Counters(**{name: getattr(self, name) - getattr(other, name) for name in counted}, thread=self.thread)


COUNTERS = Counters()
"""Of this process."""
