"""What a job asks of a data set, and what describes one before it is opened."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError
from cvbench.storage.datasets.left_out import LeftOut
from cvbench.texts import repeated

Transform = tuple[str, Mapping[str, float]]
"""What is done to an image beyond a backbone's own preprocessing, as plain data: ("scale", {"factor": 1.25})."""


class Dataset(Protocol):
    """An ordered list of samples. A sample keeps its index and its id for as long as `digest` is the same.

    Every data set can be pickled, and `open_dataset(spec, split=split)` opens the same one where its files are.

    Attributes:
        name: Key in the feature store, of [a-z0-9._-], such as "cub200" or "folder-birds".
        split: One of the data set's splits.
        spec: What `open_dataset` opens it by; a folder's path is absolute.
        classes: Class names by label.
        ids: Unique sample ids in order: a relative path, or such as "test/00012".
        labels: (N,) int64, -1 for none.
        factors: Name -> (N,) numeric or unicode array: what else is known of each sample.
        transform: What is to be done to every image once it is decoded; None but for a `variant.VariantDataset`.
        left_out: What lies beside the samples and was not taken, and what they lack; no part of `digest`.
    """

    @property
    def name(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def spec(self) -> str: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def ids(self) -> Sequence[str]: ...
    @property
    def labels(self) -> NDArray[np.int64]: ...
    @property
    def factors(self) -> Mapping[str, NDArray[Any]]: ...
    @property
    def transform(self) -> Transform | None: ...
    @property
    def left_out(self) -> tuple[LeftOut, ...]: ...

    def __len__(self) -> int: ...

    def read(self, index: int) -> bytes | NDArray[np.uint8]:
        """The sample as it is stored: an encoded image, or pixels (H, W) or (H, W, 3).

        Raises:
            IntegrityError: The file has changed since the data set was opened.
            DataUnavailableError: The file is gone or cannot be read.
        """

    @property
    def digest(self) -> str:
        """Hex sha256 over name, split, classes, ids, labels, factors and the files' sizes (or the pixels)."""


@dataclass(frozen=True)
class DatasetInfo:
    """Facts that the registry knows of a data set without opening it.

    Attributes:
        name: Its spec; "folder" stands for every `folder:PATH`.
        counts: Split -> images, as published; empty if there is nothing to compare with.
        classes: Number of classes, None if it depends on the files.
        homepage: Where to get it.
        tree: The files that are expected, one pattern a line.
        argument: What may follow a colon in the spec, for a person to read; "PATH" means files. Empty if nothing may.
        notes: What to know of the images or the splits, one sentence a line.
        split_rule: How the splits were made, if not by the data set's authors: stands with every transfer result.
        held_out: Share of the training samples that validate in a transfer, since no split does; 0 is none.
    """

    name: str
    title: str
    splits: tuple[str, ...]
    default_split: str
    counts: Mapping[str, int]
    classes: int | None
    licence: str
    homepage: str
    tree: str
    argument: str = ""
    notes: str = ""
    split_rule: str = ""
    held_out: float = 0.0

    @property
    def of_files(self) -> bool:
        """Whether the spec must name the files: `folder:PATH`."""
        return self.argument == "PATH"


@runtime_checkable
class Reader(Protocol):
    """One kind of data set: a module's entry in the registry."""

    @property
    def info(self) -> DatasetInfo:
        """Facts known of the data set without opening it."""

    def locate(self, argument: str, root: Path | None) -> Path | None:
        """Find the files, without reading them; None if nowhere under `root`."""

    def every_split(self, argument: str, root: Path | None) -> tuple[str, ...]:
        """The splits that together hold every image once."""

    def open(self, argument: str, root: Path | None, split: str | None) -> Dataset:
        """Open a split. `argument` is what follows the colon of the spec."""


@runtime_checkable
class Variants(Protocol):
    """A reader whose argument chooses one of several official forms of the data set, such as another partition."""

    @property
    def forms(self) -> tuple[str, ...]:
        """Words that may follow the colon, the usual form first."""

    def variant(self, argument: str) -> DatasetInfo:
        """Facts known of that form.

        Raises:
            UnknownNameError: There is no such form.
        """


@runtime_checkable
class OfFiles(Protocol):
    """A reader whose argument names the files."""

    def key(self, argument: str) -> str:
        """The name of the data set in a store; of an absolute path or a URL."""


@runtime_checkable
class Masked(Protocol):
    """A data set that can say which pixels of an image are its object's."""

    @property
    def has_masks(self) -> bool:
        """Whether it says so of its images; if not, `mask` gives None."""

    def mask(self, index: int) -> bytes | NDArray[np.bool_] | None:
        """The sample's mask, as large as its image: an encoded picture, or (H, W) bool; None if it has none.

        Raises:
            DataUnavailableError: The file is gone or cannot be read.
            IntegrityError: It is larger than a mask may be.
        """


@runtime_checkable
class Columned(Protocol):
    """A reader whose argument may name columns behind the path: `columns`."""

    @property
    def roles(self) -> tuple[str, ...]:
        """Names of what a column can be."""


MAX_ID = 4_096
"""Characters of a sample's id. Ids are kept in arrays as wide as the longest: one name must not decide their size."""


def check_unique(ids: Sequence[str], where: str) -> None:
    """Refuse a manifest that names a sample twice, or by a name that no file can have."""
    if long := next((name for name in ids if len(name) > MAX_ID), None):
        raise IntegrityError(f"a sample's name of {len(long):,} characters: {long[:40]!r}...", where=where)
    if len(set(ids)) != len(ids):
        raise IntegrityError(f"sample {repeated(ids)!r} is listed twice", where=where)


def manifest_digest(
    *,
    name: str,
    split: str,
    classes: Sequence[str],
    ids: Sequence[str],
    arrays: Mapping[str, NDArray[Any]],
) -> str:
    """Hex sha256 of a manifest, the same on every machine.

    Args:
        arrays: Everything numeric that identifies the samples; keys are sorted, numbers hashed little-endian.
    """
    header = {"manifest": 1, "name": name, "split": split, "classes": list(classes), "ids": list(ids)}
    digest = hashlib.sha256(json.dumps(header, ensure_ascii=True, sort_keys=True).encode())
    for key in sorted(arrays):
        array = arrays[key]
        portable = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
        digest.update(f"\n{key} {portable.dtype.str} {portable.shape}\n".encode())
        digest.update(portable.data if portable.dtype.kind != "U" else portable.tobytes())
    return digest.hexdigest()
