"""Which arrays and units an extraction fills, and what the store has of them already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cvbench.engine.models.views import find_view, known_view
from cvbench.errors import DataUnavailableError, FingerprintMismatchError, UsageError
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.reading.views import is_in_part

if TYPE_CHECKING:
    from cvbench.engine.models.backbones import Description
    from cvbench.storage.datasets import Dataset
    from cvbench.storage.features import ArraySpec, FeatureStore, SplitInfo
    from cvbench.storage.features.units import Unit


_OTHER_MODEL = ", or take a model with a head"


@dataclass(frozen=True)
class Published:
    """A split of the registry whose images are not here, as far as a plan asks of it."""

    name: str
    split: str
    images: int

    def __len__(self) -> int:
        return self.images


def arrays_of(backbone: Description, options: ExtractOptions) -> dict[str, list[ArraySpec]]:
    """The arrays of one backbone, by view; none of a view that neither it nor one of its taps has.

    Raises:
        UnknownNameError: No such view.
    """
    from cvbench.engine.models.views import Request, sample_shape, with_companions
    from cvbench.storage.features import ArraySpec

    key, heads = backbone.spec.key, backbone.head_sizes
    arrays: dict[str, list[ArraySpec]] = {}
    for view in with_companions(options.views):
        if view.source != "tap" and view.source not in heads:
            continue
        for tap, layout in view.layouts(backbone.layouts, heads, key).items():
            shape, dims = sample_shape(Request(view.name, tap), backbone.layouts, heads)
            attrs: dict[str, Any] = {}
            if view.source == "tap":
                # Names do not sort by depth ("blocks.10" before "blocks.2"): the position among all taps does.
                depth = backbone.places[tap]
                attrs = {"grid": [layout.height, layout.width], "prefix_tokens": layout.prefix, "position": depth}
            spec = ArraySpec(tap, shape, view.dtype or options.dtype, ("sample", *dims), attrs)
            arrays.setdefault(view.name, []).append(spec)
    return arrays


def check_views_of(described: Sequence[Description], options: ExtractOptions) -> list[str]:
    """Notes on backbones without a view that is asked for.

    Raises:
        UnknownNameError: No such view.
        UsageError: No backbone has it.
    """
    notes = []
    arrays = {backbone.spec.key: arrays_of(backbone, options) for backbone in described}
    for name in dict.fromkeys(options.views):
        view = find_view(name)
        what = view.lacking or name if view.source == "tap" else f"classifier, so no {name}"
        lacking = [key for key, found in arrays.items() if name not in found]
        if len(lacking) == len(arrays):
            who = lacking[0] if len(lacking) == 1 else "these backbones"
            of = f"no tap of {who} has {what}" if view.source == "tap" else f"{who} has no {what}"
            raise UsageError(of, fix=f"leave --view {name} out" + ("" if view.source == "tap" else _OTHER_MODEL))
        notes += [f"{key} has no {what}: there is no --view {name} of it" for key in lacking]
    return notes


def units_of(options: ExtractOptions, n: int, size: int, view: str) -> list[Unit]:
    """The units that a view covers: all, or the prefix that --limit and --maps leave, in whole units."""
    from cvbench.storage.features.units import plan_units

    limits = [options.limit]
    if covers_part(view, options.views):
        limits.append(options.maps)
    given = [limit for limit in limits if limit is not None]
    return plan_units(n, size, min(given) if given else None)


def check_unit(unit: int, batch: int) -> None:
    """Refuse a unit that batches do not fill.

    Raises:
        UsageError: With the next unit that they do.
    """
    if unit % batch:
        raise UsageError(
            f"--unit {unit} is no multiple of the batch of {batch}",
            fix=f"--unit {unit // batch * batch + batch}, or --batch-size {unit}",
        )


def refuse_other_sizes(options: ExtractOptions, frozen: SplitInfo, url: str) -> None:
    """Refuse a batch or a unit that is not the one which the store has frozen.

    Raises:
        FingerprintMismatchError: One of them differs.
    """
    for option, asked, held in (
        ("--batch-size", options.batch_size, frozen.batch),
        ("--unit", options.unit, frozen.unit),
    ):
        if asked is not None and asked != held:
            raise FingerprintMismatchError(
                f"{option} {asked} differs from the store's {held}",
                where=url,
                why="batches and units decide which bytes lie where; they are frozen by the first run",
                fix=f"leave {option} out, or use another --store",
            )


def covers_part(name: str, asked: Sequence[str]) -> bool:
    """Whether a view covers what --maps says: by itself, or as all the views asked for that it comes with."""
    view = known_view(name)
    beside = [] if view is None or name in asked else [one for one in view.comes_with if one in asked]
    return all(is_in_part(one) for one in beside or [name])


def existing_store(url: str) -> FeatureStore | None:
    """The store for reading, or None if there is none yet: what only looks must not make one."""
    from cvbench.storage.features import FeatureStore

    try:
        return FeatureStore.open(url, mode="r")
    except DataUnavailableError:
        return None


def frozen_split(store: FeatureStore | None, dataset: Dataset | Published) -> SplitInfo | None:
    """The split as the store has frozen it, or None if it was never begun."""
    if store is None or (dataset.name, dataset.split) not in store.splits():
        return None
    return store.split(dataset.name, dataset.split)
