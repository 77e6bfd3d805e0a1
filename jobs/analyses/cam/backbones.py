"""Which backbones are run once more, for class activation maps or a pass: those of the store, with their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cvbench.engine.models import forms
from cvbench.errors import DataUnavailableError, FingerprintMismatchError, UsageError
from cvbench.hints import command
from cvbench.jobs.extraction.arrays import existing_store
from cvbench.jobs.extraction.backbones import weights_of
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.reading.images import open_stored, stored_key
from cvbench.jobs.reading.lineage import WEIGHTS
from cvbench.jobs.reading.views import stored_views
from cvbench.jobs.running.places import absolute
from cvbench.storage.datasets import dataset_names, key_of_spec, open_dataset, spec_of_key
from cvbench.storage.features import FeatureStore, GroupKey

if TYPE_CHECKING:
    from cvbench.engine.models.backbones import Backbone


@dataclass(frozen=True)
class Extracted:
    """A backbone as the features of a store have it.

    Attributes:
        key: As in the store, such as "test_vit@64".
        model: As in the store; of a folder without its path.
        weights: A word, or the name of a file, of which the store does not keep where it lies; "": not recorded.
        digest: Of the weights.
    """

    key: str
    model: str
    image_size: int | None
    weights: str
    digest: str

    @property
    def typed(self) -> str:
        """The backbone as --backbone takes it."""
        return forms.typed(self.model, self.key)

    @property
    def called(self) -> str:
        """The backbone as --weights calls it."""
        return forms.called(self.typed)


def extracted(store: FeatureStore, dataset: str, split: str | None) -> dict[str, Extracted]:
    """Key -> the backbones that a data set was extracted through; of the whole store where it holds none of it."""
    groups = store.groups()
    own = [group for group in groups if group.dataset == dataset and split in (None, group.split)] or groups
    features = stored_views()
    found: dict[str, Extracted] = {}
    for group in sorted(own, key=lambda group: group.view not in features):  # maps only where there is nothing else
        made = store.fingerprint(group)["fingerprint"]
        if "model" in made and group.backbone not in found:  # else its predictions were imported
            found[group.backbone] = Extracted(
                group.backbone, made["model"], made["image_size"], _weights(store, group), made["weights_digest"]
            )
    return found


def _weights(store: FeatureStore, group: GroupKey) -> str:
    return next((str(word) for one in store.commits(group) if (word := one.provenance.get(WEIGHTS))), "")


def chosen(options: ExtractOptions, name: str = "cam") -> tuple[ExtractOptions, dict[str, str]]:
    """The options with backbones, input size and weights of the store where they are left to it.

    They are if no backbone is named, or only such as the store has, by their keys; and the weights if none are given.

    Args:
        options: As they were given.
        name: Of the analysis, for messages.

    Returns:
        The options; and for each backbone whose weights are the store's, their digest.

    Raises:
        UsageError: No backbone is named and the store has none, or its backbones are of several input sizes.
        UsageError: A backbone of the store is a function to import.
        DataUnavailableError: Weights are a file that is not found, or are named by a path.
    """
    store = existing_store(absolute(options.store))
    if store is not None:
        options = _with_images(store, options)
    held = {} if store is None else extracted(store, key_of_spec(options.dataset), options.split)
    if options.backbones and not {*options.backbones} <= held.keys():
        return options, {}
    wanted = [held[name] for name in options.backbones or held]
    if options.image_size is not None:
        wanted = [one for one in wanted if one.image_size == options.image_size]
    if not wanted:
        open_dataset(options.dataset, data_root=options.data_root, split=options.split)  # refuses what is none
        raise UsageError(
            "no backbone is named, and the store has none of these images" if not held else "no backbone is left",
            where=options.store,
            why=f"it has {', '.join(held)}" if held else None,
            fix="--backbone convnext-base --backbone vit-base-16" if not held else "another --image-size",
        )
    _refuse_code(wanted)
    _refuse_sizes(wanted, options, name)
    given = weights_of(options.weights)
    files = [
        f"{one.called}={given.get(one.key, given.get(one.called, given.get(one.model, given.get('', ''))))}"
        for one in wanted
    ]
    own = [one for one, word in zip(wanted, files, strict=True) if word.endswith("=")]
    words = [word for word in files if not word.endswith("=")]
    words += [f"{one.called}={_found(one, options)}" for one in own]
    same = {word.rpartition("=")[2] for word in words}
    return (
        replace(
            options,
            backbones=tuple(one.typed for one in wanted),
            image_size=wanted[0].image_size,
            weights=tuple(same) if len(same) == 1 else tuple(words),
        ),
        {one.key: one.digest for one in own},
    )


def _with_images(store: FeatureStore, options: ExtractOptions) -> ExtractOptions:
    """The options with the spec of images that are named as the store has them, or are there under another name, and
    with the only split of them that the store has.

    What a store says of a path is followed as `jobs.reading.images` says.
    """
    held = store.splits()
    key = stored_key(store, options.dataset, {name for name, _ in held})
    if ":" in options.dataset:  # the person names the files, the store only the name it has them under
        return replace(options, dataset=store.source(key)) if key != key_of_spec(options.dataset) else options
    splits = [split for name, split in held if name == key and options.split in (None, split)]
    if len(splits) != 1 or spec_of_key(key) != key:
        return options
    if key in dataset_names():
        return replace(options, split=splits[0])
    dataset = open_stored(store, key, splits[0], data_root=options.data_root)
    return replace(options, dataset=dataset.spec, split=splits[0])


def _refuse_code(wanted: Sequence[Extracted]) -> None:
    """Refuse a function to import, and a folder, that a store names: it may be somebody else's, and is taken only if a
    person names it.
    """
    for one in wanted:
        if forms.is_own(one.model):
            raise UsageError(
                f"{one.key} was made by code, {one.model}, which no store may have run",
                where="--backbone",
                fix=f"name it yourself if you trust it: --backbone {one.typed}",
            )
        if ":" in one.model and (forms.form_of(one.model) is None or forms.folder_of(one.model) is not None):
            raise UsageError(
                f"{one.key} lies in a folder, which no store may name",
                where="--backbone",
                fix=f"name it yourself: --backbone {one.typed}",
            )


def _refuse_sizes(wanted: Sequence[Extracted], options: ExtractOptions, name: str) -> None:
    sizes = list(dict.fromkeys(one.image_size for one in wanted))
    if len(sizes) > 1:
        first = [one.key for one in wanted if one.image_size == sizes[0]]
        raise UsageError(
            "the store's backbones were given images of several sizes, and one run takes one",
            where=f"{options.store}: {', '.join(one.key for one in wanted)}",
            fix=command(f"analyze {name}", dataset=options.dataset, store=options.store, backbone=first)
            + ", then the others",
        )


def _found(one: Extracted, options: ExtractOptions) -> str:
    """The weights as an option: a word as it is, a file where it is found."""
    if not forms.is_weights_file(one.weights):
        return one.weights or "pretrained"
    if Path(one.weights).name != one.weights:  # a store keeps names alone
        raise DataUnavailableError(
            f"the store names weights of {one.key} by a path", where=one.weights, fix=f"--weights {one.called}=FILE"
        )
    beside = [] if "://" in options.store else [Path(options.store).parent]
    places = [Path(), *beside, *(place / "weights" for place in beside)]  # there studies keep those that they train
    for place in places:
        if (place / one.weights).is_file():
            return str(place / one.weights)
    raise DataUnavailableError(
        f"the weights of {one.key} are the file {one.weights}, and the store does not keep where it lies",
        where=" and ".join(str(place.resolve()) for place in places),
        fix=f"--weights {one.called}=PATH/{one.weights}",
    )


def check_digests(backbones: Sequence[Backbone], digests: Mapping[str, str]) -> None:
    """Refuse weights that are taken for those of the features and are others.

    Raises:
        FingerprintMismatchError: Naming the backbone.
    """
    for backbone in backbones:
        spec = backbone.spec
        if backbone.weights_digest != digests.get(spec.key, backbone.weights_digest):
            raise FingerprintMismatchError(
                f"the weights of {spec.key} are not those of its features in the store",
                where=spec.weights,
                why=f"the store has {digests[spec.key][:16]}, these are {backbone.weights_digest[:16]}",
                fix=f"--weights {spec.name or spec.model}=FILE: the same, or others: any named are taken",
            )


def differing(store: FeatureStore, dataset: str, backbones: Sequence[Backbone], what: str = "maps") -> list[str]:
    """A note for each backbone whose weights are not those of the features beside its maps, or `what` it is."""
    held = extracted(store, dataset, None)
    return [
        f"{one.spec.key}: the {what} are of other weights ({Path(one.spec.weights).name}) than the stored features"
        f" ({held[one.spec.key].weights or 'not recorded'})"
        for one in backbones
        if one.spec.key in held and held[one.spec.key].digest != one.weights_digest
    ]
