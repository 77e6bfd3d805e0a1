"""Whether a difference is told from 0: the one rule and the one wording of all analyses and evaluations.

A difference is *resolved* if its interval leaves out 0 and what is 0 but for rounding, if its p, adjusted for the
family that it is judged with (Holm 1979), is at most 1 - confidence, and if at least `FEW_IMAGES` images define it.
Where batches, groups of samples, clusters or classes are the sampling units, Student's t counts how few they are, and
the last rule does not apply.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from cvbench.engine.statistics.estimate import FEW_IMAGES, Estimate
from cvbench.engine.statistics.holm import holm

FAMILY = "differences of one result are judged together: p is Holm's, and resolved needs it below 5 %"
"""What a legend says of verdicts."""


class Verdict(Enum):
    """On a difference; the value is its text."""

    RESOLVED = "resolved"
    NOT_RESOLVED = "not resolved"
    TOO_FEW = "too few images to resolve"
    EXACT = "the same in every image: no interval"
    NO_INTERVAL = "no interval: n too small"

    @property
    def flag(self) -> bool | None:
        """The verdict in rows: None where nothing is said."""
        return {Verdict.RESOLVED: True, Verdict.NOT_RESOLVED: False}.get(self)

    @property
    def code(self) -> float:
        """The verdict in arrays: 1, 0, NaN."""
        return math.nan if self.flag is None else float(self.flag)

    @property
    def mark(self) -> str:
        """Mark behind a number that has its interval beside it; "" if it is resolved or the interval says all.

        >>> Verdict.NOT_RESOLVED.mark, Verdict.RESOLVED.mark
        (' (not resolved)', '')
        """
        return f" ({self.value})" if self in (Verdict.NOT_RESOLVED, Verdict.TOO_FEW) else ""

    @classmethod
    def of(cls, flag: bool | None, low: float | None) -> Verdict:
        """The verdict on a row, from its flag and the low end of its interval, None or NaN for none.

        >>> Verdict.of(None, 0.1), Verdict.of(None, None), Verdict.of(False, None)
        (<Verdict.TOO_FEW: 'too few images to resolve'>, <Verdict.NO_INTERVAL: 'no interval: n too small'>, \
<Verdict.NOT_RESOLVED: 'not resolved'>)
        """
        if flag is None:
            return cls.NO_INTERVAL if low is None or math.isnan(low) else cls.TOO_FEW
        return cls.RESOLVED if flag else cls.NOT_RESOLVED


def verdict(found: Estimate, p: float | None = None, *, confidence: float = 0.95, least: int = FEW_IMAGES) -> Verdict:
    """The verdict on one difference.

    Args:
        found: The difference.
        p: Adjusted for its family; None if it is judged alone, by its interval.
        confidence: Of the interval; p must not exceed the rest.
        least: With fewer that define it nothing is resolved; 0 where Student's t counts the units.

    >>> [verdict(Estimate(0.2, low, 0.3, n)).value for low, n in ((0.1, 40), (-0.1, 40), (0.1, 4), (-0.1, 4))]
    ['resolved', 'not resolved', 'too few images to resolve', 'not resolved']
    >>> verdict(Estimate(-6e-17, -8.6e-17, -4.0e-17, 40, floor=1e-6)).value, verdict(Estimate(2, 1, 3, 40), 0.06).value
    ('not resolved', 'not resolved')
    >>> verdict(Estimate(1.0)).value, verdict(Estimate(1.0, constant=True)).value
    ('no interval: n too small', 'the same in every image: no interval')
    """
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        if not found.constant:
            return Verdict.NO_INTERVAL
        return Verdict.NOT_RESOLVED if abs(found.value) <= found.floor else Verdict.EXACT
    leaves_out_0 = found.low > found.floor or found.high < -found.floor
    if not leaves_out_0 or not (p is None or p <= 1 - confidence):
        return Verdict.NOT_RESOLVED
    return Verdict.RESOLVED if found.n >= least else Verdict.TOO_FEW


@dataclass(frozen=True)
class Judged:
    """A difference, its verdict, and the adjusted p by which it is judged (NaN of what is not tested)."""

    found: Estimate
    p: float
    verdict: Verdict


def judge(family: Sequence[Estimate], *, confidence: float = 0.95, least: int = FEW_IMAGES) -> list[Judged]:
    """The verdicts on differences that are judged together, each by its p after Holm's adjustment.

    Args:
        family: All of them.
        confidence, least: See `verdict`.

    >>> [one.verdict.value for one in judge([Estimate(2, 1, 3, 40, p=0.01), Estimate(2, 1, 3, 40, p=0.04)])]
    ['resolved', 'resolved']
    >>> [one.verdict.value for one in judge([Estimate(2, 1, 3, 40, p=0.03), Estimate(2, 1, 3, 40, p=0.04)])]
    ['not resolved', 'not resolved']
    """
    adjusted = holm([found.p for found in family]).tolist()
    return [
        Judged(found, p, verdict(found, p, confidence=confidence, least=least))
        for found, p in zip(family, adjusted, strict=True)
    ]
