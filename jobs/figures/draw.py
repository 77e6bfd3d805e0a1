"""Figures of entries as files, each with the numbers behind it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cvbench.engine.analyses.base import Result
from cvbench.jobs.figures.base import save_figure
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.row import Row, plain

FORMATS = ("svg", "png")


def draw(entry: Entry, result: Result, rows: Sequence[Row], stem: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Draw a result; the files written, the CSV last, none if the entry has no figure.

    Args:
        entry: Of the result.
        result: Its attributes also have `run`, `dataset` and `split`.
        rows: Its numbers, see `Entry.rows_of`.
        stem: Path without suffix; folders are made.
        formats: Among svg, png and pdf.

    Raises:
        UsageError: Another format.
    """
    figure = entry.figure
    if figure is None:
        return []
    behind = map(plain, rows) if entry.points is None else entry.points(result)
    return save_figure(lambda: figure(result, rows), behind, stem, formats)


def draw_overview(
    entry: Entry, results: Sequence[Result], rows: Sequence[Row], stem: Path, formats: Sequence[str] = FORMATS
) -> list[Path]:
    """Draw several results beside each other; none if the entry does not, or finds nothing to compare.

    Args, Raises: As `draw`; `rows` are those of all.
    """
    overview = entry.overview
    shown = results if entry.compared is None else entry.compared(results)
    if overview is None or len(shown) < 2:
        return []
    runs = {str(result.attrs.get("run", "")) for result in shown}
    own = [row for row in rows if row.run in runs]
    return save_figure(lambda: overview(shown, own), map(plain, own), stem, formats)
