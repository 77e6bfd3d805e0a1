"""The probes that are reported: which features, which loss, how the penalty is chosen, and on which samples.

    clip_lbfgs       features as they are; logistic regression to convergence; C from a validation split (Radford et
                     al. 2021, appendix A.3)
    clip_benchmark   features of unit length; a linear layer by AdamW; weight decay from a validation split, 0 without
                     one (CLIP_benchmark, `linear_probe.py`)

Both search a logarithmic grid of 97 penalties: 7 far apart, then around the best in steps of 8, 4, 2 and 1. The best by
validation top-1 is fitted anew on train and validation samples, and tested once. With `shots` the final fit has the
training samples only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvbench.engine.probe.linear import train_linear, unit_length
from cvbench.engine.probe.logistic import Fit, fit_logistic, prepare
from cvbench.engine.probe.options import ProbeOptions
from cvbench.engine.probe.parts import Part, ProbeRun, few, stratified
from cvbench.engine.probe.peer import fit_peer
from cvbench.errors import UsageError

GRID = 97
COARSE = 16  # 7 points: 0, 16, ..., 96
UNVALIDATED = {"clip_lbfgs": 0.316, "clip_benchmark": 0.0}
"""The penalty where nothing validates: C of CLIP's own example; no weight decay."""
_TOGETHER = 2**24  # logits of the penalties that are fitted at once


def penalties(recipe: str) -> NDArray[np.float64]:
    """(97,) the grid, strongest penalty first: C from 1e-6 to 1e6, or weight decay from 1e2 to 1e-6."""
    return np.logspace(-6, 6, GRID) if recipe == "clip_lbfgs" else np.logspace(2, -6, GRID)


def probe(
    train: Part, val: Part | None, test: Part, classes: int, options: ProbeOptions, device: str
) -> list[ProbeRun]:
    """One run per seed; a single one if no seed makes a difference.

    Memory: train and validation features three times, and what the fits say.

    Args:
        train, val, test: Labels from 0 to classes - 1. Validation may be absent.
        device: Of torch.

    Raises:
        UsageError: Fewer than two classes to train on, or fewer samples of a class than shots.
    """
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    varies = options.shots is not None or options.recipe != "clip_lbfgs" or (val is None and options.held_out > 0)
    return [_one(train, val, test, classes, options, device, seed) for seed in (seeds if varies else seeds[:1])]


def _one(
    train: Part, val: Part | None, test: Part, classes: int, options: ProbeOptions, device: str, seed: int
) -> ProbeRun:
    rng = np.random.default_rng(seed)
    final_samples = train if val is None else train.joined(val)
    if val is None and options.held_out > 0:
        held = stratified(train.labels, options.held_out, rng)
        kept = np.setdiff1d(np.arange(len(train)), held)
        train, val = train.rows(kept), train.rows(held)
        val = val if len(val) else None
    if options.shots is not None:
        train = train.rows(few(train.labels, options.shots, rng))
        final_samples = train
    fitter: Any = Logistic if options.recipe == "clip_lbfgs" else _Linear
    grid = penalties(options.recipe)
    tried: dict[int, float] = {}
    penalty, start = UNVALIDATED[options.recipe], None
    if val is not None:
        candidates = fitter(train, options, device, seed)
        best = search(lambda indices: candidates.accuracies(grid[list(indices)].tolist(), val), tried)
        penalty = float(grid[best])
        start = candidates.near(penalty)
    final = fitter(final_samples, options, device, seed)
    logits, converged = final.logits(penalty, start, test.features, classes)
    shown = tuple((float(grid[i]), tried[i]) for i in sorted(tried))
    sizes = (len(train), 0 if val is None else len(val), len(final_samples))
    return ProbeRun(logits, penalty, shown, sizes, converged)


def search(evaluate: Callable[[Sequence[int]], Sequence[float]], tried: dict[int, float]) -> int:
    """The best of the grid's indices: 7 apart, then around the best in steps of 8, 4, 2, 1.

    Of equals the stronger penalty wins, that is, the lower index.

    Args:
        evaluate: Indices, ascending -> their scores.
        tried: Receives every score.
    """

    def best() -> int:
        return max(tried, key=lambda index: (tried[index], -index))

    wanted = list(range(0, GRID, COARSE))
    tried.update(zip(wanted, evaluate(wanted), strict=True))
    for step in (8, 4, 2, 1):
        near = [best() - step, best() + step]
        wanted = [index for index in near if 0 <= index < GRID and index not in tried]
        if wanted:
            tried.update(zip(wanted, evaluate(wanted), strict=True))
    return best()


class _Candidates:
    """Fits on one set of samples. Classes without a sample are left out of the fit and get no logit."""

    def __init__(self, part: Part, options: ProbeOptions, device: str, seed: int) -> None:
        self.options, self.device, self.seed = options, device, seed
        self.names, own = np.unique(part.labels, return_inverse=True)
        if len(self.names) < 2:
            raise UsageError(
                "the training samples are of one class only", fix="a data set with two classes or more, or more samples"
            )
        self.features = self.move(part.features)
        self.labels = torch.from_numpy(own.astype(np.int64)).to(device)

    def move(self, features: NDArray[np.float32]) -> Tensor:
        """Features as the fit wants them, on the device."""
        return torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32)).to(self.device)

    def score(self, logits: Tensor, val: Part) -> list[float]:
        """Top-1 per model of (g, n, k) logits; 0 for a model that is not finite."""
        finite = torch.isfinite(logits).all(dim=2).all(dim=1)
        found = self.names[logits.argmax(dim=2).cpu().numpy()] == val.labels
        return np.where(finite.cpu().numpy(), found.mean(axis=1), 0.0).tolist()  # type: ignore[no-any-return]

    def spread(self, logits: Tensor, classes: int) -> NDArray[np.float32]:
        """(n, k) of the classes trained on -> (n, classes)."""
        wide = np.full((len(logits), classes), -np.inf, np.float32)
        wide[:, self.names] = np.nan_to_num(logits.float().cpu().numpy(), nan=-np.inf)
        return wide


class Logistic(_Candidates):
    """Logistic regressions of `clip_lbfgs`."""

    def __init__(self, part: Part, options: ProbeOptions, device: str, seed: int) -> None:
        super().__init__(part, options, device, seed)
        self._fits: dict[float, Fit] = {}
        self._design = prepare(self.features)

    def accuracies(self, cs: Sequence[float], val: Part) -> list[float]:
        """Validation top-1 of each C; C ascends. Each group of penalties begins at the nearest fit so far."""
        features, scores = self.move(val.features), []
        together = max(1, _TOGETHER // (len(self.labels) * len(self.names)))
        for at in range(0, len(cs), together):
            group = list(cs[at : at + together])
            fit = self.fit(group, self.near(group[0]))
            self._fits.update({c: fit.one(index) for index, c in enumerate(group)})
            scores += self.score(fit.logits(features), val)
        return scores

    def near(self, c: float) -> Fit | None:
        """The fit whose C is nearest, by ratio; the weaker penalty of two."""
        known = sorted(self._fits, key=lambda other: (abs(np.log(other / c)), other))
        return self._fits[known[0]] if known else None

    def logits(
        self, c: float, start: Fit | None, features: NDArray[np.float32], classes: int
    ) -> tuple[NDArray[np.float32], bool]:
        """(n, classes) of the model with this C, and whether it converged."""
        fit = self.fit([c], start)
        return self.spread(fit.logits(self.move(features))[0], classes), bool(fit.converged[0])

    def fit(self, cs: Sequence[float], start: Fit | None) -> Fit:
        """The model of each C; `start` is left out if it is of other classes."""
        if start is not None and start.weight.shape[2] != len(self.names):  # validation has classes of its own
            start = None
        limits: Any = {"tolerance": self.options.tolerance, "max_iterations": self.options.max_iterations}
        if self.options.solver == "scikit-learn":
            return fit_peer(self.features, self.labels, cs, start=start, **limits)
        return fit_logistic(self._design, self.labels, len(self.names), cs, start=start, **limits)


class _Linear(_Candidates):
    """`clip_benchmark`."""

    def move(self, features: NDArray[np.float32]) -> Tensor:
        return unit_length(super().move(features))

    def accuracies(self, decays: Sequence[float], val: Part) -> list[float]:
        """Validation top-1 of each weight decay."""
        return self.score(self._outputs(decays, self.move(val.features)), val)

    def near(self, decay: float) -> None:
        """Every training begins at random."""

    def logits(
        self, decay: float, start: Any, features: NDArray[np.float32], classes: int
    ) -> tuple[NDArray[np.float32], None]:
        """(n, classes) of the model with this weight decay."""
        return self.spread(self._outputs([decay], self.move(features))[0], classes), None

    def _outputs(self, decays: Sequence[float], features: Tensor) -> Tensor:
        shape = (self.features, self.labels, len(self.names), decays, self.options.schedule, self.seed)
        weight, bias = train_linear(*shape)
        return torch.matmul(features, weight) + bias[:, None, :]
