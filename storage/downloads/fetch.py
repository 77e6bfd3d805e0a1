"""Get one file over HTTP: goes on where it was cut off, tries one place after the other, trusts only a checksum.

What has come so far lies in `<file>.part`, and beside it in `<file>.part.json` what the server called that version (its
ETag or date), so that the rest is asked for of the same version only. The file gets its name once it is whole.
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
            _download(archive, url, part, listen, pause)
            fetched = _checked(archive, part, sha256, url)
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
        answer = _opener().open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
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
    start, total = _extent(answer, have)
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
                handle.write(block)
                done += len(block)
                listen(archive.file, done, total)
                _check_space(part.parent, None)
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
    if total is not None and done != total:
        raise _CutError(f"the connection ended after {done:,} of {total:,} bytes")


def _next_block(answer: Any) -> bytes:
    try:
        return bytes(answer.read(BLOCK))
    except (OSError, http.client.HTTPException) as err:
        raise _CutError(f"the connection ended: {str(err) or type(err).__name__}") from err


def _resumable(archive: Archive, url: str, part: Path) -> tuple[int, str]:
    """(bytes that can be kept, version to ask for). Without a version only a checksum can vouch for the rest."""
    have = _size(part)
    state: dict[str, str] = {}
    with contextlib.suppress(OSError, ValueError):
        state = json.loads(_state(part).read_text())
    version = state.get("version", "") if state.get("url") == url else ""
    if have and not version and not archive.vouched:
        part.unlink()
        return 0, ""
    return have, version


def _extent(answer: Any, have: int) -> tuple[int, int | None]:
    """(offset of the first byte that comes, bytes of the whole file if the server says)."""
    length = answer.headers.get("Content-Length")
    if answer.status != 206:
        return 0, int(length) if length and length.isdecimal() else None
    unit, _, extent = (answer.headers.get("Content-Range") or "").partition(" ")
    first, _, total = extent.partition("/")
    if unit != "bytes" or first.partition("-")[0] != str(have):
        raise _PlaceError("the server sends another part than was asked for")
    return have, int(total) if total.isdecimal() else None


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


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to http and https only."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urllib.parse.urlsplit(newurl).scheme not in ("http", "https"):
            raise _PlaceError(f"the server redirects to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_Redirects)
