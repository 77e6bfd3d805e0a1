"""Objects on S3, Google Cloud Storage and Azure, through obstore. Credentials come from the environment."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from cvbench.errors import (
    AccessError,
    CvbenchError,
    DataUnavailableError,
    ResourceError,
    TransientError,
    UsageError,
)
from cvbench.storage.objects import credentials
from cvbench.storage.objects.base import Objects, too_long
from cvbench.storage.objects.keys import check_key

if TYPE_CHECKING:
    from cvbench.storage.objects.base import Buffer

T = TypeVar("T")

RETRY_SECONDS = 120.0  # that a request may take with all that is tried again
_QUICK = 4  # times that obstore itself tries again, within a second
_PAUSES = (0.1, 0.3, 1.0, 3.0)  # seconds between attempts of what obstore gave up, or does not try again
_OUTAGE = (5.0, 10.0, *(15.0,) * 6)  # and on, where the service is there and does not serve
_UNAVAILABLE = re.compile(r"status code: (?:429|500|502|503|504)\b|operation timed out")
_RETRIED = re.compile(r"after [1-9]\d* retries")
_EXPIRED = ("ExpiredToken", "TokenRefreshRequired", "RequestExpired", "Signature not valid in the specified time")
_NO_CREDENTIALS = ("Missing SecretAccessKey", "Missing AccessKeyId")
REMOTE_SCHEMES = ("s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss")


class _Services:
    """Services that have answered this process: that there is one at all. The name of another breaks off, too."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._lock = threading.Lock()

    def answered(self, url: str) -> None:
        with self._lock:
            self._names.add(self._name(url))

    def has_answered(self, url: str) -> bool:
        with self._lock:
            return self._name(url) in self._names

    @staticmethod
    def _name(url: str) -> str:
        """Bucket, and the endpoint that is asked for it."""
        return f"{os.environ.get('AWS_ENDPOINT_URL', '')} {'/'.join(url.split('/')[:3])}"


_SERVICES = _Services()


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
        retry: Any = {"max_retries": _QUICK, "retry_timeout": timedelta(seconds=RETRY_SECONDS / 4)}
        found: Any = credentials.settings(self.url)
        options: Any = {"allow_http": True} if plain else None
        return from_url(self.url, config=found or None, retry_config=retry, client_options=options)

    def get(self, key: str) -> bytes | None:
        import obstore

        return self._tried(key, lambda: bytes(obstore.get(self._store, check_key(key)).bytes()), None)

    def take(self, key: str, most: int) -> bytes | None:
        import obstore

        def taken() -> bytes:
            answer = obstore.get(self._store, check_key(key))
            if int(answer.meta["size"]) > most:
                raise too_long(key, int(answer.meta["size"]), most)
            return bytes(answer.bytes())

        return self._tried(key, taken, None)

    def part(self, key: str, start: int, stop: int) -> bytes:
        import obstore

        if not 0 <= start < stop:
            return b""
        return self._tried(
            key, lambda: bytes(obstore.get_range(self._store, check_key(key), start=start, end=stop)), b""
        )

    def size(self, key: str) -> int | None:
        import obstore

        def asked() -> int:
            try:
                return int(obstore.head(self._store, check_key(key))["size"])
            except obstore.exceptions.GenericError as error:
                if "400 Bad Request" in str(error):  # a HEAD has no body that would say why; a GET has
                    obstore.get_range(self._store, key, start=0, end=1)
                raise

        return self._tried(key, asked, None)

    def create(self, key: str, *parts: Buffer) -> bool:
        import obstore

        data = bytes(parts[0]) if len(parts) == 1 else b"".join(parts)

        def put() -> bool:
            try:
                # Multipart uploads are not conditional on every service; objects here stay within one put.
                obstore.put(self._store, check_key(key), data, mode="create", use_multipart=False)
            except obstore.exceptions.AlreadyExistsError:
                return False  # be it by an attempt of ours whose answer was lost: callers compare what is there
            return True

        return self._tried(key, put, False)

    def delete(self, key: str) -> None:
        import obstore

        self._tried(key, lambda: obstore.delete(self._store, check_key(key)), None)

    def list(self, prefix: str = "") -> Iterator[str]:
        return iter(sorted(entry["path"] for entry in self._listed(prefix)))

    def _listed(self, prefix: str) -> Sequence[Any]:
        """List all that the service has under a prefix: a listing that breaks off is asked for anew."""
        import obstore

        def pages() -> Sequence[Any]:
            return [entry for page in obstore.list(self._store, prefix.rstrip("/") or None) for entry in page]

        return self._tried(prefix, pages, [])

    def _tried(self, key: str, call: Callable[[], T], absent: T) -> T:
        """`call()`, again with growing pauses where the service failed or a connection broke; `absent` where nothing is
        there.

        A broken put, or one whose answer was lost, may be sent again since it is create-if-absent.

        Raises:
            CvbenchError: What the service said, without secrets and without its cause, which may hold some.
        """
        import obstore

        begin = time.monotonic()
        for attempt, pause in enumerate((*_PAUSES, *_OUTAGE, None)):
            try:
                found = call()
                _SERVICES.answered(self.url)
                return found
            except FileNotFoundError:
                _SERVICES.answered(self.url)
                return absent
            except obstore.exceptions.BaseError as error:
                again = self._passes(str(error), attempt)
                if pause is None or not again or time.monotonic() - begin + pause > RETRY_SECONDS:
                    raise self._translated(error, key) from None
                time.sleep(pause)
        raise AssertionError  # the last pass returns or raises

    def _passes(self, text: str, attempt: int) -> bool:
        """Whether another attempt may do: of what a service says itself, and of connections once it has answered, for
        as long as an outage lasts; else a few times."""
        if _UNAVAILABLE.search(text) or (_SERVICES.has_answered(self.url) and _of_connection(text)):
            return True
        return attempt < len(_PAUSES) and _of_connection(text) and not _RETRIED.search(text)

    def _translated(self, error: Exception, key: str) -> CvbenchError:
        import obstore.exceptions as kinds

        where, text, why = f"{self.url}/{key}", str(error), credentials.said(error)
        if any(word in text for word in _EXPIRED):
            return AccessError(
                "the credentials of the object store have expired",
                where=where,
                why=why,
                fix="renew them, then run the same command again: it resumes",
            )
        if credentials.of_metadata(self.url, text):
            found = "none in the environment or a profile, and the metadata address of this machine gives none"
            return credentials.missing(self.url, f"{found}: {why}")
        if any(word in text for word in _NO_CREDENTIALS):
            return credentials.missing(self.url, why)
        refused = isinstance(error, (kinds.PermissionDeniedError, kinds.UnauthenticatedError))
        if refused or "403 Forbidden" in text or "401 Unauthorized" in text:  # of a listing only the text tells
            variable = "AWS_ACCESS_KEY_ID" if self.url.startswith("s3") else "the credentials in the environment"
            return AccessError(
                "the object store refuses our credentials", where=where, why=why, fix=f"check {variable} and its rights"
            )
        if "NoSuchBucket" in text:
            return DataUnavailableError("the bucket does not exist", where=where)
        kind = TransientError if _UNAVAILABLE.search(text) or _of_connection(text) else ResourceError
        return kind(
            "the object store failed after retries",
            where=where,
            why=why,
            fix="run the same command again: it resumes",
        )


def _of_connection(text: str) -> bool:
    """Whether a connection broke, or none came about."""
    return "HTTP error" in text and "status code" not in text


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
