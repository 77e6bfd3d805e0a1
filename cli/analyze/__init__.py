"""`cvbench analyze ...`: one module per analysis."""

from __future__ import annotations

from cvbench.cli.analyze.cam import cam
from cvbench.cli.analyze.cka import cka
from cvbench.cli.analyze.maps import maps
from cvbench.cli.analyze.silhouette import silhouette
from cvbench.cli.analyze.similarity import similarity
from cvbench.cli.analyze.spectra import spectra
from cvbench.cli.analyze.tsne import tsne
from cvbench.cli.commands import Commands

app = Commands(help="Compute results from a feature store.", no_args_is_help=True)
for command in (cka, similarity, spectra, maps, cam, silhouette, tsne):
    app.command()(command)


@app.callback()
def group() -> None:
    """Compute results from a feature store. Partials are kept per unit: a result is never computed twice."""
