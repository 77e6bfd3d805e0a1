"""The module that `import cupy` gives where the stand-in is plugged in."""

from __future__ import annotations

import types
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from typing import Any

import numpy as np

from tests.standin import cupy_cuda
from tests.standin.counters import COUNTERS
from tests.standin.cupy_array import count, host_of, launch, ndarray, poison, view_of
from tests.standin.surface import parameters, recorded


def _asarray(a: Any, dtype: Any = None, order: Any = None, *, copy: Any = None, blocking: bool = False) -> Any:
    if isinstance(a, ndarray):
        same = dtype is None or np.dtype(dtype) == a._host.dtype
        return a if same and not copy else launch(np.array, a, dtype=dtype)
    return _uploaded(np.array(a, dtype=dtype, order=order or "K"))


def _array(obj: Any, dtype: Any = None, copy: bool = True, order: str = "K", **_: Any) -> Any:
    if isinstance(obj, ndarray):
        return launch(np.array, obj, dtype=dtype)
    if isinstance(obj, list | tuple) and any(isinstance(part, ndarray) for part in obj):
        return launch(lambda *parts: np.array(parts, dtype=dtype), *obj)
    return _uploaded(np.array(obj, dtype=dtype, order=order))  # type: ignore[call-overload]


def _uploaded(values: np.ndarray[Any, Any]) -> ndarray:
    if values.dtype == object:
        raise TypeError("Unsupported dtype object")
    COUNTERS.uploads += 1
    COUNTERS.uploaded += values.nbytes
    return ndarray(values)


def _empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    made = np.empty(shape, dtype, order)  # type: ignore[call-overload]
    poison(made)
    return ndarray(made)


def _filled(function: Callable[..., Any]) -> Callable[..., ndarray]:
    def make(*args: Any, **kwargs: Any) -> ndarray:
        made = function(*map(host_of, args), **kwargs)
        count(made)
        return ndarray(made)

    return make


def _joined(function: Callable[..., Any]) -> Callable[..., ndarray]:
    def join(tup: Any, axis: int = 0, out: Any = None, **kwargs: Any) -> ndarray:
        parts = list(tup)
        if not all(isinstance(part, ndarray) for part in parts):
            raise TypeError("only arrays of CuPy's can be joined")
        found: ndarray = launch(
            lambda *given: function(given, axis=axis, **kwargs), *parts, **({"out": out} if out else {})
        )
        return found

    return join


def _from_dlpack(array: Any, *, device: Any = None, copy: Any = None) -> ndarray:
    if isinstance(array, ndarray):
        return array
    if not getattr(array, "is_cuda", False):
        raise ValueError("a tensor of the host is no array of the device")
    return ndarray(array.host.numpy(), array)


def _fill_diagonal(a: ndarray, val: Any, wrap: bool = False) -> None:
    count(a._host)
    np.fill_diagonal(a._host, host_of(val), wrap)


def _histogram(x: ndarray, bins: Any = 10, **_: Any) -> tuple[ndarray, Any]:
    """Of edges: CuPy asks whether they ascend."""
    COUNTERS.wait()
    return launch(lambda values, edges: np.histogram(values, bins=edges)[0], x, bins), bins


def _rfft2(a: ndarray, s: Any = None, axes: Any = (-2, -1), **_: Any) -> Any:
    """Of other axes than the last two, one after the other: each is copied to the end first."""
    found = launch(np.fft.rfft2, a, axes=axes)
    if sorted(axis % a.ndim for axis in axes) != [a.ndim - 2, a.ndim - 1]:
        count(a._host, a._host)
        count(found._host, found._host)
        count(found._host, found._host)
    return found.astype(np.complex64) if a.dtype == np.float32 and found.dtype != np.complex64 else found


def _irfft(a: ndarray, n: Any = None, axis: int = -1, **_: Any) -> Any:
    """CUDA writes to what it transforms back, so that is a copy."""
    count(a._host, a._host)
    return launch(np.fft.irfft, a, n=n, axis=axis)


def _flatnonzero(a: ndarray) -> ndarray:
    return a.ravel().nonzero()[0]  # type: ignore[no-any-return]


def _viewing(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda a, *args, **kwargs: view_of(a, function(host_of(a), *args, **kwargs))


OWN: dict[str, Callable[..., Any]] = {
    "array": _array,
    "asarray": _asarray,
    "empty": _empty,
    "zeros": _filled(np.zeros),
    "ones": _filled(np.ones),
    "full": _filled(np.full),
    "arange": _filled(np.arange),
    "zeros_like": _filled(np.zeros_like),
    "ones_like": _filled(np.ones_like),
    "concatenate": _joined(np.concatenate),
    "stack": _joined(np.stack),
    "from_dlpack": _from_dlpack,
    "fill_diagonal": _fill_diagonal,
    "fft.irfft": _irfft,
    "fft.rfft2": _rfft2,
    "flatnonzero": _flatnonzero,
    "histogram": _histogram,
    "nonzero": lambda a: a.nonzero(),
    "diagonal": _viewing(np.diagonal),
    "broadcast_to": _viewing(np.broadcast_to),
    "moveaxis": _viewing(np.moveaxis),
    "empty_like": lambda prototype, dtype=None: _empty(prototype.shape, dtype or prototype.dtype),
    "where": lambda condition, x, y: launch(np.where, condition, x, y),
    "einsum": lambda subscripts, *operands: launch(lambda *given: np.einsum(subscripts, *given), *operands),
}


class Module(types.ModuleType):
    """Looks every name up in the recorded surface."""

    def __getattr__(self, name: str) -> Any:
        return _named(name)


class _Fft:
    def __getattr__(self, name: str) -> Any:
        return _named(f"fft.{name}")


class _Linalg:
    def __getattr__(self, name: str) -> Any:
        return _named(f"linalg.{name}")


def _named(name: str) -> Any:
    if name in recorded()["constants"] or name in recorded()["types"]:
        return getattr(np, name)
    known = parameters("functions", name)
    assert known is not None
    function = OWN.get(name)
    if function is None:
        original: Any = np
        for part in name.split("."):
            original = getattr(original, part)

        def function(*args: Any, **kwargs: Any) -> Any:
            return launch(original, *args, **kwargs)

    def checked(*args: Any, **kwargs: Any) -> Any:
        known.check(name, args, kwargs)
        return function(*args, **kwargs)

    checked.__name__ = name
    return checked


def make() -> dict[str, types.ModuleType]:
    """Modules by name, for `sys.modules`."""
    cupy, cupyx = Module("cupy"), types.ModuleType("cupyx")
    cuda = cupy_cuda.make()
    cupy.__dict__.update(
        ndarray=ndarray,
        cuda=cuda,
        fft=_Fft(),
        linalg=_Linalg(),
        __version__=recorded()["version"],
        __path__=[],
        __spec__=ModuleSpec("cupy", None),
        bool=np.bool_,
    )
    cupyx.empty_pinned = lambda shape, dtype=float, order="C": _pinned(shape, dtype, order)  # type: ignore[attr-defined]
    return {"cupy": cupy, "cupyx": cupyx, "cupy.cuda": cuda, "cupy.cuda.memory": cuda.memory}


def _pinned(shape: Any, dtype: Any, order: Any) -> np.ndarray[Any, Any]:
    made: np.ndarray[Any, Any] = np.empty(shape, dtype, order)
    poison(made)
    return made
