"""Read arrays of whole numbers from a MATLAB v5 file, and nothing else that such a file can hold."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError
from cvbench.storage.datasets.formats.files import read_bounded

MAX_BYTES = 16 * 1024 * 1024
MAX_ELEMENTS = 1_000_000
_NUMBERS = {"double", "single", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}


def load_integers(path: Path, *names: str) -> dict[str, NDArray[np.int64]]:
    """Variables of a .mat file, each flattened to (N,) int64: such files hold lists as (1, N) or (N, 1) doubles.

    The headers are read first: only numeric variables of a sane size are ever loaded, never cells, structures,
    functions or objects.

    Raises:
        DataUnavailableError: The file cannot be read.
        IntegrityError: It is no MATLAB v5 file, lacks a variable, or a variable is no list of whole numbers.
    """
    from scipy.io import loadmat, whosmat

    too_large = "the file is larger than any list of this data set"
    data = io.BytesIO(read_bounded(path, MAX_BYTES, what="a file of the data set", too_large=too_large))
    try:
        known = {name: (shape, kind) for name, shape, kind in whosmat(data, appendmat=False)}
        for name in names:
            _check_header(path, name, known)
        data.seek(0)
        content = loadmat(data, appendmat=False, variable_names=list(names))
    except (IntegrityError, MemoryError):
        raise
    except Exception as err:  # a damaged file ends in any error, v7.3 (HDF5) in NotImplementedError
        raise IntegrityError(
            "not a MATLAB v5 file, or damaged", where=str(path), why=str(err), fix="get the file again"
        ) from err
    return {name: _integers(path, name, content[name]) for name in names}


def _check_header(path: Path, name: str, known: dict[str, tuple[tuple[int, ...], str]]) -> None:
    if name not in known:
        raise IntegrityError(
            f"there is no {name!r} in it", where=str(path), why=f"found {', '.join(known) or 'nothing'}"
        )
    shape, kind = known[name]
    if kind not in _NUMBERS or math.prod(shape) > MAX_ELEMENTS or sum(n != 1 for n in shape) > 1:
        raise IntegrityError(f"{name} is no list of numbers: {kind} of shape {shape}", where=str(path))


def _integers(path: Path, name: str, values: NDArray[np.generic]) -> NDArray[np.int64]:
    flat = np.asarray(values).reshape(-1)
    if not np.isfinite(flat).all() or (flat != np.floor(flat)).any():
        raise IntegrityError(f"{name} has values that are no whole numbers", where=str(path))
    return flat.astype(np.int64)
