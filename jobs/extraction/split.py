"""The order, the unit and the batch of a split: frozen by its first run, taken from the store by every other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cvbench.jobs.extraction.arrays import check_unit, frozen_split, refuse_other_sizes
from cvbench.jobs.extraction.live import NONE
from cvbench.jobs.extraction.options import CPU_BATCH, ExtractOptions
from cvbench.jobs.extraction.room import check_memory, check_sizes
from cvbench.jobs.results.entry import Live
from cvbench.jobs.running.cluster import Cluster

if TYPE_CHECKING:
    from cvbench.engine.models.backbones import Description
    from cvbench.storage.datasets import Dataset
    from cvbench.storage.features import FeatureStore, SplitInfo


def split_info(
    store: FeatureStore | None,
    dataset: Dataset,
    options: ExtractOptions,
    cluster: Cluster,
    described: Sequence[Description],
    live: Mapping[str, Live] = NONE,
) -> SplitInfo:
    """Freeze the order, unit and batch of this split, or take what the store has frozen already.

    Raises:
        UsageError: A batch or a unit that does not fit the data set, or the other.
        FingerprintMismatchError: They are not those that are frozen.
        ResourceError: There is no memory for such a batch.
    """
    from cvbench.storage.datasets import read_in_part, source_of
    from cvbench.storage.features import SplitInfo
    from cvbench.storage.features.order import sample_order
    from cvbench.storage.features.units import unit_size

    frozen = frozen_split(store, dataset)
    if frozen is not None:
        refuse_other_sizes(options, frozen, options.store)
    else:
        check_sizes(options, len(dataset))
    batch = options.batch_size or (frozen.batch if frozen else _auto_batch(options, cluster, described, live))
    if options.unit and not (options.batch_size or frozen):  # what was found is the most, not a wish
        most = min(batch, options.unit)
        fitting = max(size for size in range(1, most + 1) if options.unit % size == 0)
        batch = fitting if 2 * fitting >= most else batch  # smaller ones waste the machine: refused
    unit = options.unit or (frozen.unit if frozen else unit_size(len(dataset), batch))
    check_unit(unit, batch)
    check_memory(batch, [one.preprocess.geometry for one in described], cluster, frozen=frozen is not None)
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


def _auto_batch(
    options: ExtractOptions, cluster: Cluster, described: Sequence[Description], live: Mapping[str, Live]
) -> int:
    if cluster.device == "cpu":
        return CPU_BATCH
    from cvbench.jobs.extraction.calibrate import calibrate_batch

    return calibrate_batch(described, options, cluster, live)
