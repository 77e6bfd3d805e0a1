"""Which layers and units of a store an analysis is of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase

from cvbench.engine.analyses.base import Layer
from cvbench.engine.models.forms import split_name
from cvbench.errors import CvbenchError, DataUnavailableError, UnknownNameError, UsageError
from cvbench.hints import command
from cvbench.jobs.reading.again import extract_again
from cvbench.jobs.reading.images import stored_key
from cvbench.jobs.reading.options import Selection
from cvbench.jobs.reading.views import is_of_taps, stored_views
from cvbench.storage.features import Commit, FeatureStore, GroupKey
from cvbench.storage.features.units import Unit

__all__ = ["Selected", "Selection", "in_depth_order", "is_wanted", "select", "stored_name"]


@dataclass(frozen=True)
class Selected:
    """The layers found and the units that all of them have.

    Attributes:
        left_out: Units that some layer lacks.
        notes: On layers that are left out; they become notes of the result.
    """

    dataset: str
    split: str
    view: str
    layers: tuple[Layer, ...]
    units: tuple[Unit, ...]
    left_out: int
    notes: tuple[str, ...] = ()

    @property
    def samples(self) -> int:
        """Samples in the common units."""
        return sum(len(unit) for unit in self.units)

    def group(self, layer: Layer) -> GroupKey:
        """The group that the layer lies in."""
        return GroupKey(self.dataset, self.split, layer.backbone, self.view)


def select(
    store: FeatureStore, selection: Selection, *, imported: bool = False
) -> tuple[Selected, dict[GroupKey, list[Commit]]]:
    """Find the layers that `selection` means, by one listing of the ledger.

    Args:
        store: Where.
        selection: Which.
        imported: Take imported class predictions too, which are no features.

    Returns:
        The layers and units, and the commits of each group that a layer lies in.

    Raises:
        UnknownNameError: A data set, backbone or tap that the store does not hold, or a view that does not exist.
        UsageError: The data set is not named and the store holds several, or a backbone that is named has none of
            the taps.
        DataUnavailableError: The view is not in the store, or no unit is committed for all layers.
        UsageError: Imported predictions of which only the winner is known, and logits are needed.
    """
    there = {group: found for group, found in store.declared().items() if found.taps}
    dataset, split = choose_split(store, there, selection)
    own = [group for group in there if (group.dataset, group.split) == (dataset, split)]
    _check_view(store, {group.view for group in own}, selection, dataset, split)
    groups = {group.backbone: group for group in own if group.view == selection.view}
    names = [stored_name(name, list(groups)) for name in selection.backbones] or list(groups)
    wanted = {name: [tap for tap in there[groups[name]].taps if is_wanted(tap, selection.taps)] for name in names}
    _check_taps(selection, {name: there[group].taps for name, group in groups.items()}, wanted)
    if not imported:
        _refuse_imported(store, [(groups[name], tap) for name, taps in wanted.items() for tap in taps])
    layers = tuple(Layer(name, tap) for name in names for tap in in_depth_order(store, groups[name], wanted[name]))
    chosen = dict.fromkeys(groups[layer.backbone] for layer in layers)
    commits = {group: store.commits(group, there[group].commits) for group in chosen}
    each = [{c.unit for c in commits[groups[layer.backbone]] if layer.tap in c.taps} for layer in layers]
    common, union = sorted(set.intersection(*each)), set.union(*each)
    if not common:
        taps = list(dict.fromkeys(layer.tap for layer in layers)) if is_of_taps(selection.view) else None
        raise DataUnavailableError(
            f"no unit of {dataset}/{split} is there for all {len(layers)} layers",
            where=store.url,
            fix=extract_again(store, (dataset, split), backbones=names, view=selection.view, taps=taps),
        )
    selected = Selected(dataset, split, selection.view, layers, tuple(common), len(union) - len(common))
    return selected, commits


_PARTS = {"q": 1, "k": 2, "v": 3}
"""Parts of a layer, which have its position: they stand behind it, in this order (`engine.models.fused`)."""


def choose_split(store: FeatureStore, groups: Iterable[GroupKey], selection: Selection) -> tuple[str, str]:
    """The data set and split that `selection` means, of these groups of the store; raises as `select`.

    Class activation maps and what a pass measured are no features: they alone do not make a data set one that may be
    meant, unless theirs is the view.
    """
    known = {*stored_views(), selection.view}
    groups = list(groups)
    of_features = [group for group in groups if group.view in known]
    held = list(dict.fromkeys((group.dataset, group.split) for group in of_features or groups))
    if not held:
        raise DataUnavailableError(
            "the store holds no features",
            where=store.url,
            fix=command("extract", dataset="digits", store=store.url),
        )
    names = sorted({dataset for dataset, _ in held})
    asked = None if selection.dataset is None else stored_key(store, selection.dataset, names)
    if asked is not None and asked not in names:
        raise UnknownNameError.among(
            "data set in this store:", selection.dataset or "", names, fix=f"the store holds {', '.join(names)}"
        )
    fitting = [key for key in held if asked in (None, key[0]) and selection.split in (None, key[1])]
    if len(fitting) == 1:
        return fitting[0]
    shown = ", ".join("/".join(key) for key in held)
    raise UsageError(
        f"{len(fitting)} data sets of the store fit",
        where=store.url,
        fix=f"--dataset and --split; it holds {shown}",
    )


def _check_view(store: FeatureStore, views: set[str], selection: Selection, dataset: str, split: str) -> None:
    """Refuse a view that does not exist, or that the store lacks of this split; says which `extract` gives it."""
    held = sorted(views)
    if selection.view in held:
        return
    if selection.view not in (known := stored_views()):
        raise UnknownNameError.among(
            "view", selection.view, known, fix=f"--view {', '.join(held)} of {dataset}/{split} are in the store"
        )
    hint = "  # and --taps as before" if is_of_taps(selection.view) else ""
    raise DataUnavailableError(
        f"the store holds no view {selection.view!r} of {dataset}/{split}",
        where=store.url,
        why=f"it holds {', '.join(held)}",
        fix=extract_again(store, (dataset, split), view=selection.view) + hint,
    )


def _check_taps(selection: Selection, held: Mapping[str, Collection[str]], wanted: Mapping[str, Sequence[str]]) -> None:
    """Refuse a name or glob that no tap fits, and a backbone that is named and has no tap that one fits.

    Args:
        held: Backbone -> its taps, of all that the store has.
        wanted: Backbone -> those that the selection means, of the backbones that it means.
    """
    every = [tap for taps in held.values() for tap in taps]
    idle = [pattern for pattern in selection.taps if not any(fnmatchcase(tap, pattern) for tap in every)]
    if idle or not every:
        raise UnknownNameError.among("tap in this store:", ", ".join(idle), every)
    for name in wanted if selection.backbones else ():
        if not wanted[name]:
            raise UsageError(
                f"no tap of {name} fits {', '.join(selection.taps)}",
                where=selection.store,
                why=f"it has {', '.join(sorted(held[name])[:8])}{', ...' if len(held[name]) > 8 else ''}",
                fix="a --taps for each backbone, or --backbone for those that have these",
            )


def _refuse_imported(store: FeatureStore, arrays: Iterable[tuple[GroupKey, str]]) -> None:
    """Class predictions lie in the view of the logits; they are no vectors that an analysis could compare."""
    for group, tap in arrays:
        kind = store.encoding(group, tap).document["attributes"].get("predictions", "logits")
        if kind != "logits":
            raise UsageError(
                f"{group.backbone} has no logits: its predictions were imported, of kind {str(kind)[:40]!r}",
                where=f"{store.url}: {group.path}",
                why="only the winner is known; an analysis compares whole vectors",
                fix="other backbones with --backbone, or cvbench eval import with logits under another name",
            )


def stored_name(name: str, held: Sequence[str]) -> str:
    """A backbone by its stored name, or by what `extract` was given (an alias, a model without its tag)."""
    from cvbench.engine.models.specs import resolve_spec

    if name in held:
        return name
    candidates = {split_name(name)[0] or name}
    with suppress(CvbenchError):  # a package, a folder, a name is not there; it may be one of the store's own
        candidates |= {resolve_spec(name, head=head).key for head in (False, True)}
    fitting = [key for key in held if key in candidates or key.partition("@")[0] in candidates]
    if len(fitting) == 1:
        return fitting[0]
    raise UnknownNameError.among("backbone in this store:", name, held, fix=f"the store holds {', '.join(held)}")


def in_depth_order(store: FeatureStore, group: GroupKey, taps: Sequence[str]) -> list[str]:
    """Layers of a group, the first of the network first."""

    def depth(tap: str) -> tuple[int, int]:
        position = int(store.encoding(group, tap).document["attributes"].get("position", 0))
        return position, _PARTS.get(tap.rpartition(".")[2], 0)

    return sorted(taps, key=depth)


def is_wanted(tap: str, patterns: Sequence[str]) -> bool:
    """Whether one of the names or globs fits the tap; no pattern fits all."""
    return not patterns or any(fnmatchcase(tap, pattern) for pattern in patterns)
