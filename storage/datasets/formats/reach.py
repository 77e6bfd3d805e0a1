"""Which places a list of images may name, where it is not trusted: `@within=.`, or `@within=/data;s3://bucket`.

A list of one's own names absolute paths, links and objects as it likes. One of somebody else would choose which files
of this machine, and which buckets that our credentials open, are read, shown in a report and asked for. So whoever
opens such a list says the places below which it may: "." is its own folder or bucket, which is always among them.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Sequence

from cvbench.errors import UsageError
from cvbench.storage.datasets.columns import pairs_text
from cvbench.storage.datasets.formats.text_table import Cells
from cvbench.storage.objects.bucket import Bucket

OWN = "."
"""The place that a list has without being given one: its folder or bucket."""


class Reach:
    """The places that a list may name.

    Args:
        base: Folder or URL that its relative paths start from.
        within: Further folders and URLs, with `;` between them; "." adds none.
        own: The list's own folder, where the base lies in it: then the base may be no link that leads out of it.

    Raises:
        UsageError: One of them is neither an absolute path nor the URL of an object store.
    """

    def __init__(self, base: str, within: str, own: str = "") -> None:
        more = [place for place in within.split(";") if place not in ("", OWN)]
        for place in more:
            if "://" in place:
                Bucket.split(place)
            elif not place.startswith("/"):
                raise UsageError(f"within={place} is no absolute path", fix="within=/FOLDER or within=s3://BUCKET")
        self._base = base
        own = own if own and base.startswith(f"{own.rstrip('/')}/") else base
        folders = [place for place in (own, *more) if "://" not in place]
        self._folders = tuple(_real(folder or "/") for folder in folders)
        opened = [Bucket.split(base)[0]] if "://" in base else []  # who opens a list of a bucket opens the bucket
        self._urls = tuple(f"{url.rstrip('/')}/" for url in (*opened, *(place for place in more if "://" in place)))
        self._seen: dict[str, str] = {}  # folder -> where it is, links resolved

    def check(self, places: Sequence[str], rows: Sequence[int], table: Cells) -> None:
        """Refuse the first place that leads out, be it by its name or through a link.

        Args:
            places: A place of each of `rows`: below the base, absolute, or a URL; "" for none.
            rows: Rows of the table.

        Raises:
            UsageError: Naming its row, and what would allow it.
        """
        for place, row in zip(places, rows, strict=True):
            if place and (leads := self._out(place)):
                allow = pairs_text({"within": leads})
                raise UsageError(
                    f"the table names {place[:80]!r}, which is not below its folder",
                    where=table.place(row),
                    why="`within` says where its images may be",
                    fix=f"if this one may be read: --columns {shlex.quote(allow[1:])}, or {allow} behind its name",
                )

    def allows(self, place: str) -> bool:
        """Whether a place, as of `check`, does not lead out."""
        return not self._out(place)

    def _out(self, place: str) -> str:
        """The folder or bucket that a place leads to, if that is not allowed; else ""."""
        if "://" in place:
            allowed = place.startswith(self._urls) and not {".", ".."} & {*place.split("/")}
            return "" if allowed else Bucket.split(place)[0]
        path = os.path.join(self._base, place)
        folder, name = os.path.split(path)
        if folder not in self._seen:
            self._seen[folder] = _real(folder)
        real = os.path.join(self._seen[folder], name)
        if _is_link(path):
            real = _real(path)
        inside = any(real.startswith(folder if folder == "/" else f"{folder}/") for folder in self._folders)
        return "" if inside else os.path.dirname(real)


def _real(path: str) -> str:
    return os.path.realpath(path)


def _is_link(path: str) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(path).st_mode)
    except OSError:  # what is not there is said where its size is asked for
        return False
