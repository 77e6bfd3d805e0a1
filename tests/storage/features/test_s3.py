"""The same store on an S3 service (moto's server on the loopback interface): one winner, shards, clear refusals."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import numpy as np
import pytest

from cvbench.errors import DataUnavailableError, ResourceError
from cvbench.storage.care.verify import gc, verify
from cvbench.storage.features import FeatureStore
from cvbench.storage.objects.base import Objects
from cvbench.storage.objects.open import open_objects
from tests.storage.objects.creators import check_one_wins
from tests.storage.small_store import (
    GROUP,
    MAP_SPEC,
    MAPS,
    SPECS,
    TAPS,
    UNITS,
    contents,
    declare,
    extract,
    features,
    write_unit,
)


@pytest.fixture
def objects(empty_bucket: str) -> Objects:
    return open_objects(f"s3://{empty_bucket}/runs/one")


def test_objects(objects: Objects) -> None:
    assert objects.get("a/b") is None
    assert objects.size("a/b") is None
    assert objects.create("a/b", b"one", b"two")
    assert not objects.create("a/b", b"other")
    assert (objects.get("a/b"), objects.size("a/b")) == (b"onetwo", 6)
    objects.create("ab", b"")
    assert list(objects.list("a/")) == ["a/b"]
    assert list(objects.list()) == ["a/b", "ab"]
    objects.delete("a/b")
    objects.delete("a/b")
    assert list(objects.list()) == ["ab"]


def test_of_many_creators_one_wins(objects: Objects) -> None:
    check_one_wins(objects, "k", 1000)


def test_a_store_is_written_read_verified_and_extended(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "cvbench.storage.features.units.INNER_BYTES", 100
    )  # so that a tiny unit has a shard of several chunks
    store = FeatureStore.open(objects, "a")
    declare(store)
    write_unit(store, UNITS[1])
    assert extract(FeatureStore.open(objects.url, "a")) == 2
    assert extract(store, [MAP_SPEC], MAPS) == 3
    before = contents(objects)
    assert extract(FeatureStore.open(objects.url, "a")) == 0
    assert contents(objects) == before

    reader = FeatureStore.open(objects.url)
    for spec in SPECS:
        np.testing.assert_array_equal(reader.layer(GROUP, spec.tap).numpy(), features(spec))
    maps = reader.layer(MAPS, "blocks.0")
    np.testing.assert_array_equal(maps.numpy(), features(MAP_SPEC))
    assert [len(maps.commit(unit).taps["blocks.0"].objects) for unit in UNITS] == [
        1,
        1,
        1,
    ]  # a shard per unit and layer
    assert reader.encoding(MAPS, "blocks.0").document["codecs"][0]["name"] == "sharding_indexed"
    assert verify(reader, deep=True).problems == ()
    assert gc(store, orphans=True).removed == ()


def test_plain_zarr_reads_it(objects: Objects) -> None:
    import zarr

    from cvbench.storage.features.codecs import quiet

    extract(FeatureStore.open(objects, "a"))
    with quiet():
        url = zarr.storage.ObjectStore(objects._store, read_only=True)  # type: ignore[attr-defined]
        array = zarr.open_array(url, path=f"{GROUP.path}/{TAPS[0]}", mode="r")
    np.testing.assert_array_equal(np.asarray(array[:]), features(SPECS[0]))


def test_a_bucket_that_is_not_there(objects: Objects) -> None:
    with pytest.raises(DataUnavailableError, match="bucket"):
        FeatureStore.open("s3://no-such-bucket-here/x", "a")


class _Scripted(BaseHTTPRequestHandler):
    """A service that answers with the statuses of `script`, then with an object."""

    script: ClassVar[list[int]] = []

    def do_GET(self) -> None:
        status = self.script.pop(0) if self.script else 200
        body = b"bytes" if status == 200 else b""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "ETag": '"1"', "Last-Modified": _DATE}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silent."""


_DATE = "Tue, 24 Nov 2026 00:00:00 GMT"


@pytest.fixture
def scripted(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> Iterator[Objects]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Scripted)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    yield open_objects("s3://bucket/x")
    server.shutdown()
    thread.join()
    server.server_close()


def test_passing_failures_of_the_service_are_retried(scripted: Objects) -> None:
    _Scripted.script[:] = [503, 503]
    assert scripted.get("a") == b"bytes"
    assert _Scripted.script == []


def test_refused_credentials_say_so_at_once(scripted: Objects) -> None:
    _Scripted.script[:] = [403]
    with pytest.raises(ResourceError, match="refuses our credentials"):
        scripted.get("a")


def test_a_service_that_does_not_answer(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvbench.storage.objects.remote.RETRY_SECONDS", 0.2)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ResourceError, match="after retries") as error:
        open_objects(objects.url).get("a")
    assert "same command again" in str(error.value)
    assert "test" not in (error.value.why or "").split()  # no credentials in messages
