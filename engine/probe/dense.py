"""A linear classifier of positions: one multinomial logistic regression for all positions of a layer's maps.

That is a convolution of size 1, the linear probe for semantic segmentation of DINO's successors (Oquab et al. 2023,
DINOv2, section 7.4, "linear"): logits of each position, which are then taken to the resolution of the labels by
bilinear interpolation; the class of a cell is that of its greatest logit. Here the regression is solved to its minimum,
with the penalty that has the highest mean IoU on validation positions, among those of `clip_lbfgs`
(`engine.probe.recipes`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvbench.engine.probe.logistic import Fit
from cvbench.engine.probe.options import ProbeOptions
from cvbench.engine.probe.overlap import image_counts, overlaps
from cvbench.engine.probe.parts import Part
from cvbench.engine.probe.recipes import UNVALIDATED, Logistic, penalties, search

I64 = NDArray[np.int64]
F32 = NDArray[np.float32]

RECIPE = "clip_lbfgs"
_TOGETHER = 2**24  # logits that are interpolated at once


@dataclass(frozen=True, eq=False)
class DenseFit:
    """A fitted probe.

    Attributes:
        names: (k,) int64 the classes it knows, ascending: those of its training positions.
        fit: Of one penalty.
        penalty: C.
        tried: (C, mean IoU of the validation positions) of each tried, strongest penalty first.
        samples: Training and validation positions of the search, and positions of the final fit.
    """

    names: I64
    fit: Fit
    penalty: float
    tried: tuple[tuple[float, float], ...]
    samples: tuple[int, int, int]

    @property
    def converged(self) -> bool:
        """Whether the final fit met its tolerance."""
        return bool(self.fit.converged[0])


class _Positions(Logistic):
    """Logistic regressions of positions, scored by their mean IoU."""

    def score(self, logits: Tensor, val: Part) -> list[float]:
        """Mean IoU per model of (g, n, k) logits; 0 for a model that is not finite."""
        finite = torch.isfinite(logits).all(dim=2).all(dim=1).tolist()
        predicted = self.names[logits.argmax(dim=2).cpu().numpy()]
        classes = int(max(self.names.max(), val.labels.max())) + 1
        found = []
        for usable, own in zip(finite, predicted, strict=True):
            counts = image_counts(own[None], val.labels[None], classes)
            found.append(float(overlaps(counts)[0, 0]) if usable else 0.0)
        return found


def fit_positions(train: Part, val: Part | None, options: ProbeOptions, device: str) -> DenseFit:
    """Choose the penalty on validation positions, and fit anew on these and the training positions.

    Memory: the positions about five times, and what `fit_logistic` says.

    Args:
        train, val: Positions, (n, d) float32 and their classes; without validation the penalty is `UNVALIDATED`.
        options: The solver, its tolerance and iterations.
        device: Of torch.

    Raises:
        UsageError: All training positions are of one class.
    """
    grid = penalties(RECIPE)
    tried: dict[int, float] = {}
    penalty, start, final = UNVALIDATED[RECIPE], None, train
    if val is not None:
        candidates = _Positions(train, options, device, 0)
        best = search(lambda indices: candidates.accuracies(grid[list(indices)].tolist(), val), tried)
        penalty, final = float(grid[best]), train.joined(val)
        start = candidates.near(penalty)
        del candidates
    fitted = _Positions(final, options, device, 0)
    shown = tuple((float(grid[i]), tried[i]) for i in sorted(tried))
    sizes = (len(train), 0 if val is None else len(val), len(final))
    return DenseFit(fitted.names, fitted.fit([penalty], start), penalty, shown, sizes)


def predict_cells(probe: DenseFit, maps: F32, resolution: int) -> I64:
    """Classes of the cells of a common resolution: logits of every position, interpolated, and the greatest of a cell.

    Memory: 64 MB, or the logits of one image if these are more.

    Args:
        probe: Fitted on positions of this layer.
        maps: (n, h, w, d) float32.
        resolution: R.

    Returns:
        (n, R, R) int64; of equal logits the lower class.
    """
    weight, bias = probe.fit.weight[0], probe.fit.bias[0]
    step = max(1, _TOGETHER // (len(probe.names) * resolution * resolution))
    found = [np.empty((0, resolution, resolution), np.int64)]
    for at in range(0, len(maps), step):
        logits = torch.from_numpy(maps[at : at + step]).to(weight.device) @ weight + bias
        wide = interpolate(logits.permute(0, 3, 1, 2), resolution)
        found.append(probe.names[wide.argmax(dim=1).cpu().numpy()])
    return np.concatenate(found)


def interpolate(values: Tensor, resolution: int) -> Tensor:
    """(n, k, h, w) -> (n, k, R, R), bilinear between the centres of cells and constant beyond the outermost.

    Where the grid is the finer one, the triangle is as wide as a cell of the result (`antialias` of torch).
    """
    finer = max(values.shape[2:]) > resolution
    return torch.nn.functional.interpolate(
        values, size=(resolution, resolution), mode="bilinear", align_corners=False, antialias=finer
    )


def perfect_cells(cells: NDArray[np.bool_], resolution: int) -> NDArray[np.bool_]:
    """(n, R, R) bool, what the labels of a grid say at the common resolution if they are taken there like logits.

    Args:
        cells: (n, h, w) bool, the cells that are the object's.
        resolution: R.
    """
    found = interpolate(torch.from_numpy(cells.astype(np.float32))[:, None], resolution)[:, 0] > 0.5
    return np.asarray(found.numpy())
