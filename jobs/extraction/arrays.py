"""Which arrays and units an extraction fills, and what the store has of them already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cvbench.errors import DataUnavailableError, UsageError
from cvbench.jobs.extraction.options import ExtractOptions

if TYPE_CHECKING:
    from cvbench.engine.models.backbones import Description
    from cvbench.storage.datasets import Dataset
    from cvbench.storage.features import ArraySpec, FeatureStore, SplitInfo
    from cvbench.storage.features.units import Unit


DIMS = {"pooled": ("sample", "channel"), "cls": ("sample", "channel"), "maps": ("sample", "row", "column", "channel")}


def arrays_of(backbone: Description, options: ExtractOptions) -> dict[str, list[ArraySpec]]:
    """The arrays of one backbone, by view."""
    from cvbench.engine.models.views import expand_views
    from cvbench.storage.features import ArraySpec

    heads = backbone.head_sizes
    arrays: dict[str, list[ArraySpec]] = {}
    for request in expand_views(options.views, backbone.layouts):
        if request.view in ("head", "logits"):
            if request.view not in heads:
                raise UsageError(
                    f"{backbone.spec.key} has no classifier, so no {request.view}",
                    fix="leave --view logits out, or take a model with a head",
                )
            shape: tuple[int, ...] = (heads[request.view],)
            spec = ArraySpec(request.tap, shape, "float32", ("sample", "channel"), {})
        else:
            layout = backbone.layouts[request.tap]
            grid = (layout.height, layout.width)
            shape = (*grid, layout.channels) if request.view == "maps" else (layout.channels,)
            # Names do not sort by depth ("blocks.10" before "blocks.2"): the position among all taps does.
            depth = backbone.tap_names.index(request.tap)
            attrs = {"grid": list(grid), "prefix_tokens": layout.prefix, "position": depth}
            spec = ArraySpec(request.tap, shape, options.dtype, DIMS[request.view], attrs)
        arrays.setdefault(request.view, []).append(spec)
    return arrays


def units_of(options: ExtractOptions, n: int, size: int, view: str) -> list[Unit]:
    """The units that a view covers: all, or the prefix that --limit and --maps leave, in whole units."""
    from cvbench.storage.features.units import plan_units

    limits = [options.limit]
    if view == "maps" or (view == "cls" and "pooled" not in options.views):
        limits.append(options.maps)
    given = [limit for limit in limits if limit is not None]
    return plan_units(n, size, min(given) if given else None)


def existing_store(url: str) -> FeatureStore | None:
    """The store for reading, or None if there is none yet: what only looks must not make one."""
    from cvbench.storage.features import FeatureStore

    try:
        return FeatureStore.open(url, mode="r")
    except DataUnavailableError:
        return None


def frozen_split(store: FeatureStore | None, dataset: Dataset) -> SplitInfo | None:
    """What the store has frozen of this split, or None if it was never begun."""
    if store is None or (dataset.name, dataset.split) not in store.splits():
        return None
    return store.split(dataset.name, dataset.split)
