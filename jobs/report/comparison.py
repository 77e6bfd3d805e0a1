"""`cvbench report --compare`: two stores side by side, number by number, and what each says of the claims."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from cvbench.errors import CvbenchError
from cvbench.jobs.claims.judge import RULE, Outcome
from cvbench.jobs.figures.base import cannot_write, write_whole
from cvbench.jobs.report.claims import JudgedClaims, claim_lines, judge_items
from cvbench.jobs.report.collect import Item, collect, public_url
from cvbench.jobs.report.interactive import policy
from cvbench.jobs.report.lines import decimals, number
from cvbench.jobs.report.provenance import provenance
from cvbench.jobs.results.row import CURVE, Row
from cvbench.jobs.running.places import absolute
from cvbench.storage.features import FeatureStore
from cvbench.texts import csv_cell

PAGE, TABLE = "comparison.html", "comparison.csv"
KEY = (
    *("analysis", "dataset", "split", "backbone", "layer", "backbone_b", "layer_b", "metric", "factor", "kind", "at"),
    "setting",
)
"""What two rows share: of the columns of a row, and how the result was made where one store has several."""
SHOWN = 400
"""Rows of an analysis that the page shows; the table beside it has all."""
NO_TEST = (
    "A difference between two stores has no interval here: their numbers may be of other images or of other weights, "
    "and are not paired."
)


@dataclass(frozen=True)
class Joined:
    """One number in both stores; `first` or `second` is None where a store lacks it."""

    key: tuple[Any, ...]
    first: Row | None
    second: Row | None

    @property
    def row(self) -> Row:
        found = self.first or self.second
        assert found is not None
        return found

    @property
    def difference(self) -> float | None:
        """The second less the first; None where one of them is undefined."""
        one, two = self.first, self.second
        if one is None or two is None or one.value is None or two.value is None:
            return None
        return two.value - one.value

    @property
    def apart(self) -> bool | None:
        """Whether the two intervals do not meet; None where one has none."""
        ends = [end for row in (self.first, self.second) if row for end in (row.low, row.high)]
        if len(ends) != 4 or None in ends:
            return None
        low, high, other_low, other_high = (float(end) for end in ends if end is not None)
        return high < other_low or other_high < low


@dataclass(frozen=True)
class Comparison:
    """Files of a written comparison, and how many numbers both stores have, and one alone."""

    page: Path
    table: Path
    both: int
    first_only: int
    second_only: int

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON form."""
        counts = {"both": self.both, "first_only": self.first_only, "second_only": self.second_only}
        return {"page": str(self.page), "table": str(self.table), **counts}


def compare(first: str, second: str, out: str) -> Comparison:
    """Write a page and a table of two stores; files of the same name are replaced.

    Args:
        first, second: Path or URL of a store; only read. Differences are the second less the first.
        out: Folder for `comparison.html` and `comparison.csv`; made if absent.

    Raises:
        DataUnavailableError: There is no such store, or no result in it.
        ResourceError: The folder cannot be written.
        IntegrityError: A result is damaged.
    """
    found = [_read(store) for store in (first, second)]
    joined = join(*(items for items, _ in found))
    folder = Path(out).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / TABLE, _csv(joined).encode())
        names = public_url(first), public_url(second)
        html = _html(names, joined, [claims for _, claims in found])
        write_whole(folder / PAGE, html.encode(errors="backslashreplace"))
    except CvbenchError:
        raise
    except OSError as error:
        raise cannot_write(error, folder, "the comparison") from error
    lacks = [sum(getattr(one, name) is None for one in joined) for name in ("second", "first")]
    return Comparison(folder / PAGE, folder / TABLE, len(joined) - sum(lacks), *lacks)


def _read(store: str) -> tuple[list[Item], JudgedClaims]:
    opened, shown = FeatureStore.open(absolute(store)), public_url(store)
    items = collect(opened, shown)
    return items, judge_items(items, provenance(opened, shown), shown)


def join(first: Sequence[Item], second: Sequence[Item]) -> list[Joined]:
    """The rows of two stores by their key, in the order of the first, then those of the second alone.

    Where a store has several results of an analysis and split, each is told apart by its command, without the store.
    """
    one, two = (dict(_keyed(items)) for items in (first, second))
    return [Joined(key, one.get(key), two.get(key)) for key in dict.fromkeys([*one, *two])]


def _keyed(items: Sequence[Item]) -> Iterator[tuple[tuple[Any, ...], Row]]:
    seen: dict[tuple[Any, ...], int] = {}
    for item in items:
        setting = item.command.rpartition(" --store ")[0].removeprefix("cvbench ")
        for row in item.rows:
            key = (*(getattr(row, name) for name in KEY[:-1]), setting)
            again = seen[key] = seen.get(key, 0) + 1  # of more samples than another of the same command, say
            yield (*key[:-1], setting if again == 1 else f"{setting} ({again})"), row


def _csv(joined: Sequence[Joined]) -> str:
    text = io.StringIO()
    ends = ("value", "low", "high", "n", "verdict")
    columns = [*KEY, *(f"{name}_{side}" for side in ("first", "second") for name in ends), "difference", "apart"]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for one in joined:
        cells: dict[str, Any] = dict(zip(KEY, one.key, strict=True))
        for side, row in (("first", one.first), ("second", one.second)):
            cells |= {f"{name}_{side}": None if row is None else getattr(row, name) for name in ends}
        cells |= {"difference": one.difference, "apart": one.apart}
        writer.writerow({name: csv_cell(value) for name, value in cells.items()})
    return text.getvalue()


@dataclass(frozen=True)
class _Line:
    subject: str
    metric: str
    factor: str
    values: tuple[str, str]
    intervals: tuple[str, str]
    difference: str
    said: str


def _lines(joined: Sequence[Joined]) -> list[_Line]:
    found = []
    for one in joined:
        row = one.row
        places = max(decimals(side) for side in (one.first, one.second) if side is not None)
        sides = [(one.first, "not there"), (one.second, "not there")]
        found.append(
            _Line(
                row.subject,
                row.title,
                ", ".join(filter(None, (row.factor, "" if row.at is None else f"at {row.at:.4g}"))),
                tuple(absent if side is None else number(side.value, places) for side, absent in sides),  # type: ignore[arg-type]
                tuple(_interval(side, places) for side, _ in sides),  # type: ignore[arg-type]
                "" if one.difference is None else number(one.difference, places),
                {True: "intervals apart", False: "intervals meet", None: ""}[one.apart],
            )
        )
    return found


def _interval(row: Row | None, places: int) -> str:
    if row is None or row.low is None or row.high is None:
        return ""
    said = f", {row.verdict}" if row.verdict else ""
    return f"{number(row.low, places)} to {number(row.high, places)}{said}"


def _chapters(joined: Sequence[Joined]) -> list[tuple[str, list[_Line], int]]:
    """(heading, lines, left out) for each analysis, split and setting: what both have first, points of curves last."""
    groups: dict[tuple[str, ...], list[Joined]] = {}
    for one in joined:
        row = one.row
        groups.setdefault((row.analysis, f"{row.dataset}/{row.split}", str(one.key[-1])), []).append(one)
    found = []
    for (analysis, place, setting), mine in groups.items():
        order = sorted(mine, key=lambda one: (one.first is None or one.second is None, one.row.kind == CURVE))
        found.append((f"{analysis} · {place} · {setting}", _lines(order[:SHOWN]), max(0, len(order) - SHOWN)))
    return found


def _claims(sides: Sequence[JudgedClaims]) -> list[tuple[str, str, list[list[Any]]]]:
    """(sentence, source, lines of each store) of each claim that a store at least answers."""
    tables: list[Mapping[tuple[str, str], list[Any]]] = []
    for claims in sides:
        lines: dict[tuple[str, str], list[Any]] = {}
        judged: list[Outcome] = [one for one in claims.outcomes if one.judged]
        for line in claim_lines(judged, {}):
            lines.setdefault((line.sentence, line.source), []).append(replace(line))
        tables.append(lines)
    return [(*key, [table.get(key, []) for table in tables]) for key in dict.fromkeys([*tables[0], *tables[1]])]


def _html(names: tuple[str, str], joined: Sequence[Joined], sides: Sequence[JudgedClaims]) -> str:
    from jinja2 import Environment, StrictUndefined

    here = resources.files("cvbench.jobs.report")
    style = here.joinpath("page.css").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["count"] = lambda value: f"{value:,}"
    template = environment.from_string(here.joinpath("comparison.html.j2").read_text(encoding="utf-8"))
    called = [os.path.basename(name.rstrip("/")) or name for name in names]
    return template.render(
        style=style,
        policy=policy(style, ()),
        names=names,
        called=called if called[0] != called[1] else list(names),
        chapters=_chapters(joined),
        both=sum(one.first is not None and one.second is not None for one in joined),
        total=len(joined),
        claims=_claims(sides),
        rule=RULE,
        no_test=NO_TEST,
        table=TABLE,
    )
