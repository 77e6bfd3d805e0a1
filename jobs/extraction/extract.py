"""`cvbench extract`: images -> backbones -> feature store. Plans the units, runs what is missing, checks the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cvbench import __version__
from cvbench.engine.arrays.cuda import require_usable
from cvbench.errors import FingerprintMismatchError, IncompleteError, UsageError
from cvbench.jobs.extraction.arrays import arrays_of, existing_store, frozen_split, units_of
from cvbench.jobs.extraction.backbones import descriptions_of, guessing_notes
from cvbench.jobs.extraction.decoding.choice import settled as settled_decoding
from cvbench.jobs.extraction.live import NONE, LiveTask, check_live, live_pending, live_tasks, summarise_live
from cvbench.jobs.extraction.options import CPU_BATCH, ExtractOptions, resolved, transform_record
from cvbench.jobs.extraction.precision import settled
from cvbench.jobs.extraction.worker import ExtractRecipe, UnitReceipt, UnitTask
from cvbench.jobs.reading.lineage import origin
from cvbench.jobs.reading.views import MAPS, is_in_part
from cvbench.jobs.results.entry import Live
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.executor import run_tasks
from cvbench.jobs.running.progress import Advanced, Ended, Listener, Note, Started, silent
from cvbench.jobs.running.record import recorded

if TYPE_CHECKING:
    from cvbench.engine.models.backbones import Backbone, Description
    from cvbench.storage.datasets import Dataset
    from cvbench.storage.features import ArraySpec, BadSample, FeatureStore, GroupKey, SplitInfo
    from cvbench.storage.features.units import Unit


@dataclass(frozen=True)
class ExtractReport:
    """Report of a run; `computed` is 0 when everything was there already."""

    store: str
    dataset: str
    split: str
    samples: int
    computed: int
    unreadable: tuple[BadSample, ...]
    nonfinite: dict[str, int]
    seconds: dict[str, float] = field(default_factory=dict)
    layers: int = 0
    views: tuple[str, ...] = ()
    results: tuple[str, ...] = ()  # paths of what was measured live


def extract(
    options: ExtractOptions, cluster: Cluster, listen: Listener = silent, live: Mapping[str, Live] = NONE
) -> ExtractReport:
    """Compute what the store lacks of the features asked for; the same call again does nothing.

    Args:
        options: What to extract.
        cluster: Where.
        listen: Receives progress.
        live: Name -> how, of the `analyses` of the options: see `jobs.registry.find_live`.

    Raises:
        UsageError: An option or a name is wrong.
        FingerprintMismatchError: The store holds these features made in another way; nothing is written.
        ResourceError: The bytes do not fit the disk or `max_bytes`.
        IncompleteError: Some unit could not be computed, or too many samples are unreadable.
    """
    return run_units(prepare(options, cluster, live), cluster, "extract", listen)


def run_units(job: UnitJob, cluster: Cluster, name: str, listen: Listener = silent) -> ExtractReport:
    """Compute the missing units of a job and check that nothing is left; `name` is what a listener is told.

    Raises:
        IncompleteError: As for `extract`.
    """
    with recorded(job.store.objects, cluster, listen) as listen:
        return _run_units(job, cluster, name, listen)


def _run_units(job: UnitJob, cluster: Cluster, name: str, listen: Listener) -> ExtractReport:
    tasks = job.tasks()
    waiting = sum(len(task.unit) for task in tasks)
    listen(Started(name, job.title, job.samples, len(tasks), job.samples - waiting))
    for note in job.notes:
        listen(Note(note))
    if tasks:  # something was not finished: a writer may have been killed
        job.store.objects.sweep()
    receipts: list[UnitReceipt] = []

    def done(task: UnitTask, receipt: UnitReceipt) -> None:
        receipts.append(receipt)
        listen(Advanced(name, receipt.unit, receipt.samples, len(receipt.bad), dict(receipt.seconds)))

    run_tasks(job.recipe, tasks, cluster, done, listen)
    listen(Ended(name))
    report = job.report(receipts)
    return replace(report, results=tuple(found.path for found in summarise_live(job.store, job.live, job.live_units)))


@dataclass
class UnitJob:
    """One data set through all backbones: opened, resolved and declared, nothing computed yet."""

    options: ExtractOptions
    store: FeatureStore
    split: SplitInfo
    groups: dict[GroupKey, list[ArraySpec]]
    recipe: ExtractRecipe
    notes: list[str]
    live: tuple[LiveTask, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.split.dataset}/{self.split.split}"

    def units(self, group: GroupKey) -> list[Unit]:
        """The units that a group shall cover: all, or a prefix in whole units."""
        return units_of(self.options, self.split.n, self.split.unit, group.view)

    @property
    def live_units(self) -> list[Unit]:
        """The units that live analyses shall cover: as `pooled`, maps or not."""
        return units_of(self.options, self.split.n, self.split.unit, "pooled") if self.live else []

    @property
    def samples(self) -> int:
        covered = [self.units(group) for group in self.groups] + [self.live_units]
        return max(sum(len(unit) for unit in units) for units in covered)

    def tasks(self) -> list[UnitTask]:
        """Missing work, by unit."""
        work: dict[Unit, list[tuple[GroupKey, tuple[str, ...]]]] = {}
        for group, pending in _pending(self.store, self.groups, self.split, self.options).items():
            for unit, taps in pending.items():
                work.setdefault(unit, []).append((group, tuple(taps)))
        live = live_pending(self.store, self.live, self.live_units)
        return [UnitTask(unit, tuple(work.get(unit, ())), live.get(unit, ())) for unit in sorted({*work, *live})]

    def report(self, receipts: Sequence[UnitReceipt]) -> ExtractReport:
        """Check that every unit is committed and that few enough samples were unreadable."""
        left = self.tasks()
        if left:
            raise IncompleteError(
                f"{len(left)} units are not committed",
                where=f"{self.title}, unit {left[0].unit.index}",
                fix="run the same command again",
            )
        bad = {s.row: s for group in self.groups for commit in self.store.each_commit(group) for s in commit.bad}
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
            views=self.options.views,
        )


def prepare(options: ExtractOptions, cluster: Cluster, live: Mapping[str, Live] = NONE) -> UnitJob:
    """Open the data set, load and digest the weights, declare the arrays; compute nothing.

    Whatever refuses the run (names, fingerprints, space) does so before the first write into a split.
    """
    from cvbench.engine.models.backbones import load_backbone
    from cvbench.storage.datasets import open_dataset
    from cvbench.storage.features import FeatureStore

    check_live(options.analyses, live)
    if options.analyses and cluster.device == "cuda" and cluster.address in ("none", "local"):
        require_usable(by_others=cluster.address == "local")
    options = resolved(options)
    dataset = open_dataset(options.dataset, data_root=options.data_root, split=options.split)
    options, said = settled(options, existing_store(options.store), cluster)
    described = descriptions_of(options)
    specs = [description.spec for description in described]
    declared = {description.spec.key: arrays_of(description, options) for description in described}
    backbones = {spec.key: load_backbone(spec, device="cpu", precision=options.precision) for spec in specs}
    measured = {name: live[name] for name in dict.fromkeys(options.analyses)}
    split = split_info(existing_store(options.store), dataset, options, cluster, described, measured)
    store = FeatureStore.open(options.store, mode="a")
    groups = {_group(split, name, view): arrays for name in backbones for view, arrays in declared[name].items()}
    fingerprints = {
        group: fingerprint_of(split, backbones[group.backbone], group.view, options, cluster.device) for group in groups
    }
    tasks = _live(measured, options, store, split, described, backbones, cluster.device)
    declare_all(store, split, groups, fingerprints, options)
    recipe = replace(recipe_of(options, dataset, split, list(backbones.values()), cluster), live=tasks)
    notes = [*said, *rounding_notes(options, split), *renaming_notes(options.backbones)]
    notes += [*guessing_notes(options, described), *reading_notes(dataset), *moved_notes(store, dataset)]
    notes += [note for backbone in backbones.values() for note in backbone.notes]
    return UnitJob(options, store, split, groups, recipe, notes, tasks)


def _live(
    live: Mapping[str, Live],
    options: ExtractOptions,
    store: FeatureStore,
    split: SplitInfo,
    described: Sequence[Description],
    backbones: Mapping[str, Backbone],
    device: str,
) -> tuple[LiveTask, ...]:
    """The live analyses; where maps are stored as well, they must have been made in the same way."""
    if not live:
        return ()
    fingerprints = {}
    for name, backbone in backbones.items():
        group = _group(split, name, MAPS)
        fingerprint = fingerprint_of(split, backbone, MAPS, options, device)
        store.agree(group, fingerprint, codec=options.codec)
        fingerprints[group.path] = store.frozen(fingerprint, options.codec)
    covered = sum(len(unit) for unit in units_of(options, split.n, split.unit, "pooled"))
    named = split.dataset, split.split
    return live_tasks(live, described, fingerprints, named, (split.batch, covered), device)


def recipe_of(
    options: ExtractOptions, dataset: Dataset, split: SplitInfo, backbones: Sequence[Backbone], cluster: Cluster
) -> ExtractRecipe:
    """The recipe by which an actor computes the units of `split` with these backbones."""
    return ExtractRecipe(
        store=options.store,
        dataset=options.dataset,
        data_root=options.data_root,
        split=split.split,
        dataset_digest=dataset.digest,
        seed=split.seed,
        batch=split.batch,
        backbones=tuple((b.spec, b.weights_digest) for b in backbones),
        device=cluster.device,
        precision=options.precision,
        dtype=options.dtype,
        keep_bits=options.keep_bits,
        compiled=options.compile,
        threads=cluster.threads,
        decoding=settled_decoding(options.decode_in, cluster, options.decode_threads),
        provenance=_versions(cluster.device),
        origins={
            b.spec.key: origin(b.spec.weights, dataset, options.dataset, options.data_root, b.notes) for b in backbones
        },
    )


def declare_all(
    store: FeatureStore,
    split: SplitInfo,
    groups: Mapping[GroupKey, Sequence[ArraySpec]],
    fingerprints: Mapping[GroupKey, Mapping[str, Any]],
    options: ExtractOptions,
) -> None:
    """Begin the split and declare the groups, after all of them agree with the store and the bytes fit."""
    from cvbench.jobs.extraction.plan import check_space, plan_layers

    for group, fingerprint in fingerprints.items():
        store.agree(group, fingerprint, codec=options.codec)
    check_space(plan_layers(groups, _pending(store, groups, split, options)), options, split.unit)
    begun = store.begin(split)
    _refuse_other_sizes(replace(options, batch_size=split.batch, unit=split.unit), begun, store.url)  # a race
    for group, arrays in groups.items():
        store.declare(group, fingerprints[group], arrays, codec=options.codec)


def _pending(
    store: FeatureStore, groups: Mapping[GroupKey, Sequence[ArraySpec]], split: SplitInfo, options: ExtractOptions
) -> dict[GroupKey, dict[Unit, list[str]]]:
    """For each group the units with anything to do, and the taps that they lack."""
    return {
        group: store.pending(group, [a.tap for a in arrays], units_of(options, split.n, split.unit, group.view))
        for group, arrays in groups.items()
    }


def split_info(
    store: FeatureStore | None,
    dataset: Dataset,
    options: ExtractOptions,
    cluster: Cluster,
    described: Sequence[Description],
    live: Mapping[str, Live] = NONE,
) -> SplitInfo:
    """Freeze the order, unit and batch of this split, or take what the store has frozen already."""
    from cvbench.storage.datasets import read_in_part, source_of
    from cvbench.storage.features import SplitInfo
    from cvbench.storage.features.order import sample_order
    from cvbench.storage.features.units import unit_size

    frozen = frozen_split(store, dataset)
    if frozen is not None:
        _refuse_other_sizes(options, frozen, options.store)
    batch = options.batch_size or (frozen.batch if frozen else _auto_batch(options, cluster, described, live))
    if not (options.batch_size or frozen or cluster.device == "cpu"):
        while options.unit and options.unit % batch and batch > 1:  # what was found is the most, not a wish
            batch //= 2
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
        left_out=tuple(entry.as_dict() for entry in read_in_part(dataset)),
        source=source_of(dataset),
    )


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


def rounding_notes(options: ExtractOptions, split: SplitInfo) -> Iterator[str]:
    """Notes on whole units that cover more samples than were asked for."""
    from cvbench.storage.features.units import plan_units

    in_part = options.maps if any(map(is_in_part, options.views)) else None
    for name, asked in (("--limit", options.limit), ("--maps", in_part)):
        covered = sum(len(unit) for unit in plan_units(split.n, split.unit, asked))
        if asked is not None and covered > asked:
            yield f"{name} {asked} covers {covered} samples: whole units of {split.unit}"


def reading_notes(dataset: Dataset) -> Iterator[str]:
    """Notes on a data set that is read in part, or slowly."""
    from cvbench.storage.datasets import read_in_part
    from cvbench.storage.datasets.formats.parquet_files import ParquetDataset

    for entry in read_in_part(dataset):
        yield f"{dataset.name}/{dataset.split}: {entry.text}"
    if isinstance(dataset, ParquetDataset) and dataset.advice:
        yield dataset.advice


def moved_notes(store: FeatureStore, dataset: Dataset) -> Iterator[str]:
    """A note on files of one's own that were at another place when the store's split was begun."""
    from cvbench.storage.datasets import path_of_spec, source_of

    then, now = (path_of_spec(one) for one in (store.source(dataset.name, dataset.split), source_of(dataset)))
    if then and now and then != now:
        yield (
            f"the store's {dataset.name}/{dataset.split} was begun from {then}, now it is {now}: taken as the same, by "
            "names, sizes and labels of the files"
        )


def renaming_notes(backbones: Sequence[str]) -> Iterator[str]:
    """Notes on models that have another name in timm today."""
    from cvbench.engine.models.forms import split_name
    from cvbench.engine.models.specs import renamed

    for name in (split_name(entry)[1] for entry in backbones):
        new = renamed(name)
        if new is not None:
            yield f"{name} is an old name of timm's for {new}, which the store says"


def _auto_batch(
    options: ExtractOptions, cluster: Cluster, described: Sequence[Description], live: Mapping[str, Live]
) -> int:
    if cluster.device == "cpu":
        return CPU_BATCH
    from cvbench.jobs.extraction.calibrate import calibrate_batch

    return calibrate_batch(described, options, cluster, live)


def _group(split: SplitInfo, backbone: str, view: str) -> GroupKey:
    from cvbench.storage.features import GroupKey

    return GroupKey(split.dataset, split.split, backbone, view)


def fingerprint_of(
    split: SplitInfo, backbone: Backbone, view: str, options: ExtractOptions, device: str
) -> dict[str, Any]:
    """Everything that the bytes of one (dataset, backbone, view) depend on, taps apart."""
    from cvbench.engine.models.compiled import BACKEND
    from cvbench.engine.models.forms import recorded
    from cvbench.engine.models.views import known_view, made_by
    from cvbench.engine.pictures.decode import DECODER_VERSION

    kept = known_view(view)
    fixed = "" if kept is None else kept.dtype
    # Older stores name neither of these.
    preset = {"preset": backbone.spec.preset} if backbone.spec.preset != "model" else {}
    compiled = {"compiled": BACKEND} if options.compile else {}
    return {
        "dataset_digest": split.dataset_digest,
        "seed": split.seed,
        "unit": split.unit,
        "batch": split.batch,
        "model": recorded(backbone.spec.model),
        "image_size": backbone.spec.image_size,
        "weights_digest": backbone.weights_digest,
        "preprocess": backbone.preprocess.as_dict(),
        "decoder_version": DECODER_VERSION,
        "precision": options.precision,
        "device": device,
        "view": view,
        "dtype": fixed or options.dtype,
        "keep_bits": None if fixed else options.keep_bits,
        **preset,
        **compiled,
        **made_by(view),
        **backbone.source,
    } | transform_record(options.dataset, backbone.preprocess.geometry)


def _versions(device: str) -> dict[str, Any]:
    """Versions only: the same run gives the same record, whenever and wherever it was made."""
    from importlib.metadata import version

    names = ("torch", "timm", "pillow", "numpy")
    return {"cvbench": __version__, "device": device} | {name: version(name) for name in names}
