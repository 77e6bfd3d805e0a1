"""Load CuPy's libraries beside torch's, without a card; `python .ci/wheels.py 13` with the CUDA of both.

A library that is not there, or of another CUDA, fails at its import. Handles need a card and say that they have none;
NVRTC needs none: it compiles a kernel for sm_70 or sm_90.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cupy
import torch
from cupy_backends.cuda.libs import cublas, cusolver, nvrtc

KERNEL = 'extern "C" __global__ void twice(float* x) { x[threadIdx.x] *= 2; }'
LIBRARIES = ("libcublas.so", "libcusolver.so", "libnvrtc.so")


def refused(create: Callable[[], Any]) -> str:
    """The error with which a handle is refused where there is no card."""
    try:
        create()
    except Exception as error:  # CuPy has an error of its own for each library
        return str(error)
    return ""


def compiled(architecture: str) -> int:
    """Size of a kernel that NVRTC compiled."""
    program = nvrtc.createProgram(KERNEL, "twice.cu", (), ())
    nvrtc.compileProgram(program, (f"--gpu-architecture={architecture}",))
    return len(nvrtc.getPTX(program))


def main() -> None:
    """Check and print."""
    wanted = int(sys.argv[1])
    assert str(torch.version.cuda).split(".")[0] == str(wanted), f"torch is built for CUDA {torch.version.cuda}"
    assert cupy.cuda.runtime.runtimeGetVersion() // 1000 == wanted
    assert nvrtc.getVersion()[0] == wanted
    if not torch.cuda.is_available():
        for create in (cublas.create, cusolver.create):
            assert "NOT_INITIALIZED" in refused(create)
    size = compiled("compute_90" if wanted > 12 else "compute_70")
    assert size > 100
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/" in line}
    found = sorted(path for path in mapped if any(name in path for name in LIBRARIES))
    assert len(found) >= len(LIBRARIES), found
    print(f"CuPy {cupy.__version__}, torch {torch.__version__}: {size} bytes of PTX, and", *found, sep="\n  ")


if __name__ == "__main__":
    main()
