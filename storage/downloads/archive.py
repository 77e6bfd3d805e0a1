"""What a download is made of: archives, and the data set (or the annotations of one) that they make."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Archive:
    """One file to fetch.

    Attributes:
        file: What it is called here.
        urls: Where it is, tried in order; all serve the same bytes.
        md5, sha256: As published, or None.
        size: In bytes as published, or None.
        unpack: False for a file that is used as it is.
        inner: Archives inside of it that are unpacked too, each in its own folder.
        beside: For a file that is used as it is: the file of an earlier archive that it is put next to; else it lies at
            the top.
    """

    file: str
    urls: tuple[str, ...]
    md5: str | None = None
    size: int | None = None
    unpack: bool = True
    inner: tuple[str, ...] = ()
    sha256: str | None = None
    beside: str | None = None

    @property
    def vouched(self) -> bool:
        """Whether a published checksum says what it must be."""
        return self.md5 is not None or self.sha256 is not None


@dataclass(frozen=True)
class About:
    """Facts for a person on files that are no data set of the registry, but annotations of one."""

    title: str
    licence: str
    homepage: str


@dataclass(frozen=True)
class Source:
    """The archives of a data set, and the folder below the data root that they are unpacked into.

    Attributes:
        dataset: A name of the registry, unless `about` is set.
        about: Of files of annotations.
    """

    dataset: str
    folder: str
    archives: tuple[Archive, ...]
    about: About | None = None
