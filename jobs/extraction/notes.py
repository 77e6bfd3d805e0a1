"""What a run says of its data set and its options before it begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.reading.views import is_in_part

if TYPE_CHECKING:
    from cvbench.storage.datasets import Dataset
    from cvbench.storage.features import FeatureStore, SplitInfo


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
