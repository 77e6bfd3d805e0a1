"""What every evaluation results in: rows, kept as a labelled result with one variable per column."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cvbench.engine.analyses.base import Result
from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.verdict import Judged
from cvbench.jobs.results.earlier import of_version_1
from cvbench.jobs.results.row import (
    CHANCE,
    COUNTS,
    DIFFERENCE,
    NUMBERS,
    REFERENCE,
    TEST,
    TEXTS,
    Row,
    judged_columns,
    known,
    numbers_of,
)

_KEPT_TEXTS = tuple(name for name in TEXTS if name not in ("run", "analysis"))  # where it is kept says these


@dataclass
class Table:
    """Collects the rows of one data set; `place` changes it."""

    dataset: str
    split: str
    n_failed: int = 0
    rows: list[Row] = field(default_factory=list)

    def place(self, dataset: str, split: str, n_failed: int) -> None:
        """Set the data set, the split and the failed samples of the next rows."""
        self.dataset, self.split, self.n_failed = dataset, split, n_failed

    def add(self, backbone: str, metric: str, factor: str, estimate: Estimate, **columns: Any) -> None:
        """A number with its interval; `columns` are further ones of `Row`."""
        origin = {"dataset": self.dataset, "split": self.split, "n_failed": self.n_failed}
        named = {"backbone": backbone, "metric": metric, "factor": factor}
        self.rows.append(Row(**{**origin, **named, **numbers_of(estimate), **columns}))

    def difference(self, pair: tuple[str, str], metric: str, factor: str, judged: Judged) -> None:
        """The first backbone less the second, with its verdict; "" as the second: less what the metric names."""
        self.add(pair[0], metric, factor, judged.found, backbone_b=pair[1], kind=DIFFERENCE, **judged_columns(judged))

    def chance(self, metric: str, level: float) -> None:
        """Add what guessing would give in a metric."""
        self.add("", metric, CHANCE, Estimate(level), kind=REFERENCE)

    def test(self, backbone: str, metric: str, factor: str, value: float, n: int, **columns: Any) -> None:
        """A number that only judges, such as an unadjusted p value."""
        self.add(backbone, metric, factor, Estimate(value, n=n), kind=TEST, **columns)


def table_result(analysis: str, rows: Sequence[Row], attrs: Mapping[str, Any]) -> Result:
    """The rows as a labelled result: one variable per column, along `row`; NaN where a number is undefined."""
    data: dict[str, tuple[tuple[str, ...], Any]] = {}
    for name in _KEPT_TEXTS:
        data[name] = ("row",), np.array([getattr(row, name) for row in rows], dtype=np.str_)
    for name in NUMBERS:
        values = (getattr(row, name) for row in rows)
        data[name] = ("row",), np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    for name in COUNTS:
        data[name] = ("row",), np.array([getattr(row, name) for row in rows], dtype=np.int64)
    return Result(analysis, {"row": list(range(len(rows)))}, data, dict(attrs))


def table_rows(result: Result) -> Iterator[Row]:
    """The rows of a result of `table_result`, of earlier versions too."""
    columns = {name: result.data[name][1].tolist() for name in (*_KEPT_TEXTS, *NUMBERS, *COUNTS) if name in result.data}
    rows = []
    for i in range(len(columns["metric"])):
        found = {name: values[i] for name, values in columns.items()}
        rows.append(Row(**{**found, **{name: known(found[name]) for name in NUMBERS if name in found}}))
    return iter(rows if "kind" in columns else of_version_1(rows))


def of_metrics(*metrics: str) -> Callable[[Result, Sequence[Row]], list[Row]]:
    """A headline: the rows of these metrics, differences of two backbones first."""

    def headline(result: Result, rows: Sequence[Row]) -> list[Row]:
        return sorted((row for row in rows if row.metric in metrics), key=lambda row: not row.backbone_b)

    return headline


def again(result: Result, command: str, *, draws: bool = False) -> list[str]:
    """The words after `cvbench` that make this result again: the command and the options that it was given.

    Args:
        result: Its attribute `options` has them.
        command: Of `cvbench eval`.
        draws: Whether the command has `--resamples` and `--seed`; if not, those of an earlier version are left out.
    """
    words = [str(word) for word in result.attrs.get("options", [])]
    for option in () if draws else ("--resamples", "--seed"):
        if option in words:
            at = words.index(option)
            del words[at : at + 2]
    return ["eval", command, *words]
