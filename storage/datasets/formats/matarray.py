"""Arrays of numbers in MATLAB v5 files, of any size: unpacked in blocks, straight into the array that each ends in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError
from cvbench.storage.datasets.formats.matparse import CLASSES, COMPLEX, Other, damage_named, variables
from cvbench.storage.datasets.formats.shapes import Shape, fits, in_words

MAX_LISTED = 1_000_000


@dataclass(frozen=True)
class Wanted:
    """A variable that is to be read.

    Attributes:
        shape: Its shape; None stands for any length up to `most`.
        most: The largest such length.
        dtype: The only type that is taken, such as "u1"; any type of numbers if it is empty.
    """

    shape: Shape
    most: int
    dtype: str = ""

    def takes(self, shape: tuple[int, ...], dtype: str) -> bool:
        """Whether an array of that shape and type is what is wanted."""
        return fits(shape, self.shape, self.most) and dtype == (self.dtype or dtype)

    @property
    def asked(self) -> str:
        """Words for it."""
        return f"array {in_words(self.shape)} of {np.dtype(self.dtype) if self.dtype else 'numbers'}"


@dataclass(frozen=True)
class _Listed(Wanted):
    """A list, as (1, N) or (N, 1)."""

    def takes(self, shape: tuple[int, ...], dtype: str) -> bool:
        """Whether all of its axes but one have length 1."""
        return sum(n != 1 for n in shape) <= 1 and 0 <= math.prod(shape) <= self.most

    @property
    def asked(self) -> str:
        """Words for it."""
        return "list of numbers"


def load_integers(path: Path, *names: str) -> dict[str, NDArray[np.int64]]:
    """Variables, each flattened to (N,) int64: such files hold lists as (1, N) or (N, 1) doubles.

    Raises:
        DataUnavailableError: The file cannot be read.
        IntegrityError: As `load_arrays`; a variable is no list of whole numbers, or has more than `MAX_LISTED`.
    """
    content = load_arrays(path, {name: _Listed((1, None), MAX_LISTED) for name in names})
    return {name: _integers(path, name, content[name]) for name in names}


def _integers(path: Path, name: str, values: NDArray[np.generic]) -> NDArray[np.int64]:
    flat = np.asarray(values, dtype=np.float64).reshape(-1)
    if not np.isfinite(flat).all() or (flat != np.floor(flat)).any():
        raise IntegrityError(f"{name} has values that are no whole numbers", where=str(path))
    return flat.astype(np.int64)


def load_arrays(path: Path, wanted: Mapping[str, Wanted]) -> dict[str, NDArray[np.generic]]:
    """Variables by name, in column-major order as MATLAB has them. Memory: that of the arrays, and 2 MB.

    Raises:
        DataUnavailableError: The file cannot be read.
        IntegrityError: It is no MATLAB v5 file, is damaged, lacks a variable, or has one of another shape or type.
    """
    found: dict[str, NDArray[np.generic]] = {}
    seen: list[str] = []
    with damage_named(path), open(path, "rb") as handle:
        for variable in variables(handle):
            seen.append(variable.name)
            if variable.name not in wanted:
                continue
            one, dtype = wanted[variable.name], CLASSES.get(variable.kind, "")
            if not dtype or variable.flags & COMPLEX or not one.takes(variable.shape, dtype):
                raise Other(f"{variable.name} is no {one.asked}: shape {variable.shape}, class {variable.kind}")
            found[variable.name] = variable.numbers()
            if len(found) == len(wanted):
                break
    if missing := [name for name in wanted if name not in found]:
        why = f"found {', '.join(seen) or 'nothing'}"
        raise IntegrityError(f"there is no {missing[0]!r} in it", where=str(path), why=why)
    return found
