"""Matrix products of arrays, read where they lie: NumPy's on the host, torch's on a device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from cvbench.engine.arrays.array import Array, from_torch, namespace, to_torch


def product(a: Array, b: Array) -> Array:
    """`a @ b` of arrays of one type, float32 (TF32 off) or float64.

    CuPy would copy operands of more than two axes that are transposed, and multiply by lists of pointers where one is
    repeated along an axis; torch hands cuBLAS strides for both. Work on a device within its `torch_stream`.
    """
    if namespace(a) is np:
        return a @ b
    import torch

    with exact_products():
        return from_torch(torch.matmul(to_torch(a), to_torch(b)))


@contextlib.contextmanager
def exact_products() -> Iterator[None]:
    """Let torch multiply float32 as float32 on a card, whatever the caller or the environment has set."""
    import torch

    products = torch.backends.cuda.matmul
    before = products.allow_tf32
    products.allow_tf32 = False
    try:
        yield
    finally:
        products.allow_tf32 = before
