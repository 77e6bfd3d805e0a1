"""The array of the stand-in: NumPy's memory behind CuPy's manners.

It refuses what CuPy's refuses: to become a NumPy array by itself, to meet one in an operation, names and keywords that
CuPy has not. A value that the host asks for is a wait. Memory is NaN before it is written and once it is freed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tests.standin.counters import COUNTERS
from tests.standin.surface import parameters

POISON = np.nan
VIEWS = ("T", "real", "imag", "reshape", "transpose", "swapaxes", "squeeze", "diagonal", "view", "ravel")
REDUCED = ("all", "any", "argmax", "argmin", "max", "mean", "min", "prod", "std", "sum", "var", "trace")
OTHERS = ("argpartition", "argsort", "clip", "copy", "dot", "repeat", "searchsorted", "take")


class OutOfMemoryError(MemoryError):
    """As CuPy raises it: no error of torch's, and no `CvbenchError`."""

    def __init__(self, size: int, total: int, limit: int = 0) -> None:
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes).")


OutOfMemoryError.__module__ = "cupy.cuda.memory"


class Memory:
    """Limits of the pretended memory: bytes of one array of CuPy's, and of one result and copy of torch's.

    Attributes:
        held, most: Bytes of all tensors of torch's, now and at most since it was set.
    """

    largest: int | None = None
    largest_result: int | None = None
    largest_copy: int | None = None
    held = most = 0


class Block:
    """Owner of memory on the device: when nothing refers to it any more, what is left there is NaN."""

    def __init__(self, values: Any) -> None:
        if Memory.largest is not None and values.nbytes > Memory.largest:
            raise OutOfMemoryError(values.nbytes, 0)
        self._values = values

    def __del__(self) -> None:
        values = getattr(self, "_values", None)
        if isinstance(values, np.ndarray):
            poison(values)


def poison(values: np.ndarray[Any, Any]) -> None:
    """Overwrite floating-point values with NaN."""
    if values.dtype.kind in "fc" and values.flags.writeable:
        values[...] = POISON


class ndarray:  # as CuPy calls it
    """An array on the pretended device; made by functions of `cupy_api` alone."""

    __slots__ = ("__weakref__", "_block", "_host")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, host: np.ndarray[Any, Any], block: Any = None) -> None:
        self._host = host
        self._block = Block(host) if block is None else block

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__":
            return NotImplemented
        parameters("functions", ufunc.__name__)
        return launch(ufunc, *inputs, **kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        raise TypeError(f"numpy.{function.__name__} of CuPy's arrays: call CuPy's own")

    @property
    def device(self) -> Any:
        from tests.standin.cupy_cuda import Device

        return Device()

    def __getattr__(self, name: str) -> Any:
        known = parameters("array", name)
        if known is None and name not in VIEWS:
            return getattr(self._host, name)
        if known is None:
            return view_of(self, getattr(self._host, name))

        def method(*args: Any, **kwargs: Any) -> Any:
            if name not in ("reshape", "transpose"):
                known.check(name, args, kwargs)
            if name in VIEWS:
                return view_of(self, getattr(self._host, name)(*args, **kwargs))
            if name in (*REDUCED, *OTHERS):
                return launch(getattr(np.ndarray, name), self, *args, **kwargs)
            raise NotImplementedError(f"the stand-in has no ndarray.{name}")

        return method

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> Any:
        _check("astype", (dtype, *args), kwargs)
        if not kwargs.get("copy", True) and np.dtype(dtype) == self._host.dtype and kwargs.get("order", "K") == "K":
            return self
        return launch(np.ndarray.astype, self, dtype, *args, **kwargs)

    def fill(self, value: Any) -> None:
        host_of(value)
        count(self._host)
        self._host.fill(value)

    def sort(self, axis: int = -1, kind: Any = None) -> None:
        count(self._host)
        self._host.sort(axis)

    def nonzero(self) -> tuple[Any, ...]:
        COUNTERS.wait()  # the length of what it gives is a value on the device
        count(self._host)
        return tuple(ndarray(part) for part in self._host.nonzero())

    def get(self, *args: Any, **kwargs: Any) -> Any:
        from tests.standin.cupy_cuda import fetch

        _check("get", args, kwargs)
        return fetch(self._host, *args, **kwargs)

    def item(self) -> Any:
        waited(self._host)
        return self._host.item()

    def tolist(self) -> Any:
        waited(self._host)
        return self._host.tolist()

    def __dlpack__(self, **_: Any) -> Any:
        raise NotImplementedError("the stand-in's arrays go to torch by torch.from_dlpack of the pretended CUDA")

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return int(self.item())

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"cupy {self._host!r}"

    def __getitem__(self, key: Any) -> Any:
        found = self._host[index_of(key)]
        if _is_fancy(key):
            values = np.array(found)
            count(values, values)
            return ndarray(values)
        if isinstance(found, np.ndarray):
            return ndarray(found, self._block)
        one = self._host[(*key, None) if isinstance(key, tuple) else (key, None)]
        return ndarray(one.reshape(()), self._block)  # one number of it is a view of it still

    def __setitem__(self, key: Any, value: Any) -> None:
        count(np.asarray(host_of(value)))
        self._host[index_of(key)] = host_of(value)


def _check(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    known = parameters("array", name)
    assert known is not None
    known.check(name, args, kwargs)


def waited(values: np.ndarray[Any, Any]) -> None:
    """One number that the host asks for."""
    COUNTERS.wait()
    COUNTERS.fetches += 1
    COUNTERS.fetched += values.nbytes


def count(*touched: np.ndarray[Any, Any]) -> None:
    """One launch over these."""
    COUNTERS.launches += 1
    COUNTERS.moved += sum(values.nbytes for values in touched)


def host_of(value: Any) -> Any:
    """What an operand holds.

    Raises:
        TypeError: It is a NumPy array, or anything else that CuPy does not take.
    """
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {np.ndarray}: a NumPy array meets one of CuPy's")
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "numel"):
        raise TypeError("Unsupported type: a tensor meets an array of CuPy's")
    return value


def index_of(key: Any) -> Any:
    """An index as the host takes it; one of the host's arrays goes up first, and a mask makes the host wait."""
    if isinstance(key, tuple):
        return tuple(index_of(part) for part in key)
    if isinstance(key, ndarray):
        if key._host.dtype == bool:
            COUNTERS.wait()
        return key._host
    if isinstance(key, np.ndarray | list):
        COUNTERS.uploads += 1
        COUNTERS.uploaded += np.asarray(key).nbytes
    return key


def _is_fancy(key: Any) -> bool:
    parts = key if isinstance(key, tuple) else (key,)
    return any(isinstance(part, ndarray | np.ndarray | list) for part in parts)


def view_of(source: ndarray, found: Any) -> Any:
    """What a method gives that moves nothing; a launch if it had to copy."""
    if not isinstance(found, np.ndarray):
        return found
    if np.may_share_memory(found, source._host) or not found.size:
        return ndarray(found, source._block)
    count(source._host, found)
    return ndarray(found)


def _copied_for_product(a: Any, b: Any) -> None:
    """What CuPy does before a product: operands that do not lie as it wants them are copied, and of operands that are
    repeated along an axis it makes lists of pointers, by a kernel for each axis and each of the three arrays."""
    if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)):
        return
    axes = max(a.ndim, b.ndim) - 2
    for one in (a, b):
        if not (one.flags.c_contiguous or (axes <= 0 and one.flags.f_contiguous)):
            count(one, one)
    if axes > 0:
        of_a, of_b = ((1,) * (axes + 2 - one.ndim) + one.shape[:-2] for one in (a, b))
        COUNTERS.launches += 3 * axes * (of_a != of_b)


def launch(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run `function` of NumPy's on what the operands hold: one launch."""
    given = [host_of(value) for value in args]
    named = {name: _inner(value) for name, value in kwargs.items()}
    with np.errstate(all="ignore"):
        found = function(*given, **named)
    if function is np.matmul:
        _copied_for_product(*given[:2])
    out = kwargs.get("out")
    touched = [value for value in given if isinstance(value, np.ndarray)]
    if isinstance(out, ndarray):
        count(*touched, out._host)
        return out
    if isinstance(found, tuple):
        count(*touched, *map(np.asarray, found))
        return tuple(_made(part, args) for part in found)
    count(*touched, np.asarray(found))
    return _made(found, args)


def _inner(value: Any) -> Any:
    return tuple(map(host_of, value)) if isinstance(value, tuple) else host_of(value)


def _made(found: Any, args: tuple[Any, ...]) -> Any:
    values = np.asarray(found)
    for one in args:
        if isinstance(one, ndarray) and np.may_share_memory(one._host, values):
            return ndarray(values, one._block)
    return ndarray(values)


def _operator(name: str, ufunc: Any, *, swapped: bool, inplace: bool) -> Callable[[ndarray, Any], Any]:
    def apply(self: ndarray, other: Any) -> Any:
        if not isinstance(other, ndarray | np.ndarray | np.generic | int | float | complex | bool):
            return NotImplemented
        if inplace:
            count(self._host, np.asarray(host_of(other)), self._host)
            with np.errstate(all="ignore"):
                ufunc(self._host, host_of(other), out=self._host)
            return self
        return launch(ufunc, *((other, self) if swapped else (self, other)))

    apply.__name__ = name
    return apply


def _unary(ufunc: Any) -> Callable[[ndarray], Any]:
    return lambda self: launch(ufunc, self)


for _name, _ufunc in {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "truediv": np.true_divide,
    "floordiv": np.floor_divide,
    "mod": np.remainder,
    "pow": np.power,
    "matmul": np.matmul,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
}.items():
    setattr(ndarray, f"__{_name}__", _operator(_name, _ufunc, swapped=False, inplace=False))
    setattr(ndarray, f"__r{_name}__", _operator(_name, _ufunc, swapped=True, inplace=False))
    if _name != "matmul":  # CuPy has no @= that works in place
        setattr(ndarray, f"__i{_name}__", _operator(_name, _ufunc, swapped=False, inplace=True))
for _name, _ufunc in {
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}.items():
    setattr(ndarray, f"__{_name}__", _operator(_name, _ufunc, swapped=False, inplace=False))
for _name, _ufunc in {"neg": np.negative, "invert": np.invert, "abs": np.absolute, "pos": np.positive}.items():
    setattr(ndarray, f"__{_name}__", _unary(_ufunc))

ndarray.__module__ = "cupy"
