"""The heat maps as a stored view: planned, computed and committed unit by unit like every other view.

The view is named by method and class: `cam.gradcam` (each image's own top-1), `cam.gradcam.label`, `cam.gradcam.7`. For
each target layer it holds the raw map (H, W) float32 and, as `<target>@class`, the columns `CHOICE`: the class whose
evidence it is, the model's own top-1, and of the former the logit and the probability.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from cvbench.engine.analyses.cam.choice import CHOICE
from cvbench.engine.analyses.cam.target import default_target, named_target, uses_batch_statistics
from cvbench.errors import UnknownNameError, UsageError
from cvbench.jobs.analyses.cam.backbones import check_digests, differing
from cvbench.jobs.analyses.cam.options import LABEL, PREDICTED, MapOptions
from cvbench.jobs.analyses.cam.worker import CamRecipe, choice_tap
from cvbench.jobs.extraction.arrays import frozen_split
from cvbench.jobs.extraction.backbones import specs_of
from cvbench.jobs.extraction.fingerprint import fingerprint_of
from cvbench.jobs.extraction.job import UnitJob, declare_all, recipe_of
from cvbench.jobs.extraction.notes import rounding_notes
from cvbench.jobs.extraction.options import AUTO, ExtractOptions, resolved
from cvbench.jobs.extraction.split import split_info
from cvbench.jobs.extraction.worker import ExtractRecipe
from cvbench.jobs.running.cluster import Cluster
from cvbench.storage.features import ArraySpec, FeatureStore, GroupKey

if TYPE_CHECKING:
    from cvbench.engine.analyses.cam.methods import Method
    from cvbench.engine.models.backbones import Backbone, Description
    from cvbench.storage.datasets import Dataset


NO_DIGESTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class MapJob:
    """The maps of one data set, declared in the store.

    Attributes:
        units: The work, as for an extraction.
        dataset: Opened.
        options: As asked for.
        targets: Backbone -> target layer.
        described: Backbone -> what is known of it.
        notes: What a reader of the maps must know.
    """

    units: UnitJob
    dataset: Dataset
    options: MapOptions
    targets: dict[str, str]
    described: dict[str, Description]
    notes: list[str]

    def group(self, backbone: str) -> GroupKey:
        """The group of a backbone's maps."""
        return GroupKey(self.units.split.dataset, self.units.split.split, backbone, self.options.view)

    def knows_labels(self, backbone: str) -> bool:
        """Whether the backbone's head has as many classes as the data set: then class and label are taken as one."""
        return self.described[backbone].head_sizes["logits"] == len(self.units.split.classes)


def prepare_maps(
    options: ExtractOptions, maps: MapOptions, cluster: Cluster, digests: Mapping[str, str] = NO_DIGESTS
) -> MapJob:
    """Open the data set, load the weights, look for dead targets, declare the arrays; compute nothing.

    The order, unit and batch of a split that the store has are taken as they are.

    Args:
        options, maps, cluster: What, which maps, and where.
        digests: Backbone -> the digest that its weights must have, see `chosen`.

    Raises:
        UnknownNameError: No such method, target, class choice, backbone or data set.
        UsageError: A model without classifier, a class it does not have, samples without label, a dead target.
        FingerprintMismatchError: The store holds these maps made in another way; nothing is written.
    """
    from cvbench.engine.analyses.cam.methods import find_method
    from cvbench.storage.datasets import open_dataset

    method = find_method(maps.method)
    precision = "fp32" if options.precision == AUTO else options.precision
    if method.reads_attention and precision != "fp32":
        raise UsageError(
            f"{method.name} is computed in float32", where=f"--precision {precision}", fix="--precision fp32"
        )
    options = replace(options, views=("logits",), taps=(), maps=None, dtype="float32", keep_bits=None)
    options = resolved(replace(options, precision=precision, compile=False))
    dataset = open_dataset(options.dataset, data_root=options.data_root, split=options.split)
    described = _describe(options)
    maps = replace(maps, choice=_checked_choice(maps.choice, described, dataset))
    targets = targets_of(method, maps.targets, described)
    backbones, notes = _load(described, targets, maps, options)
    check_digests(backbones, digests)
    store = FeatureStore.open(options.store, mode="a")
    notes += differing(store, dataset.name, backbones)
    frozen = frozen_split(store, dataset)
    options = replace(options, seed=frozen.seed if frozen else options.seed)
    split = split_info(store, dataset, options, cluster, list(described.values()))
    groups = {
        GroupKey(split.dataset, split.split, name, maps.view): _arrays(described[name], target)
        for name, target in targets.items()
    }
    recipe = _recipe(recipe_of(options, dataset, split, backbones, cluster), maps, targets)
    job = UnitJob(options, store, split, groups, recipe, [])
    if maps.choice == LABEL:
        _check_labels(job)
    made = {"method": maps.method, "class": maps.choice, "choice": list(CHOICE)}
    fingerprints = {
        group: fingerprint_of(split, backbone, maps.view, options, cluster.device) | made
        for group, backbone in zip(groups, backbones, strict=True)
    }
    job.log = declare_all(store, split, groups, fingerprints, options)
    notes = [*rounding_notes(options, split), *notes]
    job.notes += notes
    return MapJob(job, dataset, maps, targets, described, notes)


def _describe(options: ExtractOptions) -> dict[str, Description]:
    from cvbench.engine.models.backbones import describe

    described = {spec.key: describe(spec, taps=["*"]) for spec in specs_of(options)}
    for name, description in described.items():
        if "logits" not in description.head_sizes:
            raise UsageError(
                f"{name} has no classifier, so no class has evidence",
                fix="a model or weights with a head; an alias takes its ImageNet-1k weights here",
            )
    return described


def _checked_choice(choice: str, described: dict[str, Description], dataset: Dataset) -> str:
    """The class choice in its one spelling, after every backbone was found to have the class."""
    if choice == PREDICTED:
        return choice
    index = choice.isascii() and choice.isdigit()
    if not index and choice != LABEL:
        raise UnknownNameError.among(
            "class choice", choice, (PREDICTED, LABEL), fix="--class predicted, label, or an index"
        )
    for name, description in described.items():
        count = description.head_sizes["logits"]
        if index and int(choice) >= count:
            raise UsageError(f"{name} has no class {choice}", why=f"its head has the classes 0 to {count - 1}")
        if choice == LABEL and count != len(dataset.classes):
            raise UsageError(
                f"the head of {name} does not know the labels of {dataset.name}",
                why=f"it has {count} classes, the data set {len(dataset.classes)}",
                fix="--class predicted, or weights with a head for this data set",
            )
    return str(int(choice)) if index else choice


def targets_of(method: Method, patterns: Sequence[str], described: dict[str, Description]) -> dict[str, str]:
    """Each backbone's target: of the patterns the first that it has, else its family's.

    A method that reads attention has none to choose: its map lies on the grid of the last block.

    Raises:
        UnknownNameError, UsageError: As `named_target` and `default_target`; a pattern for such a method.
    """
    if method.reads_attention:
        if patterns:
            raise UsageError(
                f"{method.name} has no target", why="it reads the attention of all layers", fix="leave --target out"
            )
        return {name: _last_block(method, description) for name, description in described.items()}
    found: dict[str, str] = {}
    errors: dict[str, list[UnknownNameError]] = {pattern: [] for pattern in patterns}
    for name, description in described.items():
        for pattern in patterns:
            try:
                found.setdefault(name, named_target(pattern, description.layouts))
            except UnknownNameError as error:
                errors[pattern].append(error)
        if name not in found:
            found[name] = default_target(description.layouts, _blocks(description))
    for missing in errors.values():
        if len(missing) == len(described):
            raise missing[0]
    return found


def _last_block(method: Method, description: Description) -> str:
    blocks = _blocks(description)
    if not blocks:
        raise UsageError(
            f"{method.name} reads the attention of all blocks, and those of {description.spec.key} are not known",
            fix="another --method, such as gradcam",
        )
    return blocks[-1]


def _blocks(description: Description) -> list[str]:
    from cvbench.engine.models.backbones import describe

    return [] if description.guessed else list(describe(description.spec, taps=["blocks"]).layouts)


def _load(
    described: dict[str, Description], targets: dict[str, str], maps: MapOptions, options: ExtractOptions
) -> tuple[list[Backbone], list[str]]:
    """The backbones on the CPU, each tried on one image of noise: a dead target shows before anything is written."""
    import torch

    from cvbench.engine.analyses.cam.graph import class_map
    from cvbench.engine.models.backbones import load_backbone
    from cvbench.engine.models.precision import check_precision

    check_precision(options.precision, torch.device("cpu"))
    backbones, notes = [], []
    for name, description in described.items():
        backbone = load_backbone(description.spec, device="cpu")
        size = description.preprocess.geometry.size
        noise = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        class_map(backbone, targets[name], maps.method, noise)
        mixing = uses_batch_statistics(backbone.network)
        if mixing:
            notes.append(f"{name}: {mixing[0]} normalises by its batch: an image's map depends on the batch it is in")
        backbones.append(backbone)
    return backbones, notes


def _arrays(description: Description, target: str) -> list[ArraySpec]:
    layout = description.layouts[target]
    grid = (layout.height, layout.width)
    attrs = {"grid": list(grid), "position": description.places[target]}
    return [
        ArraySpec(target, grid, "float32", ("sample", "row", "column"), attrs),
        ArraySpec(choice_tap(target), (len(CHOICE),), "float32", ("sample", "choice"), {"columns": list(CHOICE)}),
    ]


def _check_labels(job: UnitJob) -> None:
    covered = job.units(next(iter(job.groups)))
    labels = np.concatenate([job.split.labels[unit.start : unit.stop] for unit in covered])
    missing = int((labels < 0).sum())
    if missing:
        raise UsageError(
            f"{missing} of {len(labels)} samples have no label",
            where=job.title,
            fix="--class predicted, or a split with labels",
        )


def _recipe(plain: ExtractRecipe, maps: MapOptions, targets: dict[str, str]) -> CamRecipe:
    shared: dict[str, Any] = {field.name: getattr(plain, field.name) for field in fields(plain)}
    return CamRecipe(**shared, method=maps.method, choice=maps.choice, targets=tuple(targets.items()))
