"""The samples of a table: image files and objects anywhere, and the masks that belong to them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cvbench.errors import IntegrityError
from cvbench.storage.datasets.formats.files import FileDataset, read_bounded
from cvbench.storage.objects.bucket import Bucket

MOST_MASK = 64_000_000
"""Bytes of a mask's file."""


@dataclass(frozen=True, eq=False)
class TableDataset(FileDataset):
    """A data set whose sample `i` is at `places[i]`: a path below `root`, an absolute path, or a URL.

    Attributes:
        masks: The place of each sample's mask, "" for none; None if no column is of masks. Checked as `places` are.
    """

    places: tuple[str, ...]
    masks: tuple[str, ...] | None = None

    def where(self, index: int) -> str:
        """The place of a sample's file."""
        return self._where(self.places[index])

    def _where(self, place: str) -> str:
        return place if "://" in place else os.path.join(self.root, place)

    def path(self, index: int) -> Path:
        """The file of a sample that is on this machine."""
        return Path(self.where(index))

    def read(self, index: int) -> bytes:
        """The file's bytes; refused if its size is not the one found when the data set was opened."""
        place, size = self.places[index], int(self.sizes[index])
        if "://" not in place:
            return super().read(index)
        url, key = Bucket.split(place)
        data, total = self._bucket(url).read(key, 0, size + 1)
        if total != size or len(data) != size:
            raise IntegrityError(
                "the object changed after the data set was opened",
                where=place,
                why=f"it had {size:,} bytes, now {total:,}",
                fix="leave the files alone while a job runs, then start it again",
            )
        return data

    @property
    def has_masks(self) -> bool:
        """Whether the table has a column of masks."""
        return self.masks is not None

    @property
    def missing_masks(self) -> list[int]:
        """Indices of the samples whose mask is a file of this machine that is not there."""
        return [index for index in range(len(self.masks or ())) if self.is_mask_missing(index)]

    def is_mask_missing(self, index: int) -> bool:
        """Whether the sample's mask is a file of this machine that is not there."""
        place = self.masks[index] if self.masks is not None else ""
        return is_missing(self._where(place), place)

    def mask(self, index: int) -> bytes | None:
        """The bytes of the sample's mask, None where its row names none.

        Raises:
            DataUnavailableError: It cannot be read.
            IntegrityError: It is larger than `MOST_MASK`.
        """
        place = self.masks[index] if self.masks is not None else ""
        if not place:
            return None
        too_large = f"a mask has {{size}} bytes, more than {MOST_MASK:,}"
        if "://" not in place:
            return read_bounded(Path(self._where(place)), MOST_MASK, what="a mask", too_large=too_large)
        url, key = Bucket.split(place)
        data, total = self._bucket(url).read(key, 0, MOST_MASK)
        if total > MOST_MASK:
            raise IntegrityError(too_large.format(size=f"{total:,}"), where=place)
        return data

    @cached_property
    def _buckets(self) -> dict[str, Bucket]:
        return {}

    def _bucket(self, url: str) -> Bucket:
        return self._buckets.setdefault(url, Bucket(url))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_buckets"}


def is_missing(path: str, place: str) -> bool:
    """Whether `path` is no file, of a place that can be looked at without a request."""
    return bool(place) and "://" not in place and not os.path.isfile(path)
