"""Those of a study's backbones that one of its analyses names, by what the commands call them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cvbench.engine.models.forms import called
from cvbench.jobs.extraction.backbones import specs_of, weights_of
from cvbench.jobs.extraction.options import ExtractOptions


def stored_names(typed: Sequence[str], extractions: Iterable[ExtractOptions]) -> list[str]:
    """The stored names of the backbones that are typed; one that no extraction is of, as imported ones, stays so."""
    names: list[str] = []
    every = [pair for options in extractions for pair in _entries(options)]
    for name in typed:
        names += [key for entry, key in every if name in _names(entry, key)] or [name]
    return list(dict.fromkeys(names))


def loaded(typed: Sequence[str], options: ExtractOptions) -> dict[str, Any]:
    """Values of --backbone and --weights that load the backbones that are typed as the extraction does.

    One that the extraction is not of is loaded by the model that is typed, with the weights that are said for all.
    """
    entries: list[str] = []
    every = _entries(options)
    for name in typed:
        entries += [entry for entry, key in every if name in _names(entry, key)] or [name]
    theirs = {"", *map(called, entries)}
    words = [word for word in options.weights if not theirs.isdisjoint(weights_of([word]))]
    return {"backbone": list(dict.fromkeys(entries)), "weights": words}


def _entries(options: ExtractOptions) -> list[tuple[str, str]]:
    """(as it is typed, its stored name) of each backbone."""
    return [(entry, spec.key) for entry, spec in zip(options.backbones, specs_of(options), strict=True)]


def _names(entry: str, key: str) -> set[str]:
    return {entry, called(entry), key, key.partition("@")[0]}
