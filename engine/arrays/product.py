"""Matrix products of arrays, read where they lie: NumPy's on the host, torch's on a device."""

from __future__ import annotations

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

    from cvbench.engine.models.precision import exact_arithmetic

    with exact_arithmetic(torch.device("cuda")):
        return from_torch(torch.matmul(to_torch(a), to_torch(b)))
