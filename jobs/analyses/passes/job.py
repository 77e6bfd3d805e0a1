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
from cvbench.jobs.reading.reading import Reading
from cvbench.jobs.reading.selection import Selected
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.progress import Listener, Note
from cvbench.options import Form
from cvbench.storage.features import ArraySpec, FeatureStore, GroupKey

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
    precision = "fp32" if options.precision == AUTO else options.precision
    view = "logits" if head else "pooled"
    options = replace(options, views=(view,), taps=(), maps=None, dtype="float32", keep_bits=None)
    options = resolved(replace(options, precision=precision, compile=False))
    dataset = open_dataset(options.dataset, data_root=options.data_root, split=options.split)
    if taps:
        descriptions_of(replace(options, taps=tuple(taps)))
    described = {spec.key: describe(spec, taps=["*"]) for spec in specs_of(options)}
    backbones, kept, notes = _look(numbers, described, options)
    check_digests(list(backbones.values()), digests)
    store = FeatureStore.open(options.store, mode="a")
    notes += differing(store, dataset.name, list(backbones.values()), "numbers")
    frozen = frozen_split(store, dataset)
    options = replace(options, seed=frozen.seed if frozen else options.seed)
    split = split_info(store, dataset, options, cluster, [described[name] for name in backbones])
    groups = {
        GroupKey(split.dataset, split.split, name, numbers.view): _arrays(described[name], kept[name])
        for name in backbones
    }
    plain = recipe_of(options, dataset, split, list(backbones.values()), cluster)
    shared: dict[str, Any] = {field.name: getattr(plain, field.name) for field in fields(plain)}
    layers = tuple((name, tuple(kept[name].items())) for name in backbones)
    job = UnitJob(options, store, split, groups, PassRecipe(**shared, numbers=numbers, kept=layers), [])
    fingerprints = {
        group: fingerprint_of(split, backbones[group.backbone], numbers.view, options, cluster.device)
        | dict(numbers.made)
        | {key: value for one in kept[group.backbone].values() for key, value in one.made.items()}
        for group in groups
    }
    job.log = declare_all(store, split, groups, fingerprints, options)
    notes += rounding_notes(options, split)
    weights = ", ".join(f"{name} {Path(described[name].spec.weights).name}" for name in backbones)
    for note in (f"weights: {weights}", *notes):
        listen(Note(note))
    report = compute(job, cluster, f"analyze {numbers.name}", listen)
    tapped = {Layer(name, tap): one for name in backbones for tap, one in kept[name].items()}
    units = tuple(job.units(next(iter(groups))))
    selected = Selected(split.dataset, split.split, numbers.view, tuple(tapped), units, left_out=0)
    sizes = {name: described[name].preprocess.geometry.size for name in backbones}
    return Passed(Reading(store, selected), tapped, sizes, notes, report.computed, len(report.unreadable))


def _look(
    numbers: Numbers, described: Mapping[str, Description], options: ExtractOptions
) -> tuple[dict[str, Backbone], dict[str, dict[str, Tapped]], list[str]]:
    """The backbones on the CPU, what is kept of each, and notes; those that refuse are named in these."""
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
    return backbones, kept, notes


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
