"""The t-SNE map that another analysis shall use: a kept one of the same features, found by what it was made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.tsne.backends import check_perplexity
from cvbench.engine.analyses.tsne.options import TsneOptions
from cvbench.errors import UnknownNameError, UsageError
from cvbench.jobs.analyses.tsne import identity_of, map_of
from cvbench.jobs.reading.matrix import Matrices
from cvbench.jobs.results.keep import result_key, stored_result
from cvbench.jobs.running.progress import Listener, silent
from cvbench.storage.results.outcomes import list_results

SHAPING = ("backend", "backend_version", "perplexity", "iterations", "preprocess", "components", "sample", "seed")
"""What of a result's attributes the map depends on, beside the features; the rest is of its measures."""


def kept_maps(matrices: Matrices) -> Iterator[Result]:
    """The kept results of `cvbench analyze tsne` of exactly these layers, samples and features, by any options."""
    selected = matrices.selected
    for key in list_results(matrices.store):
        if (key.dataset, key.split, key.analysis) != (selected.dataset, selected.split, "tsne"):
            continue
        result = stored_result(matrices.store, key)
        if result.attrs.get("view") != selected.view or "device" not in result.attrs:
            continue
        options = TsneOptions(**{field.name: result.attrs[field.name] for field in fields(TsneOptions)})
        made = (result.attrs["backend"], result.attrs["backend_version"], result.attrs["device"])
        if result_key(selected, "tsne", identity_of(matrices, options, *made)) == key:
            yield result


def shape_of(result: Result) -> dict[str, Any]:
    """Settings that a map depends on, beside the features."""
    return {name: result.attrs[name] for name in SHAPING}


def unusual(result: Result) -> str:
    """The options in which a map differs from the defaults, as ", perplexity 50"; empty if in none."""
    attrs, usual = result.attrs, TsneOptions()
    names = ("perplexity", "iterations", "preprocess", "components", "seed")
    shown = ((name, attrs[name]) for name in names if attrs[name] != getattr(usual, name))
    return "".join(f", {name} {f'{value:g}' if isinstance(value, float) else value}" for name, value in shown)


def described(result: Result) -> str:
    """A map in a few words: its place in the store and how it was made."""
    attrs = result.attrs
    return f"{attrs['run']} ({attrs['backend']} {attrs['backend_version']}{unusual(result) or ', default options'})"


def kept_map(matrices: Matrices, seed: int, wanted: str | None = None, listen: Listener = silent) -> Result:
    """The map of all samples of these features: the named one, else that of the defaults, else the only one kept.

    If none is kept, one is made with the defaults and this seed, in a single run.

    Args:
        matrices: The features.
        seed: Of the map of the defaults.
        wanted: A result of `cvbench analyze tsne`: its path in the store, or the last part of it.
        listen: Receives progress.

    Raises:
        UnknownNameError: No such map of these features; names those that there are.
        UsageError: Several are kept, and none is of the defaults; or none is, and the defaults need more samples.
    """
    complete = [result for result in kept_maps(matrices) if result.attrs["samples"] == result.attrs["samples_of"]]
    paths = [str(result.attrs["run"]) for result in complete]
    if wanted is not None:
        for path, result in zip(paths, complete, strict=True):
            if wanted in (path, path.rpartition("/")[2]):
                return result
        held = ", ".join(paths) or "none"
        where = f"{matrices.where}, view {matrices.selected.view}"
        raise UnknownNameError.among(f"t-SNE map of {where}:", wanted, paths, fix=f"the store holds {held}")
    usual = TsneOptions(seed=seed)
    alike = {name: getattr(usual, name) for name in SHAPING if name not in ("backend", "backend_version", "sample")}
    fitting = [result for result in complete if all(result.attrs[name] == value for name, value in alike.items())]
    maps: dict[str, Result] = {}
    for result in fitting or complete:
        maps.setdefault(str(shape_of(result)), result)
    if len(maps) > 1:
        named = "; ".join(map(described, maps.values()))
        raise UsageError(
            f"the store holds {len(maps)} t-SNE maps of these features",
            where=f"{matrices.where}: {named}",
            fix=f"--map {next(iter(maps.values())).attrs['run'].rpartition('/')[2]}, or another of them",
        )
    if maps:
        return next(iter(maps.values()))
    n = len(matrices.rows)
    check_perplexity(usual.perplexity, n, "`analyze tsne --perplexity {}` with the same layers: its map is taken")
    return map_of(matrices, replace(usual, repeats=1), listen).result
