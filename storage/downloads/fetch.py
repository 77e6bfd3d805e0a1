"""Get one file over HTTP: goes on where it was cut off, tries one place after the other, trusts only a checksum.

What has come so far lies in `<file>.part`, and beside it in `<file>.part.json` what the server called that version (its
ETag or date), so that the rest is asked for of the same version only. What one place has sent is no beginning for
another, which starts at its first byte; and where a resumed file is not what it should be, its place is asked once more
for all of it. The file gets its name once it is whole.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvbench import __version__
from cvbench.errors import DataUnavailableError, IntegrityError, ResourceError
from cvbench.storage.downloads.archive import Archive
from cvbench.storage.downloads.public import RefusedError, opener

BLOCK = 1 << 20
TIMEOUT = 60.0  # seconds without a byte
ATTEMPTS = 5  # in a row that bring nothing new
RESERVE = 64 * 1024 * 1024  # bytes of the disk that are left alone
_AGAIN = {408, 425, 429, 500, 502, 503, 504}

Listener = Callable[[str, int, int | None], None]
"""Hears (file, bytes so far, bytes in all or None)."""


@dataclass(frozen=True)
class Fetched:
    """A file that is whole: its path, size and SHA-256, and where it came from ("" if it was there already)."""

    path: Path
    size: int
    sha256: str
    url: str


class _PlaceError(Exception):
    """This URL does not serve the file; another may."""


class _CutError(Exception):
    """The connection ended early; asking again may help."""


class _OtherPartError(Exception):
    """Another range than was asked for."""


def fetch(
    archive: Archive, folder: Path, *, sha256: str | None = None, listen: Listener, pause: float = 1.0
) -> Fetched:
    """Get one file into `folder`.

    Args:
        sha256: What an earlier download was recorded to be; used where no checksum is published.
        pause: Seconds before the second attempt; doubles with each in a row, up to 30.

    Raises:
        IntegrityError: Every place that answered served something else than the checksum says.
        DataUnavailableError: No place serves it.
        ResourceError: The disk is full, or cannot be written to.
    """
    final, part = folder / archive.file, folder / f"{archive.file}.part"
    if final.is_file():
        with contextlib.suppress(_PlaceError):
            return _checked(archive, final, sha256, "")
        final.unlink(missing_ok=True)
    failures: list[str] = []
    for url in archive.urls:
        try:
            fetched = _from_place(archive, url, part, sha256, listen, pause)
        except _PlaceError as err:
            failures.append(f"{url}: {err}")
            continue
        os.replace(part, final)
        _state(part).unlink(missing_ok=True)
        return Fetched(final, fetched.size, fetched.sha256, url)
    wrong = all("checksum" in failure for failure in failures)
    kind = IntegrityError if wrong else DataUnavailableError
    raise kind(
        f"{archive.file} cannot be downloaded",
        where=str(folder),
        why="; ".join(failures),
        fix=f"get it in another way, put it there as {archive.file}, and run the same command again",
    )


def _from_place(archive: Archive, url: str, part: Path, sha256: str | None, listen: Listener, pause: float) -> Fetched:
    """The whole file from one URL. What an earlier try had left may be what is wrong: then once more, all of it."""
    resumed = _size(part) > 0
    _download(archive, url, part, listen, pause)
    try:
        return _checked(archive, part, sha256, url)
    except _PlaceError:
        if not resumed:
            raise
    _download(archive, url, part, listen, pause)
    return _checked(archive, part, sha256, url)


def _checked(archive: Archive, path: Path, sha256: str | None, url: str) -> Fetched:
    """The file, if it is what it should be; else it is deleted."""
    md5, sha = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(BLOCK):
            md5.update(block)
            sha.update(block)
    size = path.stat().st_size
    wanted_sha = archive.sha256 or (None if archive.md5 else sha256)
    expected = ((archive.md5, md5.hexdigest()), (wanted_sha, sha.hexdigest()))
    for wanted, found in expected:
        if wanted is not None and wanted != found:
            path.unlink()
            _state(path).unlink(missing_ok=True)
            raise _PlaceError(f"wrong checksum: {found}, expected {wanted}")
    return Fetched(path, size, sha.hexdigest(), url)


def _download(archive: Archive, url: str, part: Path, listen: Listener, pause: float) -> None:
    """Fill `part` until it is whole, asking again after each cut."""
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise _PlaceError("not an http or https URL")
    in_vain = 0
    while True:
        before = _size(part)
        try:
            _one_request(archive, url, part, listen)
            return
        except _CutError as err:
            in_vain = in_vain + 1 if _size(part) <= before else 1
            if in_vain >= ATTEMPTS:
                raise _PlaceError(f"{err} ({in_vain} times)") from err
            time.sleep(min(pause * 2 ** (in_vain - 1), 30.0))


def _one_request(archive: Archive, url: str, part: Path, listen: Listener) -> None:
    have, version = _resumable(archive, url, part)
    headers = {"User-Agent": f"cvbench/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-"} | ({"If-Range": version} if version else {})
    try:
        request = urllib.request.Request(url, headers=headers)
        answer = opener(downgraded=archive.vouched).open(request, timeout=TIMEOUT)
    except RefusedError as err:
        raise _PlaceError(str(err)) from err
    except urllib.error.HTTPError as err:
        err.close()
        if err.code == 416 and have:  # nothing is left to send, or the file has become shorter
            if err.headers.get("Content-Range", "") == f"bytes */{have}":
                return
            part.unlink()
            raise _CutError("the part did not fit") from err
        raise (_CutError if err.code in _AGAIN else _PlaceError)(f"HTTP {err.code} {err.reason}") from err
    except (OSError, http.client.HTTPException) as err:  # URLError, timeouts, refused connections
        raise _CutError(str(getattr(err, "reason", err)) or type(err).__name__) from err
    with answer:
        _receive(archive, url, part, answer, have, listen)


def _receive(archive: Archive, url: str, part: Path, answer: Any, have: int, listen: Listener) -> None:
    if answer.headers.get_content_type() == "text/html":
        raise _PlaceError("the server answers with a web page")
    try:
        start, total = _extent(answer, have)
    except _OtherPartError as err:
        if not have:
            raise _PlaceError(str(err)) from err
        part.unlink()  # this server's ranges are not to be trusted: all of it, then
        raise _CutError(str(err)) from err
    if archive.size is not None and total is not None and total != archive.size:
        raise _PlaceError(f"the file there has {total:,} bytes, expected {archive.size:,}")
    _check_space(part.parent, None if total is None else total - start)
    version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
    weak = version.startswith("W/")
    _state(part).write_text(json.dumps({"url": url, "version": "" if weak else version}))
    done = start
    try:
        with open(part, "r+b" if start else "wb") as handle:
            handle.seek(start)
            handle.truncate()
            while block := _next_block(answer):
                done += len(block)
                if archive.size is not None and done > archive.size:
                    raise _PlaceError(f"it sends more than the {archive.size:,} bytes of the file")
                handle.write(block)
                listen(archive.file, done, total)
                _check_space(part.parent, None)
    except _PlaceError:
        part.unlink(missing_ok=True)
        raise
    except OSError as err:
        if isinstance(err, ResourceError):
            raise
        full = err.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise ResourceError(
            "no space left for the download" if full else "the download cannot be written",
            where=str(part),
            why=err.strerror,
            fix="free space, then run the same command again: it goes on from there",
        ) from err
    expected = total if total is not None else archive.size
    if expected is not None and done != expected:
        raise _CutError(f"the connection ended after {done:,} of {expected:,} bytes")


def _next_block(answer: Any) -> bytes:
    try:
        return bytes(answer.read(BLOCK))
    except (OSError, http.client.HTTPException) as err:
        raise _CutError(f"the connection ended: {str(err) or type(err).__name__}") from err


def _resumable(archive: Archive, url: str, part: Path) -> tuple[int, str]:
    """(bytes that can be kept, version to ask for). Without a version only a checksum can vouch for the rest."""
    have = _size(part)
    state: Any = None
    with contextlib.suppress(OSError, ValueError, RecursionError):
        state = json.loads(_state(part).read_text())
    known = state if isinstance(state, dict) else {}
    version = known.get("version", "")
    if not isinstance(version, str) or not version.isprintable():
        version = ""
    other = known.get("url", url) != url
    if have and (other or (not version and not archive.vouched)):
        part.unlink()
        return 0, ""
    return have, version


def _extent(answer: Any, have: int) -> tuple[int, int | None]:
    """(offset of the first byte that comes, bytes of the whole file if the server says)."""
    length = answer.headers.get("Content-Length")
    if answer.status != 206:
        return 0, _count(length)
    unit, _, extent = (answer.headers.get("Content-Range") or "").partition(" ")
    first, _, total = extent.partition("/")
    if unit != "bytes" or first.partition("-")[0] != str(have):
        raise _OtherPartError("the server sends another part than was asked for")
    return have, _count(total)


def _count(text: str | None) -> int | None:
    """A number of bytes in a header, if it is one."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) <= 18 else None


def _check_space(folder: Path, more: int | None) -> None:
    free = shutil.disk_usage(folder).free
    if free < (more or 0) + RESERVE:
        raise ResourceError(
            "not enough space for the download",
            where=str(folder),
            why=f"{free:,} bytes are free, {more or 0:,} more are needed, and {RESERVE:,} are left alone",
            fix="free space, then run the same command again: it goes on from there",
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _state(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")
