"""One interval, one law, many draws: how often it holds the truth, and how often a verdict is wrong.

A case draws data from a law whose truth is known and asks the product for its interval. Coverage is the share of the
draws with an interval whose interval holds the truth; draws for which the product prints no interval (n too small) are
counted apart, never as covered. Where a case is of a difference that is 0 in truth, a resolved verdict is a false one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import isfinite, nan, sqrt

import numpy as np


@dataclass(frozen=True)
class Trial:
    """What the product said of one draw.

    Attributes:
        truth: What the interval is of; the same for every draw of a case, or the draw's own.
        value, low, high: As printed; low and high NaN where no interval is printed.
        resolved: The verdict on a difference; None where none is given.
    """

    truth: float
    value: float
    low: float
    high: float
    resolved: bool | None = None


@dataclass(frozen=True)
class Case:
    """One interval under one law.

    Attributes:
        area: Groups the table: "silhouette", "CKA", "accuracy", ...
        name: The interval and the setting, such as "micro, 10 classes x 30".
        draw: One draw; a module-level function or a `partial` of one, so that it can be sent to a process. Several
            trials where one draw gives several numbers, of which each is a row of the table under its own name.
        null: Whether the truth is "no difference", so that a resolved verdict is a false one.
        aim: Least coverage wanted of this nominal 95 %; 0 where the product is right to print no interval.
        small: Whether the test suite runs it (with fewer draws).
    """

    area: str
    name: str
    draw: Callable[[np.random.Generator], Trial | dict[str, Trial]]
    null: bool = False
    aim: float = 0.92
    small: bool = False


@dataclass(frozen=True)
class Coverage:
    """Of the draws of one case.

    Attributes:
        runs, with_interval, covered: Draws; those with an interval; those whose interval holds the truth.
        own_value: Share of intervals that hold their own value (1 where an interval is an interval of its number).
        width: Median width.
        zero_width: Share of intervals without any width.
        judged, resolved: Draws with a verdict, and those resolved.
    """

    area: str
    name: str
    aim: float
    null: bool
    runs: int
    with_interval: int
    covered: int
    own_value: float
    width: float
    zero_width: float
    judged: int
    resolved: int

    @property
    def share(self) -> float:
        """Coverage; NaN without an interval."""
        return self.covered / self.with_interval if self.with_interval else nan

    @property
    def error(self) -> float:
        """Monte-Carlo standard error of the coverage."""
        return sqrt(self.share * (1 - self.share) / self.with_interval) if self.with_interval else nan

    @property
    def false_share(self) -> float:
        """Share of all draws that are resolved: the false-positive rate where `null`."""
        return self.resolved / self.runs


def simulate(case: Case, runs: int, seed: int = 0, workers: int = 1) -> list[Coverage]:
    """Draw `runs` times, each from its own child of `seed`: the numbers do not depend on `workers`."""
    seeds = np.random.SeedSequence([seed, *case.area.encode(), *case.name.encode()]).spawn(runs)
    one = partial(_draw, case)
    if workers > 1:
        with ProcessPoolExecutor(workers) as pool:
            drawn = list(pool.map(one, seeds, chunksize=max(1, runs // (8 * workers))))
    else:
        drawn = [one(child) for child in seeds]
    return [_coverage(case, name, [found[name] for found in drawn]) for name in drawn[0]]


def _draw(case: Case, seed: np.random.SeedSequence) -> dict[str, Trial]:
    found = case.draw(np.random.default_rng(seed))
    return {case.name: found} if isinstance(found, Trial) else {f"{case.name}: {key}": t for key, t in found.items()}


def _coverage(case: Case, name: str, trials: Sequence[Trial]) -> Coverage:
    there = [t for t in trials if isfinite(t.low) and isfinite(t.high)]
    widths = np.array([t.high - t.low for t in there])
    verdicts = [t.resolved for t in trials if t.resolved is not None]
    return Coverage(
        area=case.area,
        name=name,
        aim=case.aim,
        null=case.null,
        runs=len(trials),
        with_interval=len(there),
        covered=sum(t.low <= t.truth <= t.high for t in there),
        own_value=_share([t.low <= t.value <= t.high for t in there]),
        width=float(np.median(widths)) if there else nan,
        zero_width=_share(widths == 0),
        judged=len(verdicts),
        resolved=sum(verdicts),
    )


def _share(flags: Iterable[bool]) -> float:
    flags = list(flags)
    return float(np.mean(flags)) if flags else nan


def table(rows: Iterable[Coverage]) -> str:
    """A Markdown table, one line a number; coverage and false verdicts in per cent with their Monte-Carlo errors."""
    lines = [
        "| area | interval | covers | median width | zero width | holds own value | no interval | falsely resolved |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        covers = f"{100 * row.share:.1f} ± {100 * row.error:.1f}" if row.with_interval else "-"
        if row.with_interval and row.share + 2 * row.error < row.aim:
            covers = f"**{covers}**"
        false = f"{100 * row.false_share:.1f}" if row.null else ""
        none = 1 - row.with_interval / row.runs
        cells = [row.area, row.name, covers, f"{row.width:.4g}", f"{100 * row.zero_width:.0f}"]
        lines.append(f"| {' | '.join([*cells, f'{100 * row.own_value:.0f}', f'{100 * none:.0f}', false])} |")
    return "\n".join(lines)
