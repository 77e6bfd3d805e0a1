"""Puts the stand-in in place for a `with` block, and takes it away again."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.standin import cupy_api, torch_cuda
from tests.standin.counters import COUNTERS


@contextlib.contextmanager
def plugged(*, autograd: bool = False) -> Iterator[Any]:
    """`import cupy` gives the stand-in, and torch has a device `cuda:0`; yields the module.

    With `autograd` torch's gradients work there, and autocast does not.
    """
    from cvbench.engine.arrays import array

    modules = cupy_api.make()
    array.forget_device()
    with pytest.MonkeyPatch.context() as patch, torch_cuda.pretended(autograd=autograd):
        for name, module in modules.items():
            patch.setitem(sys.modules, name, module)
        patch.setattr("cvbench.jobs.running.place._DRIVERS", (os.devnull,))  # for who looks before torch
        COUNTERS.reset()
        try:
            yield modules["cupy"]
        finally:
            array.forget_device()


def real() -> Any | None:
    """CuPy and a card, where there are both."""
    import torch

    if not torch.cuda.is_available():
        return None
    try:
        import cupy
    except ImportError:
        return None
    return cupy
