"""One array namespace for the kernels: NumPy on the host, CuPy on a CUDA device.

A kernel asks `namespace(x)` for the module its input belongs to and uses only functions that both have, so the same
lines run on either. CuPy is imported only when a CUDA tensor or a CuPy array is met: a machine without a GPU does not
need it. What a kernel needs of constant arrays comes from a `table`, which lies on the device once it was needed there.
"""

from __future__ import annotations

import atexit
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass, replace
from functools import lru_cache, update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.arrays.cuda import device_module
from cvbench.engine.arrays.cuda import forget as forget_cuda
from cvbench.engine.arrays.stream import on_stream_of

if TYPE_CHECKING:
    import torch

Array: TypeAlias = Any
"""A numpy.ndarray or a cupy.ndarray (CuPy has no stubs, and may be absent)."""


Given = ParamSpec("Given")
Made = TypeVar("Made")


class Table(Generic[Given, Made]):
    """Arrays that `build` makes of hashable arguments, kept: on the host, and where arrays of a device asked for it."""

    def __init__(self, build: Callable[Given, Made]) -> None:
        update_wrapper(self, build)

        @lru_cache(maxsize=64)
        def made(*args: Any, **kwargs: Any) -> Made:
            found = build(*args, **kwargs)
            for part in [found, *getattr(found, "__dict__", {}).values()]:
                if isinstance(part, np.ndarray):
                    part.flags.writeable = False
            return found

        @lru_cache(maxsize=64)
        def there(device: int, *args: Any, **kwargs: Any) -> Made:
            return _placed(made(*args, **kwargs))

        # lru_cache wants hashable arguments by their types, which a ParamSpec cannot say.
        self._made: Callable[Given, Made] = cast(Any, made)
        self._there: Callable[..., Made] = cast(Any, there)
        self._clear = there.cache_clear
        _TABLES.append(self)

    def __call__(self, *args: Given.args, **kwargs: Given.kwargs) -> Made:
        return self._made(*args, **kwargs)

    def on(self, like: Array, *args: Given.args, **kwargs: Given.kwargs) -> Made:
        """Give the same, its arrays where `like` is. The first time on a device it is copied there, and waited for."""
        if isinstance(like, np.ndarray):
            return self._made(*args, **kwargs)
        return self._there(like.device.id, *args, **kwargs)

    def forget_devices(self) -> None:
        """Let go what lies on devices."""
        self._clear()


_TABLES: list[Table[Any, Any]] = []


def table(build: Callable[Given, Made]) -> Table[Given, Made]:
    """Keep what `build` makes of hashable arguments: a NumPy array, or a dataclass of some. It is made read-only, since
    all threads share it; nobody writes to its copy on a device.

    >>> @table
    ... def ones(n: int) -> NDArray[np.float64]:
    ...     return np.ones(n)
    >>> ones(2) is ones(2), ones(2).flags.writeable, ones.on(np.zeros(1), 2) is ones(2)
    (True, False, True)
    """
    return Table(build)


def _placed(made: Made) -> Made:
    """A copy on the current device, complete on return: any stream may read it."""
    cupy = device_module()
    _forget_at_exit()
    if isinstance(made, np.ndarray):
        found: Any = cupy.asarray(made)
    else:
        assert is_dataclass(made)
        assert not isinstance(made, type)
        parts = {name: cupy.asarray(part) for name, part in vars(made).items() if isinstance(part, np.ndarray)}
        found = replace(made, **parts)
    cupy.cuda.get_current_stream().synchronize()
    return cast(Made, found)


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
        return device_module()
    raise TypeError(f"expected a NumPy or CuPy array, got {type(array).__module__}.{type(array).__qualname__}")


def to_host(array: Array) -> NDArray[Any]:
    """`array` as a NumPy array: itself if it is one, else a copy from the device (which waits for its kernels)."""
    host: NDArray[Any] = np.asarray(array) if namespace(array) is np else array.get()
    return host


def to_device(array: NDArray[Any], device: str) -> Array:
    """A host array where the kernels shall run: itself for "cpu", a CuPy copy for "cuda".

    Raises:
        ResourceError: "cuda" without CuPy, or with one that cannot use the card.
    """
    return device_module().asarray(array) if device == "cuda" else array


def from_torch(tensor: torch.Tensor) -> Array:
    """View a tensor's memory as a NumPy (CPU) or CuPy (CUDA, by DLPack) array; only bfloat16 is copied, to float32.

    The array keeps the tensor's memory alive. Torch and CuPy order their work by stream and torch reuses freed memory
    on its own stream only: work on the array of a CUDA tensor inside `torch_stream`.
    """
    tensor = tensor.detach()
    if str(tensor.dtype) == "torch.bfloat16":  # NumPy has no bfloat16, CuPy only from version 14
        tensor = tensor.float()
    return device_module().from_dlpack(tensor) if tensor.is_cuda else tensor.numpy()


def to_torch(array: Array) -> torch.Tensor:
    """View an array's memory as a tensor, on the device where it lies; the tensor keeps it alive."""
    import torch

    from_dlpack: Any = torch.from_dlpack  # type: ignore[attr-defined]  # public, and in no `__all__`
    found: torch.Tensor = torch.from_numpy(array) if namespace(array) is np else from_dlpack(array)
    return found


@contextlib.contextmanager
def torch_stream(tensor: torch.Tensor) -> Iterator[None]:
    """Run CuPy on torch's current stream of the tensor's device, so neither waits for nor overtakes the other."""
    if not tensor.is_cuda:
        yield
        return
    with on_stream_of(device_module(), tensor.device):
        yield


@contextlib.contextmanager
def device_stream(device: str) -> Iterator[None]:
    """Enter `torch_stream` of a device by its name; nothing for "cpu"."""
    if device == "cpu":
        yield
        return
    import torch

    with on_stream_of(device_module(), torch.device("cuda", torch.cuda.current_device())):
        yield


def forget_device() -> None:
    """Let go what lies on devices, and which module they have: the next array asks anew."""
    forget_tables()
    forget_cuda()


def forget_tables() -> None:
    """Let go the tables that lie on devices."""
    for one in _TABLES:
        one.forget_devices()


@lru_cache(maxsize=1)
def _forget_at_exit() -> None:
    """Before the interpreter takes apart what would free them."""
    atexit.register(forget_tables)
