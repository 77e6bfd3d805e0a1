"""`cvbench report`: all results of a store as one HTML page, the figures as files, and one tidy table.

Nothing in it tells when or where it was made: the same store gives the same bytes, where the same images can be read.
All files are made beside those that are there and then put in their place, the page last: a kill or a full disk leaves
the old report.
"""

from __future__ import annotations

import glob
import os
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cvbench.errors import CvbenchError, IncompleteError
from cvbench.jobs.claims.claim import Claim
from cvbench.jobs.figures.base import cannot_write, write_whole
from cvbench.jobs.registry import plugins
from cvbench.jobs.report.claims import judge_items, own_claims, row_anchors
from cvbench.jobs.report.collect import Item, collect, public_url
from cvbench.jobs.report.figures import FOLDER, FORMATS, MOST_BYTES, Picture, draw_item, draw_items, fit, linked
from cvbench.jobs.report.interactive import Interactive, interactive_forms
from cvbench.jobs.report.page import chapters, render
from cvbench.jobs.report.provenance import Provenance, provenance
from cvbench.jobs.report.tables import write_tables
from cvbench.jobs.running.places import absolute
from cvbench.jobs.running.progress import Advanced, Ended, Listener, Note, Started, silent
from cvbench.storage.features import FeatureStore

__all__ = ["PAGE", "Report", "report"]

PAGE = "report.html"
JOB = "report"


@dataclass(frozen=True)
class Report:
    """Files of a written report, and counts of what they show.

    Attributes:
        page: The HTML page; everything that it shows is in it.
        tables: Parquet, CSV, JSON.
        figures: SVG, PNG and CSV files.
        results, numbers: How many of the store the page shows, and rows of a table.
        raw: Paths of results that no entry could read; the page lists them last, with their variables.
    """

    page: Path
    tables: tuple[Path, ...]
    figures: tuple[Path, ...]
    results: int
    numbers: int
    raw: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON form."""
        lists = {name: [str(path) for path in getattr(self, name)] for name in ("tables", "figures")}
        return {
            "page": str(self.page),
            **lists,
            "results": self.results,
            "numbers": self.numbers,
            "raw": list(self.raw),
        }


def report(
    store: str,
    out: str,
    listen: Listener = silent,
    *,
    pdf: bool = False,
    data_root: str | None = None,
    claims: Sequence[str] = (),
) -> Report:
    """Write the page, the figures and the tables of every result of a store; files of the same name are replaced.

    Args:
        store: Path or URL; only read.
        out: Folder for `report.html`, `results.*` and `figures`; made if absent.
        listen: Receives progress, by figures, and a note for each result that is shown raw.
        pdf: Draw every figure as PDF too.
        data_root: Folder with data sets: points of a map then show small pictures of their images.
        claims: Files of claims that are judged beside the published ones, see `own_claims`.

    Raises:
        DataUnavailableError: There is no store, or no result in it; says what to run first.
        UsageError: A file of claims cannot be read.
        ResourceError: The folder cannot be written.
        IntegrityError: A result is damaged.
    """
    more = own_claims(claims)
    for problem in plugins().problems:
        listen(Note(problem))
    opened = FeatureStore.open(absolute(store))
    shown = public_url(store)
    items, facts = collect(opened, shown), provenance(opened, shown)
    folder, steps = Path(out).expanduser(), _Steps(listen, shown, 2 + len(items) + len(_analyses(items)))
    live = interactive_forms(items, opened, data_root)
    steps.advance()
    try:
        with _stage(folder) as stage:
            formats = (*FORMATS, "pdf") if pdf else FORMATS
            made = _write(shown, facts, items, live, more, stage, steps, formats)
            placed = _put(made, stage, folder)
    except CvbenchError:
        raise
    except OSError as error:
        raise cannot_write(error, folder, "the report") from error
    steps.advance()
    listen(Ended(JOB))
    return placed


class _Steps:
    """Progress by steps of about the same length: the interactive figures, every still one, the page."""

    def __init__(self, listen: Listener, title: str, total: int) -> None:
        self.listen, self._done = listen, 0
        listen(Started(JOB, title, total, total, 0))

    def advance(self) -> None:
        """Say that one more is done."""
        self.listen(Advanced(JOB, self._done, 1))
        self._done += 1


@contextmanager
def _stage(folder: Path) -> Iterator[Path]:
    """A folder in `folder`, for the files until all are made. Those of killed processes of this machine are removed."""
    mine = f".report-{socket.gethostname()}-"
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{glob.escape(mine)}*"):
        if not left.is_symlink() and left.is_dir() and not _lives(left.name.removeprefix(mine)):
            shutil.rmtree(left, ignore_errors=True)
    stage = folder / f"{mine}{os.getpid()}"
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir()
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _lives(pid: str) -> bool:
    """Whether a process of this machine has this number."""
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _put(made: Report, stage: Path, folder: Path) -> Report:
    """Put every file into its place, the page last: it shows what it says whatever lies beside it."""

    def place(path: Path) -> Path:
        target = folder / path.relative_to(stage)
        os.replace(path, target)
        return target

    (folder / FOLDER).mkdir(exist_ok=True)
    figures, tables = tuple(map(place, made.figures)), tuple(map(place, made.tables))
    return replace(made, figures=figures, tables=tables, page=place(made.page))


def complete(made: Report) -> None:
    """Refuse a report in which results are shown raw.

    Raises:
        IncompleteError: Some are, since no entry could read them.
    """
    if made.raw:
        raise IncompleteError(
            f"{len(made.raw)} of {made.results} results are shown as raw variables only",
            where=", ".join(made.raw),
            why="this version of cvbench, with the packages beside it, cannot read them",
            fix="use the cvbench that made them, or run their analysis again",
        )


def _write(
    store: str,
    facts: Provenance,
    items: list[Item],
    live: Interactive,
    more: Sequence[Claim],
    folder: Path,
    steps: _Steps,
    formats: Sequence[str],
) -> Report:
    (folder / FOLDER).mkdir()
    claims = judge_items(items, facts, store, more)
    tables = write_tables(items, folder, claims.outcomes)
    pictures: dict[str, Picture | None] = {}
    for item in items:
        pictures[item.name] = draw_item(item, folder, formats)
        steps.advance()
    for analysis, same in _analyses(items).items():
        pictures[analysis] = draw_items(same, folder, formats)
        steps.advance()
    for item in items:
        if item.entry is None:
            steps.listen(Note(f"{item.key.path} is shown raw: {item.problem}"))
    page = folder / PAGE
    anchors = row_anchors([one for one in claims.outcomes if one.judged])

    def made(shown: Mapping[str, Picture | None]) -> bytes:
        parts = chapters(items, shown, live, anchors)
        return render(store, facts, items, parts, claims, live).encode(errors="backslashreplace")

    whole = made(pictures)
    if len(whole) > MOST_BYTES:  # seldom: then with what all but the figures leaves
        whole = made(fit(pictures, MOST_BYTES - len(made(linked(pictures)))))
    write_whole(page, whole)
    figures = [folder / href for picture in pictures.values() if picture for _, href in picture.files]
    raw = tuple(item.key.path for item in items if item.entry is None)
    return Report(page, tuple(tables), tuple(figures), len(items), sum(len(item.rows) for item in items), raw)


def _analyses(items: Sequence[Item]) -> dict[str, list[Item]]:
    """Analysis -> its results, of those that an entry can read."""
    found: dict[str, list[Item]] = {}
    for item in items:
        if item.entry is not None:
            found.setdefault(item.key.analysis, []).append(item)
    return found
