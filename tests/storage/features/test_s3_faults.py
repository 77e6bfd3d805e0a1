"""Stores, results and data sets behind a service that misbehaves: the same bytes as undisturbed (F18)."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pytest
import xarray

from cvbench.errors import AccessError, CvbenchError
from cvbench.storage.care.verify import verify
from cvbench.storage.datasets import open_dataset
from cvbench.storage.features import FeatureStore
from cvbench.storage.objects.open import open_objects
from cvbench.storage.results.outcomes import ResultKey, get_partial, load_result, put_partial, save_result
from tests.storage.datasets.shard_trees import write_shards
from tests.storage.objects.fault_proxy import Fault, FaultProxy
from tests.storage.s3_service import proxied_service
from tests.storage.small_store import GROUP, SPECS, UNITS, contents, extract, features

_numbers = itertools.count()
PASSING: tuple[Fault, ...] = ("503", "429", "cut", "lost", "reset")
RESULT = ResultKey("digits", "all", "cka", "0123abcd")


@pytest.fixture(scope="module")
def service() -> Iterator[FaultProxy]:
    with proxied_service("stores") as proxy:
        yield proxy


@pytest.fixture
def proxy(service: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    monkeypatch.setattr("cvbench.storage.objects.remote._PAUSES", (0.01, 0.02, 0.05, 0.1))
    monkeypatch.setattr("cvbench.storage.objects.remote._OUTAGE", (0.01,) * 2)
    monkeypatch.setattr("cvbench.storage.objects.remote._QUICK", 1)
    service.well()
    service.count.clear()
    yield service
    service.well()


def place() -> str:
    return f"s3://stores/{next(_numbers)}"


def run(url: str) -> None:
    """A tiny extraction, a partial of each unit and a result."""
    store = FeatureStore.open(url, "a")
    extract(store)
    for unit in UNITS:
        put_partial(store, RESULT, unit.index, {"sum": np.full(3, float(unit.index))})
    save_result(store, RESULT, xarray.Dataset({"cka": (("a", "b"), np.eye(2))}))


@pytest.fixture(scope="module")
def undisturbed(service: FaultProxy) -> dict[str, str]:
    service.well()
    url = place()
    run(url)
    return contents(open_objects(url))


@pytest.mark.parametrize("fault", PASSING)
def test_a_run_through_faults_leaves_the_same_bytes(
    proxy: FaultProxy, undisturbed: dict[str, str], fault: Fault
) -> None:
    url = place()
    proxy.random(fault, share=0.1, seed=1)
    run(url)
    store = FeatureStore.open(url)
    for spec in SPECS:
        np.testing.assert_array_equal(store.layer(GROUP, spec.tap).numpy(), features(spec))
    assert get_partial(store, RESULT, 1) is not None
    assert load_result(store, RESULT) is not None
    assert verify(store, deep=True).ok
    assert proxy.count[fault] >= 5
    proxy.well()
    assert contents(open_objects(url)) == undisturbed


@pytest.mark.parametrize("key", ["/commits/", "/c\\.", "split.json", "ledger/results"])
def test_the_answer_to_any_put_may_be_lost(proxy: FaultProxy, undisturbed: dict[str, str], key: str) -> None:
    url = place()
    proxy.script("lost", method="PUT", path=key, times=2)  # the first two: the second is another object, or the same
    run(url)
    assert proxy.count["lost"] == 2 or "json" in key or "results" in key
    assert proxy.count["lost"] >= 1
    proxy.well()
    assert contents(open_objects(url)) == undisturbed


def test_credentials_that_expire_anywhere_stop_the_run_and_renewed_it_goes_on(
    proxy: FaultProxy, undisturbed: dict[str, str]
) -> None:
    proxy.requests.clear()
    run(place())
    total = len(proxy.requests)
    for after in range(0, total, max(1, total // 3)):
        url = place()
        proxy.script("expired", after=after)
        with pytest.raises(AccessError, match="have expired") as caught:
            run(url)
        assert "run the same command again" in str(caught.value)
        proxy.well()
        if open_objects(url).get("zarr.json") is not None:
            assert verify(FeatureStore.open(url), deep=True).ok
        run(url)
        assert contents(open_objects(url)) == undisturbed


def test_a_run_that_breaks_at_any_request_goes_on(proxy: FaultProxy, undisturbed: dict[str, str]) -> None:
    """A service that stays broken from the n-th request on; the next command finds it well."""
    proxy.requests.clear()
    run(place())
    total = len(proxy.requests)
    for after in range(3, total, max(1, total // 2)):
        url = place()
        proxy.script("reset", after=after, method="PUT")
        with contextlib.suppress(CvbenchError):
            run(url)
        proxy.well()
        run(url)
        assert contents(open_objects(url)) == undisturbed


@pytest.mark.parametrize("fault", ["503", "cut", "reset", "slow"])
def test_a_data_set_in_shards(proxy: FaultProxy, tmp_path: Path, fault: Fault) -> None:
    write_shards(tmp_path / "birds")
    client = boto3.client("s3")
    for path in sorted((tmp_path / "birds").iterdir()):
        client.put_object(Bucket="stores", Key=f"birds/{path.name}", Body=path.read_bytes())
    local = open_dataset(f"wds:{tmp_path}/birds")
    proxy.random(fault, share=0.3, seed=2)
    remote = open_dataset("wds:s3://stores/birds")
    assert list(remote.ids) == list(local.ids)
    assert [remote.read(i) for i in range(len(local))] == [local.read(i) for i in range(len(local))]
    assert proxy.count[fault]


def test_a_data_set_whose_credentials_expire(proxy: FaultProxy, tmp_path: Path) -> None:
    write_shards(tmp_path / "birds")
    for path in sorted((tmp_path / "birds").iterdir()):
        boto3.client("s3").put_object(Bucket="stores", Key=f"more/{path.name}", Body=path.read_bytes())
    dataset = open_dataset("wds:s3://stores/more")
    proxy.script("expired")
    with pytest.raises(AccessError):
        dataset.read(0)
    with pytest.raises(AccessError):
        open_dataset("wds:s3://stores/more")
    proxy.well()
    assert dataset.read(0)
