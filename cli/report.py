"""`cvbench report`: the results of a store as a page to read, figures and tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cvbench.cli import options as shared
from cvbench.cli.command import command
from cvbench.cli.say import say
from cvbench.errors import UsageError
from cvbench.options import Option


@dataclass(frozen=True)
class Page:
    """Files that a report writes, and where."""

    out: Annotated[
        str, Option("Folder for the page, the figures and the tables.", short="-o", check=shared.writable)
    ] = "report"
    pdf: Annotated[bool, Option("Draw every figure as PDF too.")] = False
    data_root: Annotated[str | None, Option("Folder that holds the data sets.", variable="CVBENCH_DATA")] = None
    compare: Annotated[
        str | None, Option("Another store: only the two side by side, number by number, and their claims.")
    ] = None


def _report(place: shared.StorePlace, page: Page, own: shared.OwnClaims, printed: shared.Printed) -> None:
    """Write all results as an HTML page, figures and one table.

    All results of a store, the figures as files, and one table of all numbers.

    Figures are SVG, PNG and CSV, the table is Parquet, CSV and JSON. The page needs no network. Its figures can be
    walked through, and are still where scripts do not run. Points of a map show their images where these can be read:
    of data sets that need no download, and of those under --data-root. The same store, with the same images, gives
    the same bytes.
    """
    if page.compare is not None:
        if page.pdf or page.data_root or own.claims:
            why = "--compare has no figures, and the published claims only"
            raise UsageError("--pdf, --data-root and --claims are of one store", why=why, fix="leave them out")
        _compare(place.store, page.compare, page.out, printed.format)
        return
    from cvbench.cli.display import progress
    from cvbench.jobs.report import complete
    from cvbench.jobs.report import report as run

    with progress() as listen:
        made = run(place.store, page.out, listen, pdf=page.pdf, data_root=page.data_root, claims=own.claims)
    if printed.format == "json":
        shared.echo_json({"schema_version": 1, **made.as_dict()})
    else:
        from cvbench.jobs.running.sizes import counted

        say(f"page:    {made.page}")
        for path in made.tables:
            say(f"table:   {path}")
        for path in made.figures:
            say(f"figure:  {path}")
        say(f"{counted(made.results, 'result')}, {counted(made.numbers, 'number')}")
    complete(made)


def _compare(first: str, second: str, out: str, output: str) -> None:
    from cvbench.jobs.report.comparison import compare

    made = compare(first, second, out)
    if output == "json":
        shared.echo_json({"schema_version": 1, **made.as_dict()})
        return
    say(f"page:    {made.page}")
    say(f"table:   {made.table}")
    say(f"{made.both} numbers in both, {made.first_only} in {first} only, {made.second_only} in {second} only")


report = command("report", [shared.StorePlace, Page, shared.OwnClaims, shared.Printed], _report)
