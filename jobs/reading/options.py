"""Which layers of a store a command is of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cvbench.jobs.reading.views import either, vector_views
from cvbench.options import Option


@dataclass(frozen=True)
class Selection:
    """Which layers of a store; None or empty is "all there are".

    Attributes:
        dataset: As the store or as `extract` names it; may stay None if the store holds one.
        backbones: In the order of the result.
        view: Of `stored_views`.
        taps: Names or globs.
    """

    store: Annotated[str, Option("Path or URL of the feature store.")]
    dataset: Annotated[str | None, Option("Data set, if the store holds several.", short="-d")] = None
    split: Annotated[str | None, Option("Split of the data set; the default is the data set's own.")] = None
    backbones: Annotated[tuple[str, ...], Option("Backbones; default all. Repeat.", "--backbone", "-m")] = ()
    view: Annotated[str, Option(f"{either(vector_views())}.")] = "pooled"
    taps: Annotated[tuple[str, ...], Option("Layers, names or globs; default all. Repeat.")] = ()
