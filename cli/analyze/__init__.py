"""`cvbench analyze ...`: the analyses of the registry; a module here for each that has a table of its own."""

from __future__ import annotations

from cvbench.cli.commands import Commands
from cvbench.cli.entries import group_of

TABLES = {
    "cka": "cvbench.cli.analyze.cka",
    "similarity": "cvbench.cli.analyze.similarity",
    "spectra": "cvbench.cli.analyze.spectra",
    "maps": "cvbench.cli.analyze.maps",
    "cam": "cvbench.cli.analyze.cam",
    "tsne": "cvbench.cli.analyze.tsne",
    "silhouette": "cvbench.cli.analyze.silhouette",
}
app = Commands(cls=group_of("analyze", TABLES, {}), help="Compute results from a feature store.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Compute results from a feature store. Partials are kept per unit: a result is never computed twice."""
