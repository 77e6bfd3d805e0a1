"""Writes `surface.json`: what names and parameters the real CuPy has, of those that this project uses or may soon.

    python -m tests.standin.record      # needs an importable CuPy; no card

Names and parameters only: how they behave stands in `cupy_api`.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

SURFACE = Path(__file__).with_name("surface.json")

FUNCTIONS = """
abs add arange argmax argmin argpartition argsort array asarray broadcast_to clip concatenate count_nonzero diagonal
divide einsum empty empty_like exp fill_diagonal flatnonzero frexp from_dlpack full histogram hypot isfinite isnan
ldexp linalg.norm log sum matmul maximum mean median minimum moveaxis multiply nonzero ones ones_like pad percentile
sort sqrt square stack subtract take take_along_axis tensordot tril triu where zeros zeros_like fft.fft2 fft.ifft
fft.irfft fft.irfft2 fft.rfft fft.rfft2
"""
CONSTANTS = "inf nan newaxis pi"
TYPES = "bool_ complex64 complex128 float16 float32 float64 int32 int64 intp uint8"
ARRAY = """
T all any argmax argmin argpartition argsort astype base clip copy data device diagonal dot dtype fill flags get
imag item itemsize max mean min nbytes ndim nonzero prod put ravel real repeat reshape searchsorted shape size sort
squeeze std strides sum swapaxes take tolist trace transpose var view
"""
CUDA = """
Device Event ExternalStream Stream get_current_stream is_available memory.OutOfMemoryError
memory.PythonFunctionAllocator runtime.getDeviceCount set_allocator
"""


def parameters(found: Any) -> str | None:
    """`a, axis=None, *, out=None` of a function or method; None of what is not called."""
    if not callable(found) or inspect.isgetsetdescriptor(found):
        return None
    try:
        text = ", ".join(
            str(part.replace(annotation=part.empty)) for part in inspect.signature(found).parameters.values()
        )
    except (TypeError, ValueError):
        match = re.search(r"\((.*?)\)(?: ->.*)?$", (found.__doc__ or "").strip().splitlines()[0])
        text = match[1] if match else ""
    text = (
        re.sub(r"\b(?:_ndarray_base|int|Py_ssize_t) (?=\w)", "", text).replace("\\*", "*").replace("[, out1, out2]", "")
    )
    text = text.replace("[, ", ", ").replace("]", "")
    return text.removeprefix("self").removeprefix(", ")


def within(top: Any, name: str) -> Any:
    """`top.a.b` of "a.b"."""
    for part in name.split("."):
        top = getattr(top, part)
    return top


def record() -> dict[str, Any]:
    """The surface of the CuPy that is installed."""
    import cupy
    import cupyx

    return {
        "version": cupy.__version__,
        "functions": {name: parameters(within(cupy, name)) for name in FUNCTIONS.split()},
        "constants": [name for name in CONSTANTS.split() if hasattr(cupy, name)],
        "types": [name for name in TYPES.split() if hasattr(cupy, name)],
        "array": {name: parameters(getattr(cupy.ndarray, name)) for name in ARRAY.split()},
        "cuda": {name: parameters(within(cupy.cuda, name)) for name in CUDA.split()},
        "stream": sorted(name for name in dir(cupy.cuda.Stream) if not name.startswith("_")),
        "cupyx": {"empty_pinned": parameters(cupyx.empty_pinned)},
    }


if __name__ == "__main__":
    SURFACE.write_text(json.dumps(record(), indent=1) + "\n")
