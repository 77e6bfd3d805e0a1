"""Byte ranges of objects on S3, Google Cloud Storage and Azure, and an object as a file."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from cvbench.errors import DataUnavailableError, UsageError
from cvbench.storage.objects.remote import REMOTE_SCHEMES, RemoteObjects

BLOCK = 4 * 1024 * 1024
"""Bytes that a RangedFile fetches at a time: a few requests' worth of latency at the speed of one stream."""


class Bucket(RemoteObjects):
    """The objects of one bucket, read by range."""

    @staticmethod
    def split(url: str) -> tuple[str, str]:
        """(URL of the bucket, key) of an object's URL.

        Raises:
            UsageError: A scheme that is not an object store's.
        """
        scheme, _, rest = url.partition("://")
        if scheme not in REMOTE_SCHEMES:
            raise UsageError(f"unknown kind of place {scheme}://", where=url, fix="use a path, s3://, gs:// or az://")
        bucket, _, key = rest.partition("/")
        return f"{scheme}://{bucket}", key

    def sizes(self, prefix: str) -> dict[str, int]:
        """Key -> bytes of all objects under a prefix (empty, or a folder with its final `/`)."""
        return {entry["path"]: int(entry["size"]) for entry in self._listed(prefix)}

    def read(self, key: str, start: int, size: int) -> tuple[bytes, int]:
        """(bytes from `start` on, at most `size`; bytes of the whole object).

        Raises:
            DataUnavailableError: The object is gone.
            ResourceError: The service refuses us, or fails after retries.
        """
        import obstore

        def asked() -> tuple[bytes, int]:
            if size == 0:
                return b"", int(obstore.head(self._store, key)["size"])
            answer: Any = obstore.get(self._store, key, options={"range": (start, start + size)})
            return bytes(answer.bytes()), int(answer.meta["size"])

        found = self._tried(key, asked, None)
        if found is None:
            raise DataUnavailableError("a shard is gone", where=f"{self.url}/{key}")
        return found


class RangedFile(io.RawIOBase):
    """A read-only file over a function that returns byte ranges; keeps one block.

    Args:
        fetch: (start, size) -> exactly these bytes.
        size: Bytes of the whole.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        super().__init__()
        self._fetch = fetch
        self._size = size
        self._at = 0
        self._start = 0
        self._block = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), self._size - self._at)
        if wanted <= 0:
            return 0
        begin = self._at - self._start
        if not 0 <= begin < len(self._block):
            self._start = self._at
            self._block = self._fetch(self._at, min(max(wanted, BLOCK), self._size - self._at))
            begin = 0
        part = self._block[begin : begin + wanted]  # may be short; whoever wants all of it asks again
        view[: len(part)] = part
        self._at += len(part)
        return len(part)

    def read(self, size: int = -1) -> bytes:
        """Exactly `size` bytes, fewer at the end only: tar and Parquet readers count on it."""
        left = self._size - self._at if size < 0 else min(size, max(self._size - self._at, 0))
        parts = []
        while left > 0:
            part = bytearray(left)
            count = self.readinto(part)
            parts.append(bytes(part[:count]))
            left -= count
        return b"".join(parts)
