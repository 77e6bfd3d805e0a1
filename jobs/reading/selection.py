"""Which layers and units of a store an analysis is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from cvbench.engine.analyses.base import Layer
from cvbench.errors import DataUnavailableError, UnknownNameError, UsageError
from cvbench.hints import command
from cvbench.jobs.reading.again import extract_again
from cvbench.jobs.reading.options import Selection
from cvbench.jobs.reading.views import is_of_taps, stored_views, to_extract
from cvbench.storage.datasets import key_of_spec
from cvbench.storage.features import FeatureStore, GroupKey, LayerInfo
from cvbench.storage.features.units import Unit

__all__ = ["Selected", "Selection", "is_wanted", "select"]


@dataclass(frozen=True)
class Selected:
    """The layers found and the units that all of them have."""

    dataset: str
    split: str
    view: str
    layers: tuple[Layer, ...]
    units: tuple[Unit, ...]
    left_out: int  # units that some layer lacks

    @property
    def samples(self) -> int:
        """Samples in the common units."""
        return sum(len(unit) for unit in self.units)

    def group(self, layer: Layer) -> GroupKey:
        """Where the layer lies."""
        return GroupKey(self.dataset, self.split, layer.backbone, self.view)


def select(store: FeatureStore, selection: Selection, *, imported: bool = False) -> Selected:
    """Find the layers that `selection` means.

    Args:
        store: Where.
        selection: Which.
        imported: Take imported class predictions too, which are no features.

    Raises:
        UnknownNameError: A data set, backbone or tap that the store does not hold, or a view that does not exist.
        UsageError: The data set is not named and the store holds several.
        DataUnavailableError: The view is not in the store, or no unit is committed for all layers.
        UsageError: Imported predictions of which only the winner is known, and logits are needed.
    """
    infos = store.tree()
    dataset, split = choose_split(infos, selection)
    infos = [info for info in infos if (info.group.dataset, info.group.split) == (dataset, split)]
    _check_view(store, infos, selection, dataset, split)
    infos = [info for info in infos if info.group.view == selection.view]
    held = list(dict.fromkeys(info.group.backbone for info in infos))
    backbones = [_stored_name(name, held) for name in selection.backbones] or held
    chosen = [i for name in backbones for i in _in_depth_order(store, infos, name) if is_wanted(i.tap, selection.taps)]
    if not chosen:
        raise UnknownNameError.among("tap in this store:", ", ".join(selection.taps), [info.tap for info in infos])
    if not imported:
        _refuse_imported(store, chosen)
    layers = tuple(Layer(info.group.backbone, info.tap) for info in chosen)
    common, union = _committed(store, chosen)
    if not common:
        taps = _taps(chosen)
        raise DataUnavailableError(
            f"no unit of {dataset}/{split} is there for all {len(layers)} layers",
            where=selection.store,
            fix=extract_again(store, (dataset, split), backbones=backbones, view=to_extract(selection.view), taps=taps),
        )
    return Selected(dataset, split, selection.view, layers, tuple(common), len(union) - len(common))


def choose_split(infos: Sequence[LayerInfo], selection: Selection) -> tuple[str, str]:
    """The data set and split that `selection` means; raises as `select`."""
    held = list(dict.fromkeys((info.group.dataset, info.group.split) for info in infos))
    if not held:
        raise DataUnavailableError(
            "the store holds no features",
            where=selection.store,
            fix=command("extract", dataset="digits", store=selection.store),
        )
    names = sorted({dataset for dataset, _ in held})
    asked = None if selection.dataset is None else key_of_spec(selection.dataset)
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
        where=selection.store,
        fix=f"--dataset and --split; it holds {shown}",
    )


def _check_view(
    store: FeatureStore, infos: Sequence[LayerInfo], selection: Selection, dataset: str, split: str
) -> None:
    """Refuse a view that does not exist, or that the store lacks of this split; says which `extract` gives it."""
    held = sorted({info.group.view for info in infos})
    if selection.view in held:
        return
    if selection.view not in (known := stored_views()):
        raise UnknownNameError.among(
            "view", selection.view, known, fix=f"--view {', '.join(held)} of {dataset}/{split} are in the store"
        )
    raise DataUnavailableError(
        f"the store holds no view {selection.view!r} of {dataset}/{split}",
        where=selection.store,
        why=f"it holds {', '.join(held)}",
        fix=extract_again(store, (dataset, split), view=to_extract(selection.view)) + "  # and --taps as before",
    )


def _refuse_imported(store: FeatureStore, infos: Sequence[LayerInfo]) -> None:
    """Class predictions lie in the view of the logits; they are no vectors that an analysis could compare."""
    for info in infos:
        kind = store.encoding(info.group, info.tap).document["attributes"].get("predictions", "logits")
        if kind != "logits":
            raise UsageError(
                f"{info.group.backbone} has no logits: its predictions were imported, of kind {str(kind)[:40]!r}",
                where=f"{store.url}: {info.group.path}",
                why="only the winner is known; an analysis compares whole vectors",
                fix="other backbones with --backbone, or cvbench eval import with logits under another name",
            )


def _taps(infos: Sequence[LayerInfo]) -> list[str] | None:
    """The taps, where they are of layers."""
    taps = list(dict.fromkeys(info.tap for info in infos if is_of_taps(info.group.view)))
    return taps or None


def _stored_name(name: str, held: Sequence[str]) -> str:
    """A backbone by its stored name, or by what `extract` was given (an alias, a model without its tag)."""
    from cvbench.engine.models.backbones import resolve_spec

    if name in held:
        return name
    try:
        candidates = {resolve_spec(name, head=head).key for head in (False, True)}
    except UnknownNameError:
        candidates = set()
    fitting = [key for key in held if key in candidates or key.partition("@")[0] in candidates]
    if len(fitting) == 1:
        return fitting[0]
    raise UnknownNameError.among("backbone in this store:", name, held, fix=f"the store holds {', '.join(held)}")


def _in_depth_order(store: FeatureStore, infos: Sequence[LayerInfo], backbone: str) -> list[LayerInfo]:
    def depth(info: LayerInfo) -> int:
        return int(store.encoding(info.group, info.tap).document["attributes"].get("position", 0))

    return sorted((info for info in infos if info.group.backbone == backbone), key=depth)


def is_wanted(tap: str, patterns: Sequence[str]) -> bool:
    """Whether one of the names or globs fits the tap; no pattern fits all."""
    return not patterns or any(fnmatchcase(tap, pattern) for pattern in patterns)


def _committed(store: FeatureStore, infos: Sequence[LayerInfo]) -> tuple[list[Unit], list[Unit]]:
    """The units that every layer has, and those that any has."""
    commits = {group: store.commits(group) for group in {info.group for info in infos}}
    each = [{commit.unit for commit in commits[info.group] if info.tap in commit.taps} for info in infos]
    return sorted(set.intersection(*each)), sorted(set.union(*each))
