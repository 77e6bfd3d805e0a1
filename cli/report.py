"""`cvbench report`: the results of a store as a page to read, figures and tables."""

from __future__ import annotations

from typing import Annotated

import typer

from cvbench.cli import options as shared
from cvbench.cli.say import say
from cvbench.errors import UsageError


def report(
    store: shared.Store = shared.DEFAULT_STORE,
    out: Annotated[
        str,
        typer.Option("--out", "-o", callback=shared.writable, help="Folder for the page, the figures and the tables."),
    ] = "report",
    pdf: Annotated[bool, typer.Option("--pdf", help="Draw every figure as PDF too.")] = False,
    data_root: shared.DataRoot = None,
    compare: Annotated[
        str | None,
        typer.Option("--compare", help="Another store: only the two side by side, number by number, and their claims."),
    ] = None,
    own: Annotated[
        list[str] | None,
        typer.Option(
            "--claims",
            help="TOML file of claims of your own, judged beside the published ones; again for another.",
            metavar="FILE",
        ),
    ] = None,
    output: Annotated[str, typer.Option("--format", help="table or json: what is printed.")] = "table",
) -> None:
    """Write all results of a store as one HTML page, the figures as files, and one table of all numbers.

    Figures are SVG, PNG and CSV, the table is Parquet, CSV and JSON. The page needs no network. Its figures can be
    walked through, and are still where scripts do not run. Points of a map show their images where these can be read:
    of data sets that need no download, and of those under --data-root. The same store, with the same images, gives
    the same bytes.
    """
    shared.check_format(output, ("table", "json"))
    if compare is not None:
        if pdf or data_root or own:
            why = "--compare has no figures, and the published claims only"
            raise UsageError("--pdf, --data-root and --claims are of one store", why=why, fix="leave them out")
        _compare(store, compare, out, output)
        return
    from cvbench.cli.display import progress
    from cvbench.jobs.report import complete
    from cvbench.jobs.report import report as run

    with progress() as listen:
        made = run(store, out, listen, pdf=pdf, data_root=data_root, claims=own or ())
    if output == "json":
        shared.echo_json({"schema_version": 1, **made.as_dict()})
    else:
        say(f"page:    {made.page}")
        for path in made.tables:
            say(f"table:   {path}")
        for path in made.figures:
            say(f"figure:  {path}")
        say(f"{made.results} results, {made.numbers} numbers")
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
