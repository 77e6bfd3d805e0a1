"""What a probe is asked for."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from cvbench.errors import UnknownNameError, UsageError
from cvbench.options import Option

RECIPES = ("clip_benchmark", "clip_lbfgs")
SOLVERS = ("lbfgs", "scikit-learn")


@dataclass(frozen=True)
class Schedule:
    """Length, learning rate and batches of a training.

    Attributes:
        epochs: Passes over the samples.
        batch: Samples of a step; the last of an epoch may be smaller.
        rate: At the first step; it falls to 0 as half a cosine.
    """

    epochs: Annotated[int, Option("Of clip_benchmark.", least=1)] = 10
    batch: Annotated[int, Option("Of clip_benchmark.", "--batch-size", "-b", least=1)] = 64
    rate: Annotated[float, Option("Of clip_benchmark; above 0.", "--lr")] = 0.1

    def at(self, step: int, steps: int) -> float:
        """The rate of a step, 0 <= step < steps."""
        return 0.5 * (1 + math.cos(math.pi * step / steps)) * self.rate


@dataclass(frozen=True)
class ProbeOptions:
    """Options of a probe.

    Attributes:
        recipe: Of `RECIPES`.
        solver: Of `SOLVERS`, for `clip_lbfgs`; both have the same minimum.
        seeds: How many; of the held-out samples, the shots, the first weights and the order of the batches.
        first_seed: The lowest.
        shots: Training samples per class; None is all.
        hold_out: Share of the training samples, of each class, that validates where there is no validation split, drawn
            by the seed; 0 is none. None: the share that VTAB takes of this data set, if it does, as a validation split;
            else the recipe's own, 0.1 for `clip_lbfgs` and none for `clip_benchmark`.
        schedule: Of `clip_benchmark`.
        tolerance, max_iterations: Of `clip_lbfgs`.
    """

    recipe: Annotated[str, Option("How a classifier is fitted.", values=RECIPES)] = "clip_benchmark"
    solver: Annotated[str, Option("Of clip_lbfgs; lbfgs is ours.", values=SOLVERS)] = "lbfgs"
    seeds: Annotated[int, Option("How many seeds.", least=1)] = 3
    first_seed: Annotated[int, Option("The first seed.", "--seed", least=0)] = 0
    shots: Annotated[int | None, Option("Training samples per class.", least=1)] = None
    hold_out: Annotated[float | None, Option("Share of train to validate on, drawn by the seed, if no split does.")] = (
        None
    )
    schedule: Schedule = field(default_factory=Schedule)
    tolerance: float = 1e-4
    max_iterations: int = 1000

    def __post_init__(self) -> None:
        if self.recipe not in RECIPES:
            raise UnknownNameError.among("recipe", self.recipe, RECIPES, fix=f"--recipe {', '.join(RECIPES)}")
        if self.solver not in SOLVERS:
            raise UnknownNameError.among("solver", self.solver, SOLVERS, fix=f"--solver {', '.join(SOLVERS)}")
        if self.hold_out is not None and not 0 <= self.hold_out < 1:
            raise UsageError(f"a share of {self.hold_out} cannot be held out", fix="--hold-out 0.1")
        if not self.schedule.rate > 0:
            raise UsageError(f"a rate of {self.schedule.rate:g} trains nothing", fix="--lr 0.1")

    @property
    def held_out(self) -> float:
        """The share that is held out where there is no validation split."""
        if self.hold_out is not None:
            return self.hold_out
        return 0.1 if self.recipe == "clip_lbfgs" else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Every field, as plain JSON."""
        return asdict(self)
