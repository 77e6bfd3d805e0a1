"""Which layers of a store a command is of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cvbench.jobs.reading.views import either, vector_views
from cvbench.options import Form, Option

DEFAULT_STORE = "./cvbench.zarr"


@dataclass(frozen=True)
class Selection:
    """Layers of a store that a command reads; None or empty is "all there are".

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
    view: Annotated[str, Option(f"{either(vector_views())}.", settled=True, values=vector_views())] = "pooled"
    taps: Annotated[tuple[str, ...], Option("Layers, names or globs; default all. Repeat.")] = ()


_PLACE = ("store", "dataset", "split", "backbone")
_DATASETS = "Data sets, if the store holds several. Repeat."
_STORE = {"store": DEFAULT_STORE}


def one_dataset(help: str = "Data set, if the store holds several.") -> Form:
    """Backbones of one data set, of the view that the command is of."""
    return Form(Selection, _PLACE, help={"dataset": help}, defaults=_STORE)


def layers(view: str = "", help: str = "", *, each: str = "", views: tuple[str, ...] = ()) -> Form:
    """Layers of a data set, or of several if `each` is "dataset"; with `--view`, if a default `view` is
    named, of the `views` named or else those of vectors."""
    only = (*_PLACE, "taps", *(["view"] if view else []))
    said = {"view": help or f"{either(vector_views())}.", **({"dataset": _DATASETS} if each else {})}
    return Form(Selection, only, each, said, {**_STORE, "view": view}, {"view": views or vector_views()})


SEVERAL = Form(Selection, _PLACE, "dataset", {"dataset": _DATASETS}, _STORE)
"""Backbones of several data sets: one selection for each."""
