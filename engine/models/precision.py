"""Number formats: how the forward pass computes, and how coarse the kept values may be.

`fp32` computes in float32 with TF32 off, in products and convolutions; `bf16` and `fp16` run the matrix products in
that type under autocast, and the parameters stay float32. `round_mantissa` drops trailing mantissa bits so that a
lossless codec finds something to compress (Klöwer et al. 2021, doi:10.1038/s43588-021-00156-2).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor

from cvbench.engine.arrays.product import exact_products
from cvbench.errors import UnknownNameError, UsageError

PRECISIONS: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
STORE_DTYPES: dict[str, torch.dtype] = {"float16": torch.float16, "float32": torch.float32}
# storage type: (mantissa bits, integer type of the same width, bits of an infinity)
_FORMATS = {torch.float16: (10, torch.int16, 0x7C00), torch.float32: (23, torch.int32, 0x7F800000)}


def check_precision(precision: str, device: torch.device) -> torch.dtype:
    """The type that the matrix products compute in.

    Raises:
        UnknownNameError: if there is no such precision.
        UsageError: if the card has no bfloat16 arithmetic (below compute capability 8.0, e.g. V100).
    """
    if precision not in PRECISIONS:
        raise UnknownNameError.among("precision", precision, PRECISIONS, fix="--precision fp32, bf16 or fp16")
    if precision == "bf16" and device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        raise UsageError(
            f"{torch.cuda.get_device_name(device)} has no bfloat16 arithmetic",
            why="it came with compute capability 8.0",
            fix="--precision fp16",
        )
    return PRECISIONS[precision]


def store_dtype(name: str) -> torch.dtype:
    """The torch type of a storage type's name."""
    if name not in STORE_DTYPES:
        raise UnknownNameError.among("dtype", name, STORE_DTYPES, fix="float16 or float32")
    return STORE_DTYPES[name]


@contextmanager
def forward_mode(device: torch.device, compute: torch.dtype) -> Iterator[None]:
    """Inference mode, autocast to `compute`, and convolutions without TF32 whose algorithm is not picked by a race."""
    with torch.inference_mode(), _arithmetic(device, compute):
        yield


@contextmanager
def trunk_mode(device: torch.device, compute: torch.dtype) -> Iterator[None]:
    """Enter `forward_mode`, but let a graph begin at a tensor made here, which inference mode forbids."""
    with torch.no_grad(), _arithmetic(device, compute):
        yield


@contextmanager
def _arithmetic(device: torch.device, compute: torch.dtype) -> Iterator[None]:
    autocast = nullcontext() if compute is torch.float32 else torch.autocast(device.type, dtype=compute)
    with exact_arithmetic(device), autocast:
        yield


@contextmanager
def exact_arithmetic(device: torch.device) -> Iterator[None]:
    """Float32 is float32, in products and convolutions alike, and no convolution's algorithm is picked by a race.

    Both have a switch of their own. That of products may be on from outside: by `TORCH_ALLOW_TF32_CUBLAS_OVERRIDE`,
    which some containers set, or by the caller; that of convolutions is on by default.
    """
    convolutions = (
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
        if device.type == "cuda"
        else nullcontext()
    )
    with convolutions, exact_products():
        yield


def round_mantissa(values: Tensor, keep_bits: int) -> Tensor:
    """Round to `keep_bits` explicit mantissa bits, to nearest, ties to even; the dropped bits become zero.

    For normal numbers |rounded - value| <= 2**-(keep_bits + 1) * |value|; a subnormal moves by at most half of its last
    kept place. NaN and infinity stay as they are, and so does a finite number that would round up to infinity.

    Args:
        values: Any shape, float16 (10 mantissa bits) or float32 (23).
        keep_bits: From 1 to the type's mantissa bits (then nothing changes).

    Returns:
        A tensor of the same shape and type.

    Raises:
        UsageError: for another type or number of bits.

    >>> round_mantissa(torch.tensor([1.0, 1.25, 1.375, 65504.0], dtype=torch.float16), 2).tolist()
    [1.0, 1.25, 1.5, 65504.0]
    """
    if values.dtype not in _FORMATS:
        raise UsageError(f"mantissa rounding is for float16 and float32, not {values.dtype}")
    mantissa, integer, infinity = _FORMATS[values.dtype]
    if not 1 <= keep_bits <= mantissa:
        raise UsageError(f"keep_bits is {keep_bits}; {values.dtype} allows 1 to {mantissa}", fix="--keep-bits 5")
    drop = mantissa - keep_bits
    if drop == 0:
        return values
    bits = values.contiguous().view(integer)
    odd = (bits >> drop) & 1  # ties go to the even neighbour
    rounded = (bits + odd + ((1 << (drop - 1)) - 1)) & ~((1 << drop) - 1)
    magnitude = ~(-1 << (mantissa + (5 if mantissa == 10 else 8)))  # every bit but the sign
    # A NaN may carry into the sign bit: test the number before rounding as well as after.
    keep = ((bits & magnitude) >= infinity) | ((rounded & magnitude) >= infinity)
    return torch.where(keep, bits, rounded).view(values.dtype)
