"""A job of units: which are missing, the recipe that computes them, and the check that none is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Any

from cvbench.errors import FingerprintMismatchError, IncompleteError
from cvbench.jobs.extraction.arrays import refuse_other_sizes, units_of
from cvbench.jobs.extraction.backbones import offering_name
from cvbench.jobs.extraction.decoding.choice import settled as settled_decoding
from cvbench.jobs.extraction.fingerprint import versions
from cvbench.jobs.extraction.live import LiveTask, live_pending, summarise_live
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.extraction.precision import nonfinite_advice
from cvbench.jobs.extraction.worker import ExtractRecipe, UnitReceipt, UnitTask
from cvbench.jobs.reading.lineage import origin
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.executor import run_tasks
from cvbench.jobs.running.progress import Advanced, Ended, Listener, Note, Started, silent
from cvbench.jobs.running.record import recorded
from cvbench.storage.runs.log import RunLog

if TYPE_CHECKING:
    from cvbench.engine.models.backbones import Backbone
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
    advice: dict[str, str] = field(default_factory=dict)  # of `nonfinite`


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
    log: RunLog | None = None  # what `declare_all` has begun

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
            advice=self._advice(nonfinite, receipts),
        )

    def _advice(self, nonfinite: Mapping[str, int], receipts: Sequence[UnitReceipt]) -> dict[str, str]:
        """Advice on values that are not finite, by layer."""
        readable = sum(receipt.samples - len(receipt.bad) for receipt in receipts)
        return {
            layer: nonfinite_advice(self.options.precision, array.dtype, whole=count >= readable * prod(array.shape))
            for group, arrays in self.groups.items()
            for array in arrays
            if (count := nonfinite.get(layer := f"{group.backbone}/{group.view}/{array.tap}", 0))
        }


def run_units(job: UnitJob, cluster: Cluster, name: str, listen: Listener = silent) -> ExtractReport:
    """Compute the missing units of a job and check that nothing is left; `name` is what a listener is told.

    Raises:
        IncompleteError: As for `extract`.
    """
    with recorded(job.store.objects, cluster, listen, job.log) as listen:
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
        for note in receipt.notes:
            if note not in job.notes:  # what only a run tells, such as how a network is compiled
                job.notes.append(note)
                listen(Note(note))
        listen(Advanced(name, receipt.unit, receipt.samples, len(receipt.bad), dict(receipt.seconds)))

    run_tasks(job.recipe, tasks, cluster, done, listen)
    listen(Ended(name))
    report = job.report(receipts)
    return replace(report, results=tuple(found.path for found in summarise_live(job.store, job.live, job.live_units)))


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
        provenance=versions(cluster.device),
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
) -> RunLog | None:
    """Begin the split and declare the groups, after all of them agree with the store and the bytes fit.

    Returns:
        The log of the run, begun before the first write so that nobody tidies up meanwhile; None if nothing is missing.
    """
    from cvbench.jobs.extraction.space import check_space, plan_layers

    for group, fingerprint in fingerprints.items():
        try:
            store.agree(group, fingerprint, codec=options.codec)
        except FingerprintMismatchError as error:
            raise offering_name(error, group, options, {one.backbone for one in store.groups()}) from None
    pending = _pending(store, groups, split, options)
    layers = plan_layers(groups, pending)
    check_space(layers, options, split.unit, frozen=(split.dataset, split.split) in store.splits())
    store.make()
    log = RunLog(store.objects) if any(pending.values()) else None
    try:
        if log is not None:
            log.begin()
        begun = store.begin(split)
        refuse_other_sizes(replace(options, batch_size=split.batch, unit=split.unit), begun, store.url)  # a race
        for group, arrays in groups.items():
            store.declare(group, fingerprints[group], arrays, codec=options.codec)
    except BaseException:
        if log is not None:
            log.add("ended", {"outcome": "failed", "left_out": 0})
            log.flush()
        raise
    return log


def _pending(
    store: FeatureStore, groups: Mapping[GroupKey, Sequence[ArraySpec]], split: SplitInfo, options: ExtractOptions
) -> dict[GroupKey, dict[Unit, list[str]]]:
    """For each group the units with anything to do, and the taps that they lack."""
    return {
        group: store.pending(group, [a.tap for a in arrays], units_of(options, split.n, split.unit, group.view))
        for group, arrays in groups.items()
    }
