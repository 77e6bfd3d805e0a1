"""`cvbench analyze ...`: one module per analysis."""

from __future__ import annotations

import typer

from cvbench.cli.analyze.cka import cka
from cvbench.cli.analyze.silhouette import silhouette
from cvbench.cli.analyze.spectra import spectra

app = typer.Typer(help="Compute results from a feature store.", no_args_is_help=True, rich_markup_mode=None)
for command in (cka, spectra, silhouette):
    app.command()(command)


@app.callback()
def group() -> None:
    """Compute results from a feature store. Partials are kept per unit: a result is never computed twice."""
