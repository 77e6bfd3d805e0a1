"""`cvbench extract`: images -> backbones -> feature store. Opens, resolves and declares, then runs what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cvbench.engine.arrays.cuda import require_usable
from cvbench.jobs.extraction.arrays import arrays_of, check_views_of, existing_store, units_of
from cvbench.jobs.extraction.backbones import descriptions_of, guessing_notes
from cvbench.jobs.extraction.fingerprint import fingerprint_of
from cvbench.jobs.extraction.job import ExtractReport, UnitJob, declare_all, recipe_of, run_units
from cvbench.jobs.extraction.live import NONE, LiveTask, check_live, live_tasks
from cvbench.jobs.extraction.notes import moved_notes, reading_notes, renaming_notes, rounding_notes
from cvbench.jobs.extraction.options import ExtractOptions, resolved
from cvbench.jobs.extraction.precision import settled
from cvbench.jobs.extraction.split import split_info
from cvbench.jobs.reading.views import MAPS
from cvbench.jobs.results.entry import Live
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.progress import Listener, silent

if TYPE_CHECKING:
    from cvbench.engine.models.backbones import Backbone, Description
    from cvbench.storage.features import FeatureStore, GroupKey, SplitInfo


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
    said += check_views_of(described, options)
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
    recipe = replace(recipe_of(options, dataset, split, list(backbones.values()), cluster), live=tasks)
    notes = [*said, *rounding_notes(options, split), *renaming_notes(options.backbones)]
    notes += [*guessing_notes(options, described), *reading_notes(dataset), *moved_notes(store, dataset)]
    notes += [note for backbone in backbones.values() for note in backbone.notes]
    notes += [f"--analyze {task.analysis.name}: {note}" for task in tasks for note in task.notes]
    log = declare_all(store, split, groups, fingerprints, options)
    return UnitJob(options, store, split, groups, recipe, notes, tasks, log)


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


def _group(split: SplitInfo, backbone: str, view: str) -> GroupKey:
    from cvbench.storage.features import GroupKey

    return GroupKey(split.dataset, split.split, backbone, view)
