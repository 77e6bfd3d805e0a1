"""`cvbench report`: the results of a store as a page to read, figures and tables."""

from __future__ import annotations

from typing import Annotated

import typer

from cvbench.cli import options as shared
from cvbench.cli.say import say


def report(
    store: shared.Store = shared.DEFAULT_STORE,
    out: Annotated[
        str,
        typer.Option("--out", "-o", callback=shared.writable, help="Folder for the page, the figures and the tables."),
    ] = "report",
    pdf: Annotated[bool, typer.Option("--pdf", help="Draw every figure as PDF too.")] = False,
    output: Annotated[str, typer.Option("--format", help="table or json: what is printed.")] = "table",
) -> None:
    """Write all results of a store as one HTML page, the figures as files, and one table of all numbers.

    Figures are SVG, PNG and CSV, the table is Parquet, CSV and JSON. The page needs no network. The same store gives
    the same bytes.
    """
    from cvbench.cli.display import progress
    from cvbench.jobs.report import complete
    from cvbench.jobs.report import report as run

    shared.check_format(output, ("table", "json"))
    with progress() as listen:
        made = run(store, out, listen, pdf=pdf)
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
