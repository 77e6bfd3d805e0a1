"""Waiting for what another process does, without taking the core that it needs."""

from __future__ import annotations

import time
from collections.abc import Iterator

SHARE = 10
"""Of the time that passes, one part in so many is taken by the looking."""
SHORTEST, LONGEST = 0.01, 0.25
"""Bounds of a pause in seconds: a look that was slow by chance does not let what is awaited go by."""


def looks(deadline: float) -> Iterator[None]:
    """Yields once for every look; a walk through a large store pauses longer than a glance at one file.

    Raises:
        AssertionError: After `deadline` seconds.
    """
    begin = time.monotonic()
    while True:
        look = time.perf_counter()
        yield
        taken = time.perf_counter() - look
        assert time.monotonic() - begin < deadline, f"nothing of what is awaited came in {deadline} seconds"
        time.sleep(min(max(SHORTEST, (SHARE - 1) * taken), LONGEST))
