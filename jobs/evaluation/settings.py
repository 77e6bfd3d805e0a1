"""Which settings of a transform a store has logits of, and which commands add those that it lacks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from cvbench.engine.models.forms import split_name
from cvbench.errors import CvbenchError, DataUnavailableError, UnknownNameError, UsageError
from cvbench.hints import command
from cvbench.jobs.evaluation.lacking import no_logits
from cvbench.jobs.evaluation.samples import VIEW
from cvbench.jobs.reading.again import as_typed, is_imported, weights_of
from cvbench.storage.datasets import dataset_info
from cvbench.storage.datasets.variant import (
    KINDS,
    RESOLUTION,
    Values,
    parse_name,
    parse_transform,
    values_text,
    variant_spec,
)
from cvbench.storage.features import FeatureStore, GroupKey

TRANSFORMS = (*KINDS, RESOLUTION)
RESOLUTIONS: tuple[Values, ...] = ((112,), (224,), (336,), (512,), (640,))
"""Of Vishniakov et al. 2024."""


@dataclass(frozen=True)
class Grid:
    """The settings of one transform of one data set, by backbone.

    Attributes:
        found: Backbone -> values -> where its logits are.
        start: Backbone -> the values that its others are compared with.
        missing: What is wanted and is not there, by backbone.
    """

    store: FeatureStore
    dataset: str
    split: str
    transform: str
    found: Mapping[str, Mapping[Values, GroupKey]]
    start: Mapping[str, Values]
    missing: Mapping[str, tuple[Values, ...]] = field(default_factory=dict)

    @property
    def means(self) -> str:
        """Meaning of the values."""
        return "input resolution (pixels)" if self.transform == RESOLUTION else KINDS[self.transform].means

    def commands(self) -> list[str]:
        """The commands that add what is missing."""
        spec = self.store.spec_to_type(self.dataset)
        split = None if dataset_info(spec).of_files and self.split == "all" else self.split
        together: dict[tuple[str, tuple[Values, ...]], list[str]] = {}
        commands: list[str] = []
        for backbone, wanted in self.missing.items():
            if all(is_imported(self.store, group) for group in self._groups(backbone)):
                told = {"split": split, "backbone": backbone, "store": self.store.url}
                specs = [variant_spec(spec, self.transform, values) for values in wanted]
                commands += [command("eval import", "FILE", dataset=variant, **told) for variant in specs]
            else:
                together.setdefault((backbone.partition("@")[2], wanted), []).append(backbone)
        for (size, wanted), backbones in together.items():
            groups = [group for backbone in backbones for group in self._groups(backbone)]
            groups = [group for group in groups if not is_imported(self.store, group)]
            models = list(dict.fromkeys(as_typed(self.store, group) for group in groups))
            common = {"split": split, "backbone": models, "view": VIEW, "weights": weights_of(self.store, groups)}
            if self.transform == RESOLUTION:
                for values in wanted:
                    sized = {**common, "image_size": values_text(values), "store": self.store.url}
                    commands.append(command("extract", dataset=spec, **sized))
            else:
                specs = [variant_spec(spec, self.transform, values) for values in wanted]
                sized = {**common, "image_size": size or None, "store": self.store.url}
                commands.append(command("extract", dataset=specs, **sized))
        return commands

    def _groups(self, backbone: str) -> list[GroupKey]:
        """Groups of a backbone: the settings that count, else any other of the data set."""
        name = backbone.partition("@")[0]
        return list(self.found[backbone].values()) or [
            group
            for group in logits_groups(self.store)
            if (parse_name(group.dataset)[0], group.split) == (self.dataset, self.split)
            and group.backbone.partition("@")[0] == name
        ]


def default_grid(transform: str) -> tuple[Values, ...]:
    """The values to look at if none are given."""
    return RESOLUTIONS if transform == RESOLUTION else KINDS[transform].grid


def parse_value(transform: str, text: str) -> Values:
    """A value as it is typed.

    Raises:
        UsageError: It cannot be read.
    """
    if transform != RESOLUTION:
        name, values = parse_transform(transform, text, "--grid")
        if name == transform:
            return tuple(values.values())
        raise UsageError(f"{text} is a value of {name}", where="--grid", fix=f"--transform {name}")
    if not text.isdecimal() or not 1 <= int(text) <= 4096:
        raise UsageError(f"resolution={text} cannot be read", where="--grid", why="it takes pixels from 1 to 4096")
    return (int(text),)


def logits_groups(store: FeatureStore) -> list[GroupKey]:
    """Groups of the store that hold logits."""
    return [group for group in store.groups() if group.view == VIEW]


def choose_dataset(
    store: FeatureStore, dataset: str | None, split: str | None, transforms: Sequence[str] = ()
) -> tuple[str, str]:
    """The data set, and the split, of which there are logits, as such or transformed.

    Args:
        store: Where.
        dataset, split, transforms: As asked for; nothing: any.

    Raises:
        UnknownNameError: The store has nothing of it.
        DataUnavailableError: The store has no logits of it.
        UsageError: Several fit.
    """
    held = list(dict.fromkeys((parse_name(group.dataset)[0], group.split) for group in logits_groups(store)))
    names = sorted({name for name, _ in held})
    if (not held or dataset not in (None, *names)) and (error := no_logits(store, dataset, split, transforms)):
        raise error
    if dataset is not None and dataset not in names:
        shown = ", ".join(names) or "none"
        raise UnknownNameError.among("data set in this store:", dataset, names, fix=f"it has logits of: {shown}")
    fitting = [key for key in held if dataset in (None, key[0]) and split in (None, key[1])]
    if len(fitting) == 1:
        return fitting[0]
    shown = ", ".join("/".join(key) for key in held)
    raise UsageError(
        f"{len(fitting)} data sets of the store fit", where=store.url, fix=f"--dataset and --split; logits of {shown}"
    )


def find_settings(
    store: FeatureStore,
    place: tuple[str, str],
    transform: str,
    backbones: Sequence[str],
    grid: Sequence[str] = (),
    reference: str | None = None,
) -> Grid:
    """Find the settings of a transform that the store has.

    Args:
        place: Data set and split.
        backbones: As stored (without "@SIZE" for the resolution), or as `extract` was given them; empty: all.
        grid: The values that count, beside the reference; empty: all that the store has.
        reference: What the others are compared with; None: the study's start, for the resolution the model's own.

    Raises:
        UnknownNameError: No such transform, or no logits of such a backbone.
        UsageError: A value that cannot be read.
    """
    if transform not in TRANSFORMS:
        raise UnknownNameError.among("transform", transform, TRANSFORMS, fix=f"transforms: {', '.join(TRANSFORMS)}")
    wanted = tuple(dict.fromkeys(parse_value(transform, text) for text in grid))
    given = None if reference is None else parse_value(transform, reference)
    there = _resolutions(store, place) if transform == RESOLUTION else _variants(store, place, transform)
    chosen = [_stored(name, list(there)) for name in backbones]
    if not backbones:  # those that were meant for it, if there are such: not each that has the plain images
        chosen = [name for name, own in there.items() if len(own) > 1] or list(there)
    found, start, missing = {}, {}, {}
    for name in chosen:
        own = there[name]
        first = given if given is not None else _start(transform, own)
        keep = {values: group for values, group in own.items() if not wanted or values in wanted or values == first}
        found[name], start[name] = dict(sorted(keep.items())), first
        lacking = [values for values in (first, *_expected(transform, own, first, wanted)) if values not in own]
        if lacking:
            missing[name] = tuple(sorted(set(lacking)))
    return Grid(store, *place, transform, found, start, missing)


def _expected(transform: str, own: Collection[Values], first: Values, wanted: tuple[Values, ...]) -> tuple[Values, ...]:
    """The values that should be there: those asked for, else the study's, unless somebody chose others to compare."""
    published = default_grid(transform)
    chosen = first in own and any(values != first and values not in published for values in own)
    return wanted or (() if chosen else published)


def nothing_found(store: FeatureStore, place: tuple[str, str], grids: Sequence[Grid]) -> DataUnavailableError:
    """The error where no transform has more than the untransformed images."""
    named = [grid.transform for grid in grids]
    commands = [command for grid in grids for command in grid.commands()]
    return DataUnavailableError(
        f"no logits of {'/'.join(place)} under {' or '.join(named)} beside those they are compared with",
        where=store.url,
        why="each setting is an extraction of its own",
        fix="\n  or: ".join(commands[:6]) or None,
    )


def _variants(store: FeatureStore, place: tuple[str, str], transform: str) -> dict[str, dict[Values, GroupKey]]:
    kind = KINDS[transform]
    found: dict[str, dict[Values, GroupKey]] = {}
    for group in logits_groups(store):
        base, changed = parse_name(group.dataset)
        if (base, group.split) != place:
            continue
        own = found.setdefault(group.backbone, {})
        if changed is not None and changed[0] == transform:
            own.setdefault(tuple(changed[1].values()), group)
        elif changed is None and kind.untouched:
            own[kind.start] = group  # the same pixels as its variant, which may be there too
    return found


def _resolutions(store: FeatureStore, place: tuple[str, str]) -> dict[str, dict[Values, GroupKey]]:
    found: dict[str, dict[Values, GroupKey]] = {}
    for group in sorted(logits_groups(store)):  # "vit" before "vit@224"
        if (group.dataset, group.split) != place:
            continue
        size = input_size(store, group)
        if size is not None:
            found.setdefault(group.backbone.partition("@")[0], {}).setdefault((size,), group)
    return found


def input_size(store: FeatureStore, group: GroupKey) -> int | None:
    """Edge of the input in pixels; None if it is no square, or unknown (imported predictions)."""
    preprocess = store.fingerprint(group)["fingerprint"].get("preprocess")
    if not preprocess:
        return None
    height, width = preprocess["geometry"]["size"]
    return int(height) if height == width else None


def _start(transform: str, own: Mapping[Values, GroupKey]) -> Values:
    if transform != RESOLUTION:
        return KINDS[transform].start
    plain = [values for values, group in own.items() if "@" not in group.backbone]
    return plain[0] if plain else (224,)


def _stored(name: str, held: Sequence[str]) -> str:
    from cvbench.engine.models.specs import resolve_spec

    if name in held:
        return name
    try:
        key = split_name(name)[0] or resolve_spec(name, head=True).key
    except CvbenchError:  # a package, a folder, a name is not there
        key = ""
    if key in held:
        return key
    raise UnknownNameError.among("backbone in this store:", name, held, fix=f"it has logits of {', '.join(held)}")
