"""What every evaluation results in: one tidy table, kept as a labelled result, printed, and read by the report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from cvbench.engine.analyses.base import Result
from cvbench.engine.statistics.estimate import Estimate
from cvbench.jobs.results.row import TidyRow

TEXTS = ("dataset", "split", "backbone", "metric", "factor")
NUMBERS = ("value", "low", "high")
COUNTS = ("n", "n_failed")
ADJUSTED = " p (Holm)"
"""Behind the metric of a difference: its adjusted p value."""


@dataclass
class Table:
    """Collects the rows of one data set; `place` changes it."""

    dataset: str
    split: str
    n_failed: int = 0
    rows: list[TidyRow] = field(default_factory=list)

    def place(self, dataset: str, split: str, n_failed: int) -> None:
        """What the next rows are of."""
        self.dataset, self.split, self.n_failed = dataset, split, n_failed

    def add(self, backbone: str, metric: str, factor: str, estimate: Estimate) -> None:
        """A number with its interval."""
        ends = (_known(estimate.value), _known(estimate.low), _known(estimate.high))
        self.rows.append(
            TidyRow("", self.dataset, self.split, backbone, metric, factor, *ends, estimate.n, self.n_failed)
        )

    def plain(self, backbone: str, metric: str, factor: str, value: float, n: int) -> None:
        """A number without an interval, such as a p value."""
        self.add(backbone, metric, factor, Estimate(value, n=n))


def table_result(analysis: str, rows: Sequence[TidyRow], attrs: Mapping[str, Any]) -> Result:
    """The rows as a labelled result: one variable per column, along `row`; NaN where a number is undefined."""
    data: dict[str, tuple[tuple[str, ...], Any]] = {}
    for name in TEXTS:
        data[name] = ("row",), np.array([getattr(row, name) for row in rows], dtype=np.str_)
    for name in NUMBERS:
        values = (getattr(row, name) for row in rows)
        data[name] = ("row",), np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    for name in COUNTS:
        data[name] = ("row",), np.array([getattr(row, name) for row in rows], dtype=np.int64)
    return Result(analysis, {"row": list(range(len(rows)))}, data, dict(attrs))


def tidy_rows(result: Result) -> Iterator[TidyRow]:
    """The rows of a result of `table_result`; `run` is where it is kept, if it is."""
    columns = {name: result.data[name][1].tolist() for name in (*TEXTS, *NUMBERS, *COUNTS)}
    run = str(result.attrs.get("run", ""))
    for i in range(len(columns["metric"])):
        texts = [columns[name][i] for name in TEXTS]
        numbers = [_known(columns[name][i]) for name in NUMBERS]
        yield TidyRow(run, *texts, *numbers, *(columns[name][i] for name in COUNTS))


def headline(metrics: Sequence[str]) -> Any:
    """A function that leaves of a result the rows of these metrics."""

    def rows(result: Result) -> Iterator[TidyRow]:
        return (row for row in tidy_rows(result) if row.metric in metrics)

    return rows


def flat(row: TidyRow) -> dict[str, Any]:
    """A row as a dict, for CSV and JSON."""
    return asdict(row)


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


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
