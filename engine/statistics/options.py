"""What all intervals of a result are made with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cvbench.options import Option


@dataclass(frozen=True, kw_only=True)
class IntervalOptions:
    """Options of every interval of a result.

    Attributes:
        resamples: Of a bootstrap, where there is one.
        seed: Of all that is drawn.
        confidence: Coverage, also of intervals that draw nothing.
    """

    resamples: Annotated[int, Option("Resamples, for the intervals that draw any.", least=1)] = 2000
    seed: Annotated[int, Option("Seed of all that is drawn at random.", least=0)] = 0
    confidence: float = 0.95


USUAL = IntervalOptions()
