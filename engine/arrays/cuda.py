"""CuPy beside torch: the wheel that fits, a card that was tried, one pool of memory, and what memory's end is.

CuPy must load the CUDA libraries of torch's own CUDA: a wheel for another one imports and fails at its first product.
So CuPy is tried once in each process, by a product, before anything is computed with it. Its memory comes from torch's
allocator: two pools would keep from each other what they have freed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
from functools import lru_cache
from typing import Any

from cvbench.engine.arrays.stream import on_stream_of
from cvbench.errors import ResourceError

EXTRAS = ("12", "13")
"""CUDA versions that there is an extra for, by their first number."""


def fitting_extra() -> str:
    """The extra whose CuPy belongs to the CUDA of the installed torch; "" if torch was built without."""
    import torch

    major = str(torch.version.cuda or "").partition(".")[0]
    return f"cuda{major}" if major in EXTRAS else ""


def advice() -> str:
    """Say what to install, or to do without."""
    extra = fitting_extra()
    if not extra:
        return "a torch build for CUDA 12 or 13 and the extra of that version, or --device cpu"
    return f"pip install 'cvbench[{extra}]' (torch is built for CUDA {extra.removeprefix('cuda')}), or --device cpu"


@lru_cache(maxsize=1)
def device_module() -> Any:
    """The module `cupy`, tried on the card: once in a process.

    Raises:
        ResourceError: It cannot be imported, there is no card, its libraries cannot be loaded, or a product is wrong.
    """
    try:
        import cupy
    except ImportError as error:
        raise ResourceError(
            "CuPy is needed for arrays on a CUDA device and cannot be imported", why=str(error), fix=advice()
        ) from error
    try:
        found = _tried(cupy)
    except Exception as error:  # CUDA's errors, a library that is not there, a kernel that does not compile
        raise ResourceError(
            f"CuPy {cupy.__version__} cannot compute on the card",
            why=f"{type(error).__name__}: {error}",
            fix=advice(),
        ) from error
    if found != 2.0:
        raise ResourceError(
            f"CuPy {cupy.__version__} computes wrongly on the card", why=f"a product is {found}, not 2", fix=advice()
        )
    return cupy


def _tried(cupy: Any) -> float:
    """One kernel (NVRTC) and one product (cuBLAS), on torch's memory and on its stream, as all that follows."""
    import torch

    cupy.cuda.runtime.getDeviceCount()
    with contextlib.ExitStack() as stack:
        if torch.cuda.is_available():
            _share_memory(cupy)
            stack.enter_context(on_stream_of(cupy, torch.device("cuda", torch.cuda.current_device())))
        ones = cupy.ones((2, 2), dtype=cupy.float32)
        return float((ones @ ones)[0, 0])


def forget() -> None:
    """Try again when a device is asked for next."""
    device_module.cache_clear()


def usable() -> str:
    """Why CuPy cannot use a card here; "" if it can. Says so without one, and imports CuPy only if it is there."""
    if importlib.util.find_spec("cupy") is None:
        return "CuPy is not installed"
    try:
        device_module()
    except ResourceError as error:
        return f"{error.what}: {error.why}"
    return ""


def usable_by_others() -> str:
    """`usable`, tried in a process of its own: this one keeps no hold of a card that its actors shall have alone."""
    if importlib.util.find_spec("cupy") is None:
        return usable()
    ask = f"from {__name__} import usable; print(usable())"
    told = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False)
    return told.stdout.strip() if told.returncode == 0 else told.stderr.strip()[-500:] or f"exit {told.returncode}"


def require_usable(*, by_others: bool) -> None:
    """Refuse a card that CuPy cannot use, before anything is loaded.

    Args:
        by_others: This process will not compute itself, its actors will.

    Raises:
        ResourceError: See `device_module`.
    """
    if not by_others:
        device_module()
    elif why := usable_by_others():
        raise ResourceError("CuPy cannot use the card", why=why, fix=advice())


def _share_memory(cupy: Any) -> None:
    """Let CuPy take its memory from torch's pool, on the stream that it works on.

    Each temporary of CuPy's comes this way, so torch is asked in C++: its public functions first look up which device
    is meant and enter it, which is the current one already.
    """
    import torch

    torch.cuda.init()  # type: ignore[no-untyped-call]  # the pool is there from then on
    raw_alloc = getattr(torch._C, "_cuda_cudaCachingAllocator_raw_alloc", None)
    raw_delete = getattr(torch._C, "_cuda_cudaCachingAllocator_raw_delete", None)
    if raw_alloc is None or raw_delete is None:
        raw_alloc, raw_delete = _public_alloc, torch.cuda.caching_allocator_delete
    current = cupy.cuda.get_current_stream

    def take(size: int, device: int) -> int:
        return int(raw_alloc(size, current().ptr)) if size else 0

    def give_back(pointer: int, device: int) -> None:
        if pointer:
            raw_delete(pointer)

    cupy.cuda.set_allocator(cupy.cuda.memory.PythonFunctionAllocator(take, give_back).malloc)


def _public_alloc(size: int, stream: int) -> int:
    """Ask torch's public function, on the current device."""
    import torch

    return int(torch.cuda.caching_allocator_alloc(size, None, stream))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or CuPy says so that the device, be it the CPU, has no memory left.

    CuPy's is a `MemoryError` of its own; torch's of the CPU is a plain `RuntimeError`.
    """
    if isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error):
        return True
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    return bool(kinds & {"torch.OutOfMemoryError", "torch.cuda.OutOfMemoryError", "cupy.cuda.memory.OutOfMemoryError"})
