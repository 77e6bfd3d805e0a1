"""Which layers a store holds, and one of them by its names."""

from __future__ import annotations

from collections.abc import Iterable

from cvbench.errors import DataUnavailableError, UnknownNameError, UsageError
from cvbench.jobs.reading.again import extract_again
from cvbench.jobs.reading.selection import in_depth_order, stored_name
from cvbench.jobs.reading.views import stored_views
from cvbench.storage.datasets import key_of_spec
from cvbench.storage.features import FeatureLayer, FeatureStore, GroupKey

__all__ = ["FeatureLayer", "FeatureStore", "GroupKey", "find_group", "find_layer", "find_split", "groups_of", "taps_of"]


def groups_of(store: FeatureStore) -> list[GroupKey]:
    """Every group that has a layer, sorted."""
    return [group for group, found in store.declared().items() if found.taps]


def find_split(store: FeatureStore, name: str | None) -> tuple[str, str]:
    """The data set and split that a name means.

    Args:
        store: Where.
        name: "digits/test", or "digits" where the store holds one split of it; None: the only one that it holds.

    Raises:
        DataUnavailableError: The store holds no features.
        UnknownNameError: It holds none of this name.
        UsageError: The name fits several.
    """
    held = list(dict.fromkeys((group.dataset, group.split) for group in groups_of(store)))
    shown = ["/".join(place) for place in held]
    if not held:
        raise DataUnavailableError("the store holds no features", where=store.url, fix="cvbench.extract(...)")
    if name in shown:
        return held[shown.index(name)]
    fitting = held if name is None else [place for place in held if place[0] == key_of_spec(name)]
    if not fitting:
        raise UnknownNameError.among(
            "data set in this store:", str(name), shown, fix=f"the store holds {', '.join(shown)}"
        )
    if len(fitting) > 1:
        raise UsageError(
            f"{len(fitting)} data sets of the store fit",
            where=store.url,
            fix=f"name one: {', '.join('/'.join(place) for place in fitting)}",
        )
    return fitting[0]


RUN_ONCE_MORE = ("cam", "faithfulness", "randomisation", "attention", "residual", "receptive-field")
"""Analyses that keep a view of their own, whose name begins so."""


def find_group(store: FeatureStore, dataset: str | None, backbone: str | None, view: str) -> GroupKey:
    """The group of a view of a backbone; None where the store holds only one.

    Raises:
        UnknownNameError: No such data set or backbone is in the store, or no such view exists.
        DataUnavailableError: The store lacks the view.
        UsageError: Several fit.
    """
    place = find_split(store, dataset)
    where = "/".join(place)
    own = [group for group in groups_of(store) if (group.dataset, group.split) == place]
    names = _unique(group.backbone for group in own)
    if backbone is None and len(names) > 1:
        raise UsageError(f"{len(names)} backbones of {where} fit", where=store.url, fix=f"name one: {', '.join(names)}")
    name = names[0] if backbone is None else stored_name(backbone, names)
    found = {group.view: group for group in own if group.backbone == name}
    if view in found:
        return found[view]
    if view not in stored_views() and view.partition(".")[0] not in RUN_ONCE_MORE:
        raise UnknownNameError.among("view", view, [*found, *stored_views()], fix=f"it holds {', '.join(found)}")
    raise DataUnavailableError(
        f"the store holds no view {view!r} of {name} on {where}",
        where=store.url,
        why=f"it holds {', '.join(found)}",
        fix=extract_again(store, place, backbones=[name], view=view),
    )


def taps_of(store: FeatureStore, group: GroupKey) -> list[str]:
    """The layers of a group, the first of the network first."""
    return in_depth_order(store, group, store.taps(group))


def find_layer(store: FeatureStore, dataset: str | None, backbone: str | None, tap: str, view: str) -> FeatureLayer:
    """A layer by its names, see `find_group`.

    Raises:
        UnknownNameError: No such layer; names the nearest.
    """
    return store.layer(find_group(store, dataset, backbone, view), tap)


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
