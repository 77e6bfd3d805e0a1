"""The device's memory is at its end: one error for torch and CuPy, with the option that helps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from cvbench.engine.arrays.cuda import is_out_of_memory
from cvbench.errors import ResourceError

SMALLER_BATCH = "a smaller --batch-size (in a new store: it is part of what a store is)"
"""What helps where a batch is too large."""


@contextlib.contextmanager
def device_memory(what: str, where: str, fix: str) -> Iterator[None]:
    """Turn the device's lack of memory within the block into a `ResourceError`; all else passes.

    Args:
        what: Was computed, for the message.
        where: It was.
        fix: What to do.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise ResourceError(
            f"the device has not enough memory for {what}", where=where, why=str(error).splitlines()[0][:200], fix=fix
        ) from error
