"""What `cvbench datasets` does: list the registry, describe one data set, and check its files."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import DataUnavailableError, DecodeError, IntegrityError, UsageError
from cvbench.jobs.running.progress import Advanced, Ended, Listener, Started, silent
from cvbench.storage.datasets import (
    Dataset,
    DatasetInfo,
    dataset_info,
    dataset_names,
    every_split,
    locate,
    open_listed,
    with_columns,
)
from cvbench.storage.datasets.base import Masked
from cvbench.storage.datasets.formats.files import ABSENT, FileDataset
from cvbench.storage.datasets.formats.parquet_files import ParquetDataset
from cvbench.storage.datasets.formats.pictures import PictureDataset
from cvbench.storage.datasets.formats.pixels import PixelDataset
from cvbench.storage.datasets.formats.rendered import RenderedDataset
from cvbench.storage.datasets.formats.table_dataset import TableDataset
from cvbench.storage.datasets.formats.wds import TarDataset
from cvbench.storage.datasets.left_out import LeftOut

JOB = "datasets verify"
GROUP = 64
"""Images after which progress is told."""


@dataclass(frozen=True)
class SplitReport:
    """Contents of one split, as they were found.

    Attributes:
        expected: Images as published, None if the registry does not know.
        bytes: Of the files, or of the pixels.
        decoded: Images that were decoded; 0 without `deep`.
        left_out: What lies beside the samples and was not taken, and what they lack.
    """

    split: str
    images: int
    expected: int | None
    classes: int
    bytes: int
    decoded: int
    digest: str
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True)
class Listing:
    """One data set of the registry, and where its files are.

    Attributes:
        found: The folder of its files, None if it is not under the data root.
        splits: What the files hold, of a data set that is named by its files; nothing is known of it otherwise.
    """

    info: DatasetInfo
    found: str | None
    splits: tuple[SplitReport, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        held = {"holds": [asdict(split) for split in self.splits]} if self.splits else {}
        return {**asdict(self.info), "found": self.found, **held}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        kind: "count", "classes", "missing", "shards", "empty", "mask"; with `deep` "changed" or why it is not decoded.
        where: Split, or sample id.
    """

    kind: str
    where: str
    message: str


@dataclass(frozen=True)
class Verification:
    """The result of `verify`."""

    dataset: str
    splits: tuple[SplitReport, ...]
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "ok": self.ok}


def list_datasets(data_root: str | Path | None = None) -> tuple[list[Listing], list[UsageError]]:
    """Every data set of the registry, by name, and why those of plugins cannot be used that cannot."""
    found, problems = [], []
    for name in dataset_names():
        try:
            found.append(describe_dataset(name, data_root))
        except UsageError as error:
            problems.append(error)
    return found, problems


def list_groups() -> dict[str, tuple[str, ...]]:
    """Group of data sets, such as "@robustness" -> its members."""
    from cvbench.storage.datasets.groups import GROUPS

    return dict(GROUPS)


def describe_dataset(spec: str, data_root: str | Path | None = None, columns: str | None = None) -> Listing:
    """Look up `spec` in the registry and find its files; of `folder:PATH` and the like, count what they hold too.

    Args:
        columns: Of a table, as `--columns` has them.

    Raises:
        CvbenchError: Such files cannot be opened.
    """
    spec = with_columns(spec, columns)
    info, found = dataset_info(spec), locate(spec, data_root=data_root)
    if found is None or not info.of_files:
        return Listing(info, None if found is None else str(found))
    names = every_split(spec, data_root=data_root)
    opened = (open_listed(spec, data_root=data_root, split=name) for name in names)
    return Listing(info, str(found), tuple(_report(dataset, info) for dataset in opened))


def verify(
    spec: str,
    data_root: str | Path | None = None,
    split: str | None = None,
    deep: bool = False,
    threads: int | None = None,
    columns: str | None = None,
    listen: Listener = silent,
) -> Verification:
    """Check a data set: its counts against the registry, every file's presence and size, with `deep` every image.

    Args:
        split: One split; else as many as hold every image.
        deep: Also read and decode every image and its mask, which must be as large.
        threads: For decoding; else one for each core.
        columns: Of a table, as `--columns` has them.
        listen: Receives progress of decoding.

    Raises:
        CvbenchError: The data set cannot be opened at all: unknown, not there, or its index is damaged.
    """
    spec = with_columns(spec, columns)
    info = dataset_info(spec)
    reports: list[SplitReport] = []
    problems: list[Problem] = []
    for name in (split,) if split else every_split(spec, data_root=data_root):
        dataset = open_listed(spec, data_root=data_root, split=name)
        present = _present(dataset)
        problems += _check_counts(dataset, info)
        problems += _check_files(dataset)
        problems += _check_masks(dataset)
        problems += [Problem("shards", dataset.split, e.text) for e in dataset.left_out if e.kind == "missing"]
        if deep:
            listen(Started(JOB, f"{info.name}/{dataset.split}", len(present), -(-len(present) // GROUP), 0))
            problems += _decode_all(dataset, present, threads or os.cpu_count() or 1, listen)
            listen(Ended(JOB))
        reports.append(replace(_report(dataset, info), decoded=len(present) if deep else 0))
    return Verification(dataset=spec, splits=tuple(reports), problems=tuple(problems))


def _report(dataset: Dataset, info: DatasetInfo) -> SplitReport:
    return SplitReport(
        split=dataset.split,
        images=len(dataset),
        expected=info.counts.get(dataset.split),
        classes=len(dataset.classes),
        bytes=_bytes(dataset),
        decoded=0,
        digest=dataset.digest,
        left_out=dataset.left_out,
    )


def _check_counts(dataset: Dataset, info: DatasetInfo) -> Iterator[Problem]:
    expected = info.counts.get(dataset.split)
    if expected is not None and len(dataset) != expected:
        yield Problem("count", dataset.split, f"{len(dataset):,} images, {expected:,} were published")
    if info.classes is not None and len(dataset.classes) != info.classes:
        yield Problem("classes", dataset.split, f"{len(dataset.classes)} classes, {info.classes} were published")
    elif info.classes is not None and len(without := _without_image(dataset)):
        first = dataset.classes[without[0]]
        yield Problem("classes", dataset.split, f"{len(without)} classes have no image, first {first}")


def _without_image(dataset: Dataset) -> NDArray[np.int64]:
    """Labels that no sample has."""
    return np.setdiff1d(np.arange(len(dataset.classes)), dataset.labels)


def _check_files(dataset: Dataset) -> Iterator[Problem]:
    if isinstance(dataset, FileDataset):
        for row, (name, size) in enumerate(zip(dataset.ids, dataset.sizes, strict=True)):
            if size == ABSENT:
                yield Problem("missing", name, f"the file is not there: {dataset.where(row)}")
            elif size == 0:
                yield Problem("empty", name, "the file is empty")


def _check_masks(dataset: Dataset) -> Iterator[Problem]:
    """The masks that are not there, as far as that can be seen without a request."""
    if isinstance(dataset, TableDataset) and dataset.masks is not None:
        for row in dataset.missing_masks:
            yield Problem("mask", dataset.ids[row], f"the mask is not there: {dataset.masks[row]}")


def _present(dataset: Dataset) -> list[int]:
    """Indices of the samples that have something to decode."""
    if isinstance(dataset, FileDataset):
        return [int(i) for i in np.flatnonzero(dataset.sizes > 0)]
    return list(range(len(dataset)))


def _bytes(dataset: Dataset) -> int:
    if isinstance(dataset, FileDataset):
        return int(dataset.sizes.clip(min=0).sum())
    if isinstance(dataset, PixelDataset):
        return dataset.pixels.nbytes
    if isinstance(dataset, TarDataset | ParquetDataset | PictureDataset | RenderedDataset):
        return dataset.nbytes
    return 0


def _decode_all(dataset: Dataset, indices: Sequence[int], threads: int, listen: Listener) -> list[Problem]:
    def check(index: int) -> Problem | None:
        return _decoded(dataset, index)

    found: list[Problem] = []
    with ThreadPoolExecutor(threads) as pool:
        checked = pool.map(check, indices)
        for unit, start in enumerate(range(0, len(indices), GROUP)):
            size = min(GROUP, len(indices) - start)
            problems = [problem for problem in itertools.islice(checked, size) if problem is not None]
            listen(Advanced(JOB, unit, size, len(problems)))
            found += problems
    return found


def _decoded(dataset: Dataset, index: int) -> Problem | None:
    """The problem of a sample's image, else of its mask; None if it has none."""
    from cvbench.engine.pictures.decode import decode  # imports torch

    name = dataset.ids[index]
    try:
        height, width, _ = decode(dataset.read(index)).shape
    except DecodeError as err:
        return Problem(err.reason, name, err.what)
    except IntegrityError as err:
        return Problem("changed", name, err.what)
    except DataUnavailableError as err:
        return Problem("missing", name, err.why or err.what)
    if not isinstance(dataset, Masked) or not dataset.has_masks:
        return None
    if isinstance(dataset, TableDataset) and dataset.is_mask_missing(index):
        return None  # said already
    return _masked(dataset, index, name, (height, width))


def _masked(dataset: Masked, index: int, name: str, size: tuple[int, int]) -> Problem | None:
    """The problem of a sample's mask, whose image is (height, width); None if it has none."""
    from cvbench.engine.pictures.masks import check_mask, object_pixels

    try:
        mask = dataset.mask(index)
        if mask is not None:
            check_mask(object_pixels(mask), size, name)
    except DecodeError as err:
        return Problem("mask", name, f"the mask cannot be decoded ({err.reason}): {err.what}")
    except (IntegrityError, DataUnavailableError) as err:
        return Problem("mask", name, err.what + (f": {err.why}" if err.why else ""))
    return None
