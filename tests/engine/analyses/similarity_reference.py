"""The definitions of patch similarity in float64, pair by pair and by torch: slow, and written from the formulas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

F64 = NDArray[np.float64]


def matrices(maps: NDArray[Any], *, centred: bool) -> F64:
    """(n, H, W, C) -> (n, P, P) by torch's own normalisation, in float64."""
    flat = torch.from_numpy(np.asarray(maps, dtype=np.float64)).flatten(1, 2)
    if centred:
        flat = flat - flat.mean(dim=1, keepdim=True)
    units = torch.nn.functional.normalize(flat, dim=-1, eps=1e-12)
    return np.asarray(torch.bmm(units, units.transpose(1, 2)).numpy())


def measures(matrix: F64, height: int, width: int) -> dict[str, Any]:
    """Everything that is read off one (P, P) matrix, pair by pair."""
    lags: dict[tuple[int, int], list[float]] = {}
    rings: dict[int, list[float]] = {}
    off: list[float] = []
    near: list[float] = []
    far: list[float] = []
    for i in range(height * width):
        for j in range(height * width):
            dy, dx = j // width - i // width, j % width - i % width
            value = float(matrix[i, j])
            lags.setdefault((dy, dx), []).append(value)
            rings.setdefault(math.floor(math.hypot(dy, dx) + 0.5), []).append(value)
            if i != j:
                off.append(value)
                (near if abs(dy) + abs(dx) == 1 else far).append(value)
    profile = np.array([np.mean(rings[r]) for r in range(max(height, width))])
    return {
        "correlogram": {lag: float(np.mean(values)) for lag, values in lags.items()},
        "profile": profile,
        "mean": float(np.mean(off)),
        "mean_absolute": float(np.mean(np.abs(off))),
        "contrast": float(np.mean(near) - np.mean(far)),
        "length": length(profile, float(np.mean(off))),
    }


def length(profile: F64, infinity: float) -> float:
    """The e-folding distance, step by step."""
    if profile[0] - infinity <= 1e-6:
        return math.nan
    rest = [(value - infinity) / (profile[0] - infinity) for value in profile]
    for r in range(1, len(rest)):
        if rest[r] <= 1 / math.e:
            return float(r - 1 + (rest[r - 1] - 1 / math.e) / (rest[r - 1] - rest[r]))
    return math.nan
