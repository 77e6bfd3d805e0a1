"""`cvbench analyze ...`: the analyses of the registry."""

from __future__ import annotations

from cvbench.cli.commands import Commands
from cvbench.cli.entries import group_of

app = Commands(cls=group_of("analyze", {}), help="Compute results from a feature store.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Compute results from a feature store. Partials are kept per unit: a result is never computed twice."""
