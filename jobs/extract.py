"""`cvbench extract`: images -> backbones -> feature store. Plans the units, runs what is missing, checks the end."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cvbench import __version__
from cvbench.errors import FingerprintMismatchError, IncompleteError, UnknownNameError, UsageError
from cvbench.jobs.executor import Cluster, run_tasks
from cvbench.jobs.extract_worker import ExtractRecipe, UnitReceipt, UnitTask
from cvbench.jobs.progress import Advanced, Ended, Listener, Note, Started, silent

if TYPE_CHECKING:
    from cvbench.engine.backbones import Backbone, Description
    from cvbench.storage.datasets import Dataset
    from cvbench.storage.features import ArraySpec, BadSample, FeatureStore, GroupKey, SplitInfo
    from cvbench.storage.units import Unit

VIEWS = ("pooled", "maps", "head", "logits")
DIMS = {"pooled": ("sample", "channel"), "cls": ("sample", "channel"), "maps": ("sample", "row", "column", "channel")}
CPU_BATCH = 32  # on a CPU the batch hardly matters for speed; a constant keeps stores comparable


@dataclass(frozen=True)
class ExtractOptions:
    """What to extract. Everything that changes bytes goes into the fingerprint of the features.

    Attributes:
        dataset: Name of a registered data set, or "folder:PATH".
        backbones: timm model names or aliases.
        store: Path or URL of the feature store.
        weights: "pretrained", "random", or a .safetensors file; "MODEL=FILE" entries give single backbones their own.
        taps: Tap sets, names or globs.
        views: Of `VIEWS`.
        maps: How many samples the `maps` view covers (a prefix of the store order); None is all.
        limit: How many samples every view covers; None is all.
        batch_size: Images per forward pass; None is "auto", calibrated once and frozen in the store.
        max_unreadable: Share of unreadable samples above which the run counts as incomplete.
    """

    dataset: str
    backbones: tuple[str, ...]
    store: str = "cvbench.zarr"
    split: str | None = None
    data_root: str | None = None
    weights: tuple[str, ...] = ("pretrained",)
    taps: tuple[str, ...] = ("blocks",)
    views: tuple[str, ...] = ("pooled",)
    maps: int | None = 1024
    limit: int | None = None
    batch_size: int | None = None
    image_size: int | None = None
    unit: int | None = None
    precision: str = "fp32"
    dtype: str = "float16"
    keep_bits: int | None = None
    codec: str = "none"
    decoder: Literal["fast", "pil"] = "fast"
    seed: int = 0
    decode_threads: int | None = None
    max_unreadable: float = 0.01
    max_bytes: int | None = None


@dataclass(frozen=True)
class ExtractReport:
    """What a run did; `computed` is 0 when everything was there already."""

    store: str
    dataset: str
    split: str
    samples: int
    computed: int
    unreadable: tuple[BadSample, ...]
    nonfinite: dict[str, int]
    seconds: dict[str, float] = field(default_factory=dict)
    layers: int = 0


def extract(options: ExtractOptions, cluster: Cluster, listen: Listener = silent) -> ExtractReport:
    """Compute what the store lacks of the features asked for; the same call again does nothing.

    Raises:
        UsageError: An option or a name is wrong.
        FingerprintMismatchError: The store holds these features made in another way; nothing is written.
        ResourceError: The bytes do not fit the disk or `max_bytes`.
        IncompleteError: Some unit could not be computed, or too many samples are unreadable.
    """
    job = prepare(options, cluster)
    tasks = job.tasks()
    waiting = sum(len(task.unit) for task in tasks)
    listen(Started("extract", job.title, job.samples, len(tasks), job.samples - waiting))
    for note in job.notes:
        listen(Note(note))
    receipts: list[UnitReceipt] = []

    def done(task: UnitTask, receipt: UnitReceipt) -> None:
        receipts.append(receipt)
        listen(Advanced("extract", receipt.unit, receipt.samples, len(receipt.bad), dict(receipt.seconds)))

    run_tasks(job.recipe, tasks, cluster, done)
    listen(Ended("extract"))
    return job.report(receipts)


@dataclass
class _Job:
    """One data set through all backbones: opened, resolved and declared, nothing computed yet."""

    options: ExtractOptions
    store: FeatureStore
    split: SplitInfo
    groups: dict[GroupKey, list[ArraySpec]]
    recipe: ExtractRecipe
    notes: list[str]

    @property
    def title(self) -> str:
        return f"{self.split.dataset}/{self.split.split}"

    def units(self, group: GroupKey) -> list[Unit]:
        """The units that a group shall cover: all, or a prefix in whole units."""
        return units_of(self.options, self.split.n, self.split.unit, group.view)

    @property
    def samples(self) -> int:
        return max(sum(len(unit) for unit in self.units(group)) for group in self.groups)

    def tasks(self) -> list[UnitTask]:
        """What is missing, by unit."""
        work: dict[Unit, list[tuple[GroupKey, tuple[str, ...]]]] = {}
        for group, pending in _pending(self.store, self.groups, self.split, self.options).items():
            for unit, taps in pending.items():
                work.setdefault(unit, []).append((group, tuple(taps)))
        return [UnitTask(unit, tuple(groups)) for unit, groups in sorted(work.items(), key=lambda item: item[0])]

    def report(self, receipts: Sequence[UnitReceipt]) -> ExtractReport:
        """Check that every unit is committed and that few enough samples were unreadable."""
        left = self.tasks()
        if left:
            raise IncompleteError(
                f"{len(left)} units are not committed",
                where=f"{self.title}, unit {left[0].unit.index}",
                fix="run the same command again",
            )
        bad = {s.row: s for group in self.groups for commit in self.store.commits(group) for s in commit.bad}
        nonfinite: Counter[str] = Counter()
        seconds: Counter[str] = Counter()
        for receipt in receipts:
            nonfinite.update(receipt.nonfinite)
            seconds.update(receipt.seconds)
        if len(bad) > self.options.max_unreadable * self.samples:
            first = bad[min(bad)]
            raise IncompleteError(
                f"{len(bad)} of {self.samples} samples are unreadable",
                where=first.id,
                why=f"{first.reason}: {first.message}",
                fix="mend the files and extract into a new store, or allow more with --max-unreadable",
            )
        return ExtractReport(
            store=self.options.store,
            dataset=self.split.dataset,
            split=self.split.split,
            samples=self.samples,
            computed=sum(receipt.samples for receipt in receipts),
            unreadable=tuple(bad[row] for row in sorted(bad)),
            nonfinite=dict(nonfinite),
            seconds=dict(seconds),
            layers=sum(len(arrays) for arrays in self.groups.values()),
        )


def prepare(options: ExtractOptions, cluster: Cluster) -> _Job:
    """Open the data set, load and digest the weights, declare the arrays; compute nothing.

    Whatever refuses the run (names, fingerprints, space) does so before the first write into a split.
    """
    from cvbench.engine.backbones import load_backbone
    from cvbench.jobs.plan import check_space, plan_layers
    from cvbench.storage.datasets import open_dataset
    from cvbench.storage.features import FeatureStore

    options = resolved(options)
    dataset = open_dataset(options.dataset, data_root=options.data_root, split=options.split)
    described = descriptions_of(options)
    specs = [description.spec for description in described]
    declared = {description.spec.key: arrays_of(description, options) for description in described}
    backbones = {spec.key: load_backbone(spec, device="cpu", precision=options.precision) for spec in specs}
    store = FeatureStore.open(options.store, mode="a")
    split = _split_info(store, dataset, options, cluster, described)
    groups = {_group(split, name, view): arrays for name in backbones for view, arrays in declared[name].items()}
    fingerprints = {
        group: _fingerprint(split, backbones[group.backbone], group.view, options, cluster.device) for group in groups
    }
    for group, fingerprint in fingerprints.items():
        store.agree(group, fingerprint, codec=options.codec)
    check_space(plan_layers(groups, _pending(store, groups, split, options)), options)
    split = store.begin(split)
    for group, arrays in groups.items():
        store.declare(group, fingerprints[group], arrays, codec=options.codec)
    recipe = ExtractRecipe(
        store=options.store,
        dataset=options.dataset,
        data_root=options.data_root,
        split=split.split,
        dataset_digest=dataset.digest,
        seed=split.seed,
        batch=split.batch,
        backbones=tuple((b.spec, b.weights_digest) for b in backbones.values()),
        device=cluster.device,
        precision=options.precision,
        dtype=options.dtype,
        keep_bits=options.keep_bits,
        threads=cluster.threads,
        decode_threads=options.decode_threads or _decode_threads(cluster),
        provenance=_provenance(cluster.device),
    )
    return _Job(options, store, split, groups, recipe, list(_rounding_notes(options, split)))


def _pending(
    store: FeatureStore, groups: Mapping[GroupKey, Sequence[ArraySpec]], split: SplitInfo, options: ExtractOptions
) -> dict[GroupKey, dict[Unit, list[str]]]:
    """For each group the units with anything to do, and the taps that they lack."""
    return {
        group: store.pending(group, [a.tap for a in arrays], units_of(options, split.n, split.unit, group.view))
        for group, arrays in groups.items()
    }


def resolved(options: ExtractOptions) -> ExtractOptions:
    """Absolute paths, so that actors with another working directory mean the same files; and early checks."""
    for view in options.views:
        if view not in VIEWS:
            raise UnknownNameError.among("view", view, VIEWS, fix=f"views: {', '.join(VIEWS)}")
    if options.limit is not None and options.limit < 1:
        raise UsageError(f"--limit {options.limit} leaves no sample", fix="give a positive number")
    if not options.backbones:
        raise UsageError("no backbone given", fix="--backbone convnext-base --backbone vit-base-16")
    dataset = options.dataset
    if dataset.startswith("folder:"):
        path = Path(dataset.removeprefix("folder:")).expanduser()
        root = Path(options.data_root).expanduser() if options.data_root else Path()
        dataset = f"folder:{(root / path).resolve()}"
    return replace(
        options,
        dataset=dataset,
        store=absolute(options.store),
        data_root=str(Path(options.data_root).expanduser().resolve()) if options.data_root else None,
    )


def absolute(store: str) -> str:
    """A store path made absolute; URLs stay."""
    return store if "://" in store else str(Path(store).expanduser().resolve())


def specs_of(options: ExtractOptions) -> list[Any]:
    """The backbones asked for, with their weights.

    Raises:
        UnknownNameError: No such model; or weights for a backbone that is not asked for.
    """
    from cvbench.engine.backbones import resolve_spec

    default, own = "pretrained", {}
    for entry in options.weights:
        name, equals, file = entry.partition("=")
        if equals:
            own[name] = file
        else:
            default = entry
    for name in own:
        if name not in options.backbones:
            raise UnknownNameError.among("backbone in --weights", name, options.backbones)
    specs = [
        resolve_spec(
            name,
            weights=_weights_path(own.get(name, default)),
            head="logits" in options.views,
            image_size=options.image_size,
            decoder=options.decoder,
        )
        for name in options.backbones
    ]
    twice = [key for key, count in Counter(spec.key for spec in specs).items() if count > 1]
    if twice:
        raise UsageError(f"backbone {twice[0]} is given twice", fix="name each backbone once")
    return specs


def descriptions_of(options: ExtractOptions) -> list[Description]:
    """The backbones with the taps that the patterns name.

    Families name their modules differently: a pattern must match in one backbone at least, and leave each with a tap.

    Raises:
        UnknownNameError: A pattern that matches nowhere; names its neighbours.
        UsageError: A backbone in which no pattern matches.
    """
    from cvbench.engine.backbones import describe

    specs = specs_of(options)
    matching: dict[str, list[str]] = {spec.key: [] for spec in specs}
    for pattern in options.taps:
        errors = []
        for spec in specs:
            try:
                describe(spec, taps=[pattern])
            except UnknownNameError as error:
                errors.append(error)
            else:
                matching[spec.key].append(pattern)
        if len(errors) == len(specs):
            raise errors[0]
    for key, patterns in matching.items():
        if not patterns:
            raise UsageError(f"no tap of {key} fits {', '.join(options.taps)}", fix="--taps list shows what there is")
    return [describe(spec, taps=matching[spec.key]) for spec in specs]


def _weights_path(weights: str) -> str:
    return str(Path(weights).expanduser().resolve()) if weights.endswith(".safetensors") else weights


def arrays_of(backbone: Description, options: ExtractOptions) -> dict[str, list[ArraySpec]]:
    """The arrays of one backbone, by view."""
    from cvbench.engine.views import expand_views
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


def list_taps(options: ExtractOptions) -> dict[str, dict[str, str]]:
    """For each backbone, everything that can be tapped and its shape; no weights are loaded."""
    from cvbench.engine.backbones import describe

    listed: dict[str, dict[str, str]] = {}
    for spec in specs_of(options):
        description = describe(spec, taps=["*"])
        listed[spec.key] = {
            tap: f"{layout.height}x{layout.width}x{layout.channels}" for tap, layout in description.layouts.items()
        }
    return listed


def _split_info(
    store: FeatureStore,
    dataset: Dataset,
    options: ExtractOptions,
    cluster: Cluster,
    described: Sequence[Description],
) -> SplitInfo:
    """Freeze the order, unit and batch of this split, or take what the store has frozen already."""
    from cvbench.storage.features import SplitInfo
    from cvbench.storage.order import sample_order
    from cvbench.storage.units import unit_size

    frozen = frozen_split(store, dataset)
    if frozen is not None:
        _refuse_other_sizes(options, frozen, store.url)
    batch = options.batch_size or (frozen.batch if frozen else _auto_batch(options, cluster, described))
    unit = options.unit or (frozen.unit if frozen else unit_size(len(dataset), batch))
    if unit % batch:
        raise UsageError(
            f"--unit {unit} is no multiple of the batch of {batch}", fix=f"--unit {unit // batch * batch + batch}"
        )
    order = sample_order(len(dataset), options.seed)
    return SplitInfo(
        dataset=dataset.name,
        split=dataset.split,
        n=len(dataset),
        dataset_digest=dataset.digest,
        seed=options.seed,
        unit=unit,
        batch=batch,
        classes=dataset.classes,
        ids=np.array(dataset.ids, dtype=np.str_)[order],
        labels=dataset.labels[order],
        factors={name: values[order] for name, values in dataset.factors.items()},
    )


def frozen_split(store: FeatureStore | None, dataset: Dataset) -> SplitInfo | None:
    """What the store has frozen of this split, or None if it was never begun."""
    if store is None or (dataset.name, dataset.split) not in store.splits():
        return None
    return store.split(dataset.name, dataset.split)


def _refuse_other_sizes(options: ExtractOptions, frozen: SplitInfo, url: str) -> None:
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


def units_of(options: ExtractOptions, n: int, size: int, view: str) -> list[Unit]:
    """The units that a view covers: all, or the prefix that --limit and --maps leave, in whole units."""
    from cvbench.storage.units import plan_units

    limits = [options.limit]
    if view == "maps" or (view == "cls" and "pooled" not in options.views):
        limits.append(options.maps)
    given = [limit for limit in limits if limit is not None]
    return plan_units(n, size, min(given) if given else None)


def _rounding_notes(options: ExtractOptions, split: SplitInfo) -> Iterator[str]:
    from cvbench.storage.units import plan_units

    for name, asked in (("--limit", options.limit), ("--maps", options.maps if "maps" in options.views else None)):
        covered = sum(len(unit) for unit in plan_units(split.n, split.unit, asked))
        if asked is not None and covered > asked:
            yield f"{name} {asked} covers {covered} samples: whole units of {split.unit}"


def _auto_batch(options: ExtractOptions, cluster: Cluster, described: Sequence[Description]) -> int:
    if cluster.device == "cpu":
        return CPU_BATCH
    from cvbench.jobs.calibrate import calibrate_batch

    return calibrate_batch(described, options, cluster)


def _group(split: SplitInfo, backbone: str, view: str) -> GroupKey:
    from cvbench.storage.features import GroupKey

    return GroupKey(split.dataset, split.split, backbone, view)


def _fingerprint(
    split: SplitInfo, backbone: Backbone, view: str, options: ExtractOptions, device: str
) -> dict[str, Any]:
    """Everything that the bytes of one (dataset, backbone, view) depend on, taps apart."""
    floats = view in ("head", "logits")
    return {
        "dataset_digest": split.dataset_digest,
        "seed": split.seed,
        "unit": split.unit,
        "batch": split.batch,
        "model": backbone.spec.model,
        "image_size": backbone.spec.image_size,
        "weights_digest": backbone.weights_digest,
        "preprocess": backbone.preprocess.as_dict(),
        "precision": options.precision,
        "device": device,
        "view": view,
        "dtype": "float32" if floats else options.dtype,
        "keep_bits": None if floats else options.keep_bits,
    }


def _provenance(device: str) -> dict[str, Any]:
    """Versions only: the same run gives the same record, whenever and wherever it was made."""
    from importlib.metadata import version

    return {"cvbench": __version__, "device": device} | {name: version(name) for name in ("torch", "timm", "pillow")}


def _decode_threads(cluster: Cluster) -> int:
    return max(1, cluster.threads) if cluster.device == "cpu" else max(4, min(16, (os.cpu_count() or 8) // 2))
