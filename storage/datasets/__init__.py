"""Data sets: one registry, one reader a file.

A spec is a name ("cub200") or a name with an argument ("folder:PATH"). To add a data set, write a reader
(`base.Reader`) and name it in READERS; a test class inherited from `DatasetTests` proves that it keeps the contract.
"""

from __future__ import annotations

from pathlib import Path

from cvbench.errors import DataUnavailableError, UnknownNameError, UsageError
from cvbench.storage.datasets import cifar, cub, digits, folder
from cvbench.storage.datasets.base import Dataset, DatasetInfo, Reader
from cvbench.storage.datasets.files import FileDataset
from cvbench.storage.datasets.roots import data_root as resolve_root

__all__ = [
    "READERS",
    "Dataset",
    "DatasetInfo",
    "dataset_info",
    "dataset_names",
    "every_split",
    "locate",
    "open_dataset",
]

READERS: dict[str, Reader] = {
    reader.info.name: reader for reader in (cifar.READER, cub.READER, digits.READER, folder.READER)
}


def dataset_names() -> list[str]:
    """The names in the registry, sorted; "folder" needs a path behind it: `folder:PATH`."""
    return sorted(READERS)


def dataset_info(name: str) -> DatasetInfo:
    """What is known of a data set without opening it.

    Raises:
        UnknownNameError: Naming the nearest data sets.
    """
    return _split_spec(name)[0].info


def locate(spec: str, *, data_root: str | Path | None = None) -> Path | None:
    """The folder of a data set's files, or None if it is not under the data root. Reads no image."""
    reader, argument = _split_spec(spec)
    return reader.locate(argument, resolve_root(data_root))


def every_split(spec: str, *, data_root: str | Path | None = None) -> tuple[str, ...]:
    """The splits of a data set that together hold every image once."""
    reader, argument = _split_spec(spec)
    return reader.every_split(argument, resolve_root(data_root))


def open_dataset(spec: str, *, data_root: str | Path | None = None, split: str | None = None) -> Dataset:
    """Open one split of a data set.

    Args:
        spec: "digits", "cub200", "cifar10" or "folder:PATH".
        data_root: The folder that holds the data sets; else that of the environment variable CVBENCH_DATA.
        split: One of its splits; else its default.

    Raises:
        UnknownNameError: No such data set or split.
        DataUnavailableError: The files are not there, or not all of them.
        IntegrityError: The index files contradict each other or are damaged.
    """
    dataset = open_listed(spec, data_root=data_root, split=split)
    if isinstance(dataset, FileDataset) and (missing := dataset.missing):
        raise DataUnavailableError(
            f"{dataset.name}/{dataset.split}: {len(missing):,} of {len(dataset):,} listed images are not there",
            where=str(dataset.root / dataset.prefix / missing[0]),
            fix=f"cvbench datasets verify {spec}",
        )
    return dataset


def open_listed(spec: str, *, data_root: str | Path | None = None, split: str | None = None) -> Dataset:
    """As `open_dataset`, but images that are listed and missing are left for the caller to find (`verify` does)."""
    reader, argument = _split_spec(spec)
    known = reader.info.splits
    if split is not None and known and split not in known:
        raise UnknownNameError.among(f"split of {reader.info.name}", split, known, fix=f"splits: {', '.join(known)}")
    return reader.open(argument, resolve_root(data_root), split)


def _split_spec(spec: str) -> tuple[Reader, str]:
    name, colon, argument = spec.partition(":")
    if name not in READERS:
        raise UnknownNameError.among("dataset", spec, dataset_names(), fix="cvbench datasets ls")
    if colon and name != "folder":
        raise UsageError(f"{name} takes no argument", where=spec, fix=name)
    return READERS[name], argument
