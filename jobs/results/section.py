"""What the report asks of an analysis: a title, an explanation, tidy rows, a figure, and the command that made it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cvbench.engine.analyses.base import Result

Draw = Callable[[Result, Path, Sequence[str]], list[Path]]
"""(result, path without suffix, formats) -> the files written, the CSV last."""


@dataclass(frozen=True)
class TidyRow:
    """One number of a result, in the one schema of all tables.

    Attributes:
        run: Which result: its path in the store.
        backbone: One, or "A vs B" for a number of a pair.
        metric: What the number is, such as "linear CKA" or "top1".
        factor: Of which layer, class, frequency or shift, as text; "" for the whole.
        value, low, high: None where undefined; low and high are the ends of the interval that the result states.
        n: Sampling units behind it (images, batches or classes, as the metric says).
        n_failed: Samples left out: unreadable, or undefined for this metric.
    """

    run: str
    dataset: str
    split: str
    backbone: str
    metric: str
    factor: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    n_failed: int


@dataclass(frozen=True)
class Section:
    """How one analysis is reported.

    Attributes:
        analysis: Name of the results it reports, as in the store.
        title: Heading, in the field's words.
        about: What is shown, how to read it, and the source; two to four sentences of plain text.
        rows: Tidy rows of a result. `result.attrs` also has `run`, `dataset`, `split` and `view`.
        options: What follows `cvbench` in the command that makes this result again, without `--store`.
        figure: Draws it; None if a table says all.
        headline: The few rows that the report's table shows; None: all of `rows`.
        overview: Draws several results of the analysis beside each other; no file if there is nothing to compare.
        caution: What a reader must know of a result that an earlier version has kept; None: nothing.
    """

    analysis: str
    title: str
    about: str
    rows: Callable[[Result], Iterator[TidyRow]]
    options: Callable[[Result], list[str]]
    figure: Draw | None = None
    headline: Callable[[Result], Iterator[TidyRow]] | None = None
    overview: Callable[[Sequence[Result], Path, Sequence[str]], list[Path]] | None = None
    caution: Callable[[Result], list[str]] | None = None
