"""Whether rows bear out claims: a function of claims, rows and the sides of the backbones.

A claim **holds** if its number is resolved in the direction that is claimed and the estimate is at least the smallest
effect that counts; it **does not hold** if the number is resolved the other way, or the whole interval is smaller than
that effect; else it is **not resolved**. Two numbers that are both at chance resolve nothing whatever their difference,
nor do two at the ceiling unless they are apart (`claims.limits`). Resolved needs the verdict of the row itself, which
has Holm's p over its result, and that p, adjusted by Holm once more over all numbers of the claim's family, at 5 %:
conservative. That an interval is too small to count is judged by the interval alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

from cvbench.engine.statistics.estimate import Estimate, normal, two_sided
from cvbench.engine.statistics.holm import holm
from cvbench.engine.statistics.verdict import Verdict, verdict
from cvbench.jobs.claims.claim import Claim
from cvbench.jobs.claims.limits import AT_CEILING, Limits, ResultFacts, limits_of
from cvbench.jobs.claims.sides import TRANSFORMER, Side
from cvbench.jobs.results.row import DIFFERENCE, VALUE, Row, known

RULE = (
    "holds: resolved in the direction that is claimed, and at least the smallest effect that counts; does not hold: "
    "resolved the other way, or an interval wholly within that effect; else not resolved, as are two numbers that are "
    "both at chance, or both at the ceiling. p is Holm's within its "
    "result, and once more over the claims of one paper, which is conservative; that of a number of one backbone "
    "follows from its interval as if it were normal."
)
"""What a legend says of verdicts on claims."""
CONFIDENCE = 0.95
OTHER_WAY = "it is the other way"


class ClaimVerdict(Enum):
    """On a claim; the value is its text."""

    HOLDS = "holds"
    DOES_NOT_HOLD = "does not hold"
    NOT_RESOLVED = "not resolved"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Outcome:
    """A claim as one number answers it.

    Attributes:
        claim: What is claimed.
        verdict: On it.
        reason: Why it is not run or not resolved, or what decided; "" if the numbers say it.
        row: The number as its result has it; None if it is not run.
        first, second: The backbones: the number is of the first less the second; "" of a number of one.
        value, low, high: In this order of the backbones.
        p: After Holm within the family; None of what is not tested.
        repeatable: Whether the claim's command may still answer it; False where its data lack what is claimed about.
    """

    claim: Claim
    verdict: ClaimVerdict
    reason: str = ""
    row: Row | None = None
    first: str = ""
    second: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    repeatable: bool = True

    @property
    def command(self) -> str:
        """The command that makes its rows, to paste; "" if none does."""
        return f"cvbench {self.claim.command}" if self.claim.command and self.repeatable else ""

    @property
    def judged(self) -> bool:
        """Whether there is a number for it."""
        return self.verdict is not ClaimVerdict.NOT_RUN

    @property
    def subject(self) -> str:
        """The backbones of the number, with its layers."""
        row = self.row or Row()
        layers = {row.backbone: row.layer, row.backbone_b: row.layer_b}
        sides = ["/".join(filter(None, (name, layers.get(name, "")))) for name in (self.first, self.second) if name]
        return " less ".join(sides)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON form."""
        claim, row = self.claim, self.row or Row()
        names = ("id", "sentence", "source", "place", "published", "family", "direction", "smallest", "contrast")
        return {
            **{name: getattr(claim, name) for name in names},
            "estimator": claim.estimator,
            "command": self.command,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "analysis": claim.analysis,
            "metric": claim.metric,
            "factor": row.factor,
            "view": claim.view,
            "run": row.run,
            "dataset": row.dataset,
            "split": row.split,
            "subject": self.subject,
            "backbone": self.first,
            "backbone_b": self.second,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "p": self.p,
            "n": row.n,
        }


def judge_claims(
    claims: Sequence[Claim],
    rows: Sequence[Row],
    sides: Mapping[str, Side | None],
    facts: Mapping[str, ResultFacts] = MappingProxyType({}),
) -> list[Outcome]:
    """Judge every claim by every row that answers it: one outcome for each, in the order of the claims.

    Args:
        claims: What is claimed.
        rows: All of a store.
        sides: Of each backbone; None or left out: not known.
        facts: Run -> what is known of it; of runs that are left out nothing is.
    """
    limits = limits_of(rows, facts)
    matched = []
    for claim in claims:
        of_view = [row for row in rows if not claim.view or facts.get(row.run, ResultFacts()).view == claim.view]
        matched.append((claim, list(_answers(claim, of_view, sides))))
    tests = [one for _, answers in matched for one in answers]
    adjusted: dict[int, float] = {}
    for family in dict.fromkeys(one.claim.family for one in tests):
        own = [one for one in tests if one.claim.family == family]
        adjusted |= dict(zip(map(id, own), holm([_p(one) for one in own]).tolist(), strict=True))
    outcomes: list[Outcome] = []
    for claim, answers in matched:
        outcomes += [_within(limits, _judged(one, adjusted[id(one)])) for one in answers]
        if not answers:
            why, repeatable = _why_not(claim, rows, sides)
            outcomes.append(Outcome(claim, ClaimVerdict.NOT_RUN, why, repeatable=repeatable))
    return outcomes


def _answers(claim: Claim, rows: Sequence[Row], sides: Mapping[str, Side | None]) -> Iterator[Outcome]:
    """The rows that answer a claim, as outcomes without a verdict; of a number of one backbone one layer."""
    mine = [row for row in rows if _fits(claim, row)]
    if claim.of_two:
        for row in mine:
            pair = sides.get(row.backbone), sides.get(row.backbone_b)
            if row.kind == DIFFERENCE and row.value is not None and set(pair) == set(claim.sides):
                yield _ordered(claim, row, swap=pair[0] == TRANSFORMER)
        return
    found: dict[tuple[str, str, str], Row] = {}
    for row in mine:
        of_one = row.kind == VALUE and not row.backbone_b and row.value is not None
        at = row.run, row.dataset, row.backbone
        if of_one and sides.get(row.backbone) in claim.sides and (claim.layer == "last" or at not in found):
            found[at] = row
    for row in found.values():
        yield _ordered(claim, row, swap=False)


def _fits(claim: Claim, row: Row) -> bool:
    return (
        (row.analysis, row.metric) == (claim.analysis, claim.metric)
        and fnmatchcase(row.factor, claim.factor)
        and any(fnmatchcase(row.dataset, pattern) for pattern in claim.datasets)
    )


def _ordered(claim: Claim, row: Row, *, swap: bool) -> Outcome:
    """The row's number, convolutional less transformer."""
    found = Outcome(claim, ClaimVerdict.NOT_RESOLVED, "", row, row.backbone, row.backbone_b)
    if not swap:
        return replace(found, value=row.value, low=row.low, high=row.high)
    value, low, high = (None if end is None else -end + 0.0 for end in (row.value, row.low, row.high))
    return replace(found, first=found.second, second=found.first, value=value, low=high, high=low)


def _p(one: Outcome) -> float:
    """The p of a row; without one that of its interval, as if it were normal; NaN without an interval."""
    if one.row is not None and one.row.p is not None:
        return one.row.p
    if one.value is None or one.low is None or one.high is None:
        return math.nan
    if one.high <= one.low:
        return float(one.low <= 0.0 <= one.high)
    # An interval of a share is not centred on it: the error on the side of 0 is the one that counts.
    error = one.value - one.low if one.value > 0 else one.high - one.value
    return two_sided(abs(one.value) * normal(CONFIDENCE) / error) if error > 0 else math.nan


def _judged(one: Outcome, p: float) -> Outcome:
    claim, row = one.claim, one.row
    assert row is not None
    assert one.value is not None
    found = replace(one, p=known(p))
    if one.low is None or one.high is None:
        return replace(found, reason=row.verdict or row.note or Verdict.NO_INTERVAL.value)
    value, low, high = one.value, one.low, one.high
    if claim.direction < 0:
        value, low, high = -value, -high, -low
    said = verdict(Estimate(value, low, high, row.n), p, confidence=CONFIDENCE, **({"least": 0} if row.verdict else {}))
    resolved = said is Verdict.RESOLVED and row.verdict in ("", Verdict.RESOLVED.value)
    too_few = Verdict.TOO_FEW.value in (said.value, row.verdict)
    if resolved and high < 0:
        return replace(found, verdict=ClaimVerdict.DOES_NOT_HOLD, reason=OTHER_WAY)
    if -claim.smallest < low and high < claim.smallest and not too_few:
        return replace(found, verdict=ClaimVerdict.DOES_NOT_HOLD, reason=f"smaller than {claim.smallest:g}")
    if resolved and value >= claim.smallest:
        return replace(found, verdict=ClaimVerdict.HOLDS)
    if too_few:
        return replace(found, reason=Verdict.TOO_FEW.value)
    return replace(found, reason=f"it may be smaller than {claim.smallest:g}" if resolved else "")


def _within(limits: Limits, found: Outcome) -> Outcome:
    """The outcome, not resolved if both numbers are at chance, or at the ceiling and not apart."""
    if found.row is None or not found.claim.of_two:
        return found
    said = limits.of(found.row)
    apart = found.verdict is ClaimVerdict.HOLDS or found.reason == OTHER_WAY
    if not said or (said == AT_CEILING and apart):
        return found
    return replace(found, verdict=ClaimVerdict.NOT_RESOLVED, reason=said)


def _why_not(claim: Claim, rows: Sequence[Row], sides: Mapping[str, Side | None]) -> tuple[str, bool]:
    """Why no row answers a claim, and whether its command may change that."""
    if not claim.metric:
        return claim.missing, True
    absent = [side for side in claim.sides if side not in sides.values()]
    if absent if claim.of_two else len(absent) == len(claim.sides):
        unknown = [name for name, side in sides.items() if side is None]
        also = f"; whether {', '.join(unknown)} is one, its name does not tell" if unknown else ""
        return f"there is no {' and no '.join(absent)} network{also}", True
    own = [row for row in rows if row.analysis == claim.analysis]
    if not own:
        return f"there is no result of {claim.analysis}", True
    fitting = [row for row in own if _fits(claim, row)]
    note = next((row.note for row in fitting if row.note), "")
    if note:
        return note, True
    place = "" if claim.datasets == ("*",) else f" on {' or '.join(claim.datasets)}"
    other = {row.factor for row in own if _fits(replace(claim, factor="*"), row) and row.factor}
    if other and not fitting:
        return f"the data of {claim.analysis}{place} have no factor {claim.factor!r}", False
    return f"no result of {claim.analysis} has the number{place}", True
