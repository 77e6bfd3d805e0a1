"""Objects on S3, Google Cloud Storage and Azure, through obstore. Credentials come from the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from cvbench.errors import CvbenchError, DataUnavailableError, ResourceError, UsageError
from cvbench.storage.objects.base import Objects, too_long
from cvbench.storage.objects.keys import check_key

if TYPE_CHECKING:
    from cvbench.storage.objects.base import Buffer

RETRY_SECONDS = 120.0  # of 5xx, 429 and broken connections, with growing pauses
REMOTE_SCHEMES = ("s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss")


class RemoteObjects(Objects):
    """Objects under one URL prefix. `create` is the service's conditional put: exactly one of many writers wins."""

    sharded: ClassVar[bool] = True

    def __init__(self, url: str) -> None:
        _refuse_secrets(url)
        self.url = url.rstrip("/")

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.url,))

    @cached_property
    def _store(self) -> Any:
        from obstore.store import from_url

        # Plain http is refused by default; an endpoint the user spelt with http:// is meant that way (MinIO, tests).
        plain = os.environ.get("AWS_ENDPOINT_URL", os.environ.get("AWS_ENDPOINT", "")).startswith("http://")
        retry: Any = {"max_retries": 8, "retry_timeout": timedelta(seconds=RETRY_SECONDS)}
        return from_url(self.url, retry_config=retry, client_options={"allow_http": True} if plain else None)

    def get(self, key: str) -> bytes | None:
        import obstore

        try:
            return bytes(obstore.get(self._store, check_key(key)).bytes())
        except FileNotFoundError:
            return None
        except obstore.exceptions.BaseError as error:
            raise self._translated(error, key) from error

    def take(self, key: str, most: int) -> bytes | None:
        import obstore

        try:
            answer = obstore.get(self._store, key)
            if int(answer.meta["size"]) > most:
                raise too_long(key, int(answer.meta["size"]), most)
            return bytes(answer.bytes())
        except FileNotFoundError:
            return None
        except obstore.exceptions.BaseError as error:
            raise self._translated(error, key) from error

    def part(self, key: str, start: int, stop: int) -> bytes:
        import obstore

        if not 0 <= start < stop:
            return b""
        try:
            return bytes(obstore.get_range(self._store, key, start=start, end=stop))
        except FileNotFoundError:
            return b""
        except obstore.exceptions.BaseError as error:
            raise self._translated(error, key) from error

    def size(self, key: str) -> int | None:
        import obstore

        try:
            return int(obstore.head(self._store, check_key(key))["size"])
        except FileNotFoundError:
            return None
        except obstore.exceptions.BaseError as error:
            raise self._translated(error, key) from error

    def create(self, key: str, *parts: Buffer) -> bool:
        import obstore

        data = bytes(parts[0]) if len(parts) == 1 else b"".join(parts)
        try:
            # Multipart uploads are not conditional on every service; objects here stay within one put.
            obstore.put(self._store, check_key(key), data, mode="create", use_multipart=False)
        except obstore.exceptions.AlreadyExistsError:
            return False
        except obstore.exceptions.BaseError as error:
            raise self._translated(error, key) from error
        return True

    def delete(self, key: str) -> None:
        import obstore

        try:
            obstore.delete(self._store, check_key(key))
        except FileNotFoundError:
            return
        except obstore.exceptions.BaseError as error:
            raise self._translated(error, key) from error

    def list(self, prefix: str = "") -> Iterator[str]:
        import obstore

        keys: list[str] = []
        try:
            for page in obstore.list(self._store, prefix.rstrip("/") or None):
                keys += [entry["path"] for entry in page]
        except obstore.exceptions.BaseError as error:
            raise self._translated(error, prefix) from error
        return iter(sorted(keys))

    def _translated(self, error: Exception, key: str) -> CvbenchError:
        import obstore.exceptions as kinds

        where = f"{self.url}/{key}"
        if isinstance(error, (kinds.PermissionDeniedError, kinds.UnauthenticatedError)):
            return ResourceError(
                "the object store refuses our credentials", where=where, fix="check AWS_ACCESS_KEY_ID and its rights"
            )
        if "NoSuchBucket" in str(error):
            return DataUnavailableError("the bucket does not exist", where=where)
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return ResourceError(
            "the object store failed after retries",
            where=where,
            why=first,
            fix="run the same command again: it resumes",
        )


def _refuse_secrets(url: str) -> None:
    """Raise UsageError for a URL with credentials, which errors, hints and results would print; never shows it.

    Azure's `abfs://CONTAINER@ACCOUNT...` names a place; a colon before the place's end, or a query, is a secret's.
    """
    scheme, _, rest = url.partition("://")
    place = rest.partition("/")[0]
    if ":" in place or "?" in rest or ("@" in place and scheme in ("s3", "s3a", "gs")):
        raise UsageError(
            "the URL of a store must not hold credentials",
            where=f"{scheme}://...",
            why="URLs are printed and written into results",
            fix="put them into the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or the like)",
        )
