"""A pass as a job: the backbones looked at, the view declared, the units planned; then measured where they lack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvbench.errors import CvbenchError, UsageError
from cvbench.hints import option_words
from cvbench.jobs.analyses.cam.backbones import check_digests, chosen, differing
from cvbench.jobs.analyses.passes.numbers import Numbers, Tapped
from cvbench.jobs.analyses.passes.worker import PassRecipe
from cvbench.jobs.extraction.arrays import frozen_split
from cvbench.jobs.extraction.backbones import descriptions_of, specs_of
from cvbench.jobs.extraction.fingerprint import fingerprint_of
from cvbench.jobs.extraction.job import UnitJob, declare_all, recipe_of
from cvbench.jobs.extraction.job import run_units as compute
from cvbench.jobs.extraction.notes import rounding_notes
from cvbench.jobs.extraction.options import AUTO, ExtractOptions, resolved
from cvbench.jobs.extraction.split import split_info
from cvbench.jobs.extraction.worker import ExtractRecipe
from cvbench.jobs.reading.reading import Reading
from cvbench.jobs.reading.selection import Selected
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.progress import Listener, Note
from cvbench.options import Form
from cvbench.storage.features import ArraySpec, FeatureStore, GroupKey, SplitInfo

if TYPE_CHECKING:
    from cvbench.engine.analyses.base import Layer
    from cvbench.engine.models.backbones import Backbone, Description

_MADE_BY = ("dataset", "split", "backbone", "weights", "limit", "image_size", "decoder")


@dataclass(frozen=True)
class Passed:
    """Numbers of every image, all in the store.

    Attributes:
        reading: The layers and units.
        layers: Layer -> what is kept of it.
        sizes: Backbone -> (height, width) of its input in pixels.
        notes: What a reader of the numbers must know.
        computed: Images that were measured now.
        unreadable: Images that could not be read.
    """

    reading: Reading
    layers: Mapping[Layer, Tapped]
    sizes: Mapping[str, tuple[int, int]]
    notes: Sequence[str]
    computed: int
    unreadable: int


def run_pass(
    numbers: Numbers,
    options: ExtractOptions,
    cluster: Cluster,
    listen: Listener,
    *,
    head: bool = False,
    taps: Sequence[str] = (),
) -> Passed:
    """Measure every image that the store has no numbers of.

    Backbones without any layer to measure are left out with a note, as long as one is left.

    Args:
        numbers: What.
        options: Data set, backbones, weights and so on; `views`, `taps`, `maps` and `dtype` have no meaning here.
            Without backbones: those that the store has of these images.
        cluster: Where.
        listen: Receives progress.
        head: Whether an alias means its weights with a classifier.
        taps: Patterns that are refused unless each matches in one backbone, and one in each.

    Raises:
        UsageError: No backbone has such a layer.
        FingerprintMismatchError: The store holds these numbers made in another way; nothing is written.
        CvbenchError: As `extract`.
    """
    from cvbench.engine.analyses.base import Layer
    from cvbench.engine.models.backbones import describe
    from cvbench.storage.datasets import open_dataset

    options, digests = chosen(options, numbers.name)
    options = _settled(options, "logits" if head else "pooled")
    dataset = open_dataset(options.dataset, data_root=options.data_root, split=options.split)
    if taps:
        descriptions_of(replace(options, taps=tuple(taps)))
    described = {spec.key: describe(spec, taps=["*"]) for spec in specs_of(options)}
    looked, notes = _look(numbers, described, options)
    backbones = list(looked.backbones.values())
    check_digests(backbones, digests)
    store = FeatureStore.open(options.store, mode="a")
    notes += differing(store, dataset.name, backbones, "numbers")
    frozen = frozen_split(store, dataset)
    options = replace(options, seed=frozen.seed if frozen else options.seed)
    split = split_info(store, dataset, options, cluster, [described[name] for name in looked.backbones])
    recipe = _recipe(numbers, looked, recipe_of(options, dataset, split, backbones, cluster))
    job = UnitJob(options, store, split, looked.groups(split, numbers.view), recipe, [])
    job.log = declare_all(store, split, job.groups, _fingerprints(numbers, looked, job, cluster.device), options)
    notes += rounding_notes(options, split)
    weights = ", ".join(f"{name} {Path(described[name].spec.weights).name}" for name in looked.backbones)
    for note in (f"weights: {weights}", *notes):
        listen(Note(note))
    report = compute(job, cluster, f"analyze {numbers.name}", listen)
    tapped = {Layer(name, tap): one for name, layers in looked.kept.items() for tap, one in layers.items()}
    units = tuple(job.units(next(iter(job.groups))))
    selected = Selected(split.dataset, split.split, numbers.view, tuple(tapped), units, left_out=0)
    sizes = {name: described[name].preprocess.geometry.size for name in looked.backbones}
    return Passed(Reading(store, selected), tapped, sizes, notes, report.computed, len(report.unreadable))


def _settled(options: ExtractOptions, view: str) -> ExtractOptions:
    """The options of a pass: of `view` for what asks for one, without what has no meaning here."""
    precision = "fp32" if options.precision == AUTO else options.precision
    options = replace(options, views=(view,), taps=(), maps=None, dtype="float32", keep_bits=None)
    return resolved(replace(options, precision=precision, compile=False))


@dataclass(frozen=True)
class _Looked:
    """The backbones that are measured, by name, and what is kept of each.

    Attributes:
        described: These and perhaps others.
        backbones: On the CPU.
        kept: Tap -> what, for each.
    """

    described: Mapping[str, Description]
    backbones: Mapping[str, Backbone]
    kept: Mapping[str, Mapping[str, Tapped]]

    def groups(self, split: SplitInfo, view: str) -> dict[GroupKey, list[ArraySpec]]:
        """The arrays of each."""
        return {
            GroupKey(split.dataset, split.split, name, view): _arrays(self.described[name], self.kept[name])
            for name in self.backbones
        }

    def made(self, name: str) -> dict[str, Any]:
        """Everything that changes the numbers of some layer of a backbone."""
        return {key: value for one in self.kept[name].values() for key, value in one.made.items()}


def _recipe(numbers: Numbers, looked: _Looked, plain: ExtractRecipe) -> PassRecipe:
    """The recipe of an extraction from the same images, with what is measured instead."""
    shared: dict[str, Any] = {field.name: getattr(plain, field.name) for field in fields(plain)}
    layers = tuple((name, tuple(kept.items())) for name, kept in looked.kept.items())
    return PassRecipe(**shared, numbers=numbers, kept=layers)


def _fingerprints(numbers: Numbers, looked: _Looked, job: UnitJob, device: str) -> dict[GroupKey, dict[str, Any]]:
    """Everything that the numbers of each group depend on."""
    return {
        group: fingerprint_of(job.split, looked.backbones[group.backbone], numbers.view, job.options, device)
        | dict(numbers.made)
        | looked.made(group.backbone)
        for group in job.groups
    }


def _look(numbers: Numbers, described: Mapping[str, Description], options: ExtractOptions) -> tuple[_Looked, list[str]]:
    """The backbones that can be measured, and notes; those that refuse are named in these."""
    from cvbench.engine.models.backbones import load_backbone

    backbones: dict[str, Backbone] = {}
    kept: dict[str, dict[str, Tapped]] = {}
    notes: list[str] = []
    refused: list[CvbenchError] = []
    for name, description in described.items():
        backbone = load_backbone(description.spec, device="cpu", precision="fp32")
        try:
            kept[name], said = numbers.layers(backbone)
        except UsageError as error:
            refused.append(error)
            notes.append(f"left out: {error.what}" + (f" ({error.why})" if error.why else ""))
            continue
        backbones[name] = backbone
        notes += [f"{name}: {text}" for text in said]
    if not backbones:
        raise refused[0]
    _check_precision(options)
    return _Looked(described, backbones, kept), notes


def _check_precision(options: ExtractOptions) -> None:
    import torch

    from cvbench.engine.models.precision import check_precision

    check_precision(options.precision, torch.device("cpu"))


def _arrays(description: Description, kept: Mapping[str, Tapped]) -> list[ArraySpec]:
    return [
        ArraySpec(
            tap,
            one.shape,
            "float32",
            ("sample", *one.dims),
            {**one.attrs, "position": description.places[tap]},
        )
        for tap, one in kept.items()
    ]


def made_words(name: str, options: ExtractOptions, asked: Mapping[str, Any], *, taps: bool = False) -> list[str]:
    """Arguments after `cvbench` of the command that makes a result again, without `--store`.

    Args:
        name: Of the command, "attention".
        options: As they were given.
        asked: What was typed of the other options.
        taps: Whether the command takes them; then it takes no precision.
    """
    others = ("taps",) if taps else ("precision",)
    form = Form(ExtractOptions, (*_MADE_BY, *others), defaults={"backbone": [], "weights": [], "precision": "fp32"})
    return ["analyze", name, *option_words({**form.words(options), **asked})]
