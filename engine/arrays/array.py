"""One array namespace for the kernels: NumPy on the host, CuPy on a CUDA device.

A kernel asks `namespace(x)` for the module its input belongs to and uses only functions that both have, so the same
lines run on either. CuPy is imported only when a CUDA tensor or a CuPy array is met: a machine without a GPU does not
need it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import ResourceError

if TYPE_CHECKING:
    import torch

Array: TypeAlias = Any
"""A numpy.ndarray or a cupy.ndarray (CuPy has no stubs, and may be absent)."""


Given = ParamSpec("Given")
Made = TypeVar("Made")


def table(build: Callable[Given, Made]) -> Callable[Given, Made]:
    """Keep what `build` makes of hashable arguments: a NumPy array, or a dataclass of some. It is made read-only, since
    all threads share it.

    >>> @table
    ... def ones(n: int) -> NDArray[np.float64]:
    ...     return np.ones(n)
    >>> ones(2) is ones(2), ones(2).flags.writeable
    (True, False)
    """

    @lru_cache(maxsize=64)
    @wraps(build)
    def kept(*args: Given.args, **kwargs: Given.kwargs) -> Made:
        made = build(*args, **kwargs)
        for part in [made, *getattr(made, "__dict__", {}).values()]:
            if isinstance(part, np.ndarray):
                part.flags.writeable = False
        return made

    return kept  # type: ignore[return-value]  # lru_cache forgets the parameters


def namespace(array: Array) -> Any:
    """The module whose functions take `array`: `numpy`, or `cupy` for a CuPy array.

    >>> namespace(np.zeros(3)).__name__
    'numpy'

    Raises:
        TypeError: for anything else, torch tensors among them (use `from_torch`).
    """
    if isinstance(array, np.ndarray | np.generic):
        return np
    if type(array).__module__.partition(".")[0] == "cupy":
        return _cupy()
    raise TypeError(f"expected a NumPy or CuPy array, got {type(array).__module__}.{type(array).__qualname__}")


def to_host(array: Array) -> NDArray[Any]:
    """`array` as a NumPy array: itself if it is one, else a copy from the device (which waits for its kernels)."""
    host: NDArray[Any] = np.asarray(array) if namespace(array) is np else array.get()
    return host


def to_device(array: NDArray[Any], device: str) -> Array:
    """A host array where the kernels shall run: itself for "cpu", a CuPy copy for "cuda".

    Raises:
        ResourceError: "cuda" without CuPy.
    """
    return _cupy().asarray(array) if device == "cuda" else array


def from_torch(tensor: torch.Tensor) -> Array:
    """View a tensor's memory as a NumPy (CPU) or CuPy (CUDA, by DLPack) array; only bfloat16 is copied, to float32.

    The array keeps the tensor's memory alive. Torch and CuPy order their work by stream and torch reuses freed memory
    on its own stream only: work on the array of a CUDA tensor inside `torch_stream`.
    """
    tensor = tensor.detach()
    if str(tensor.dtype) == "torch.bfloat16":  # NumPy has no bfloat16, CuPy only from version 14
        tensor = tensor.float()
    return _cupy().from_dlpack(tensor) if tensor.is_cuda else tensor.numpy()


@contextlib.contextmanager
def torch_stream(tensor: torch.Tensor) -> Iterator[None]:
    """Run CuPy on torch's current stream of the tensor's device, so neither waits for nor overtakes the other."""
    if not tensor.is_cuda:
        yield
        return
    import torch

    cupy = _cupy()
    with (
        cupy.cuda.Device(tensor.device.index),
        cupy.cuda.ExternalStream(torch.cuda.current_stream(tensor.device).cuda_stream),
    ):
        yield


def _cupy() -> Any:
    try:
        import cupy
    except ImportError as error:
        raise ResourceError(
            "CuPy is needed for arrays on a CUDA device and cannot be imported",
            why=str(error),
            fix="pip install 'cvbench[cuda12]' (V100: always cuda12), or --device cpu",
        ) from error
    return cupy
