"""Partials and results: exact, once, checked."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray
import zarr

from cvbench.errors import IntegrityError, ResourceError, UsageError
from cvbench.storage.care.verify import verify
from cvbench.storage.features import FeatureStore
from cvbench.storage.features.codecs import quiet
from cvbench.storage.objects.local import LocalObjects
from cvbench.storage.results.outcomes import (
    ResultKey,
    get_partial,
    list_partials,
    list_results,
    load_result,
    put_partial,
    save_result,
)
from tests.storage.small_store import contents, flip_bit

KEY = ResultKey("digits", "all", "cka", "0123abcd")


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore.open(tmp_path / "s", "a")


def result() -> xarray.Dataset:
    return xarray.Dataset(
        {"cka": (("a", "b"), np.array([[1.0, np.nan], [0.25, 1.0]])), "batches": ((), 7)},
        coords={"a": ["vit/blocks.0", "vit/blocks.1"], "b": np.array(["é", "yy"], object), "tap": ("a", [0, 1])},
        attrs={"estimator": "unbiased", "batch_size": 64, "parameters": {"level": 0.95, "names": ["x"]}},
    )


def test_partials_come_back_exactly(store: FeatureStore) -> None:
    arrays = {"b": np.random.default_rng(0).standard_normal((3, 4)).T, "a": np.array(5), "e": np.empty((0, 2))}
    assert put_partial(store, KEY, 3, arrays)
    assert not put_partial(store, KEY, 3, {"a": np.array(6)})
    back = get_partial(store, KEY, 3)
    assert back is not None
    assert back.keys() == arrays.keys()
    for name, values in arrays.items():
        np.testing.assert_array_equal(back[name], values)
        assert (back[name].dtype, back[name].shape) == (values.dtype, values.shape)
    assert get_partial(store, KEY, 4) is None
    put_partial(store, KEY, 0, arrays)
    assert list_partials(store, KEY) == [0, 3]


def test_partials_do_not_depend_on_the_order_of_names(store: FeatureStore) -> None:
    put_partial(store, KEY, 0, {"a": np.zeros(2), "b": np.ones(3)})
    put_partial(store, KEY, 1, {"b": np.ones(3), "a": np.zeros(2)})
    first, second = (store.objects.get(KEY.partial(unit)) or b"" for unit in (0, 1))
    assert first[:-4].replace(b"000000.safe", b"000001.safe") == second[:-4]  # each names its own key; then its crc32


def test_a_partial_in_the_place_of_another_is_refused(store: FeatureStore) -> None:
    other = ResultKey("digits", "all", "cka", "4567abcd")
    put_partial(store, KEY, 0, {"a": np.zeros(2)})
    put_partial(store, KEY, 1, {"a": np.ones(2)})
    put_partial(store, other, 0, {"a": np.full(2, 3.0)})
    for theirs in (KEY.partial(1), other.partial(0)):
        store.objects.delete(KEY.partial(0))
        store.objects.create(KEY.partial(0), store.objects.get(theirs) or b"")
        with pytest.raises(IntegrityError, match="damaged") as error:
            get_partial(store, KEY, 0)
        assert error.value.where == KEY.partial(0)
        assert [problem.key for problem in verify(store, deep=True).problems] == [KEY.partial(0)]


def test_partials_of_format_1_name_no_key(store: FeatureStore) -> None:
    from safetensors.numpy import save

    data = save({"a": np.arange(3)})
    store.objects.create(KEY.partial(0), data, struct.pack("<I", zlib.crc32(data)))
    with pytest.raises(IntegrityError, match="no key"):
        get_partial(store, KEY, 0)
    older = FeatureStore(store.objects, "r", 1)
    np.testing.assert_array_equal((get_partial(older, KEY, 0) or {})["a"], np.arange(3))


def test_partials_keep_full_precision_only(store: FeatureStore) -> None:
    with pytest.raises(UsageError, match="float32"):
        put_partial(store, KEY, 0, {"a": np.zeros(2, np.float32)})


def test_a_damaged_partial_is_named(store: FeatureStore) -> None:
    put_partial(store, KEY, 0, {"a": np.arange(9.0)})
    data = store.objects.get(KEY.partial(0)) or b""
    for wrong in (flip_bit(data, 5), flip_bit(data, 8 * len(data) - 1), data[:-1], b""):
        store.objects.delete(KEY.partial(0))
        store.objects.create(KEY.partial(0), wrong)
        with pytest.raises(IntegrityError) as error:
            get_partial(store, KEY, 0)
        assert error.value.where == KEY.partial(0)


def test_results_come_back_with_names_and_attributes(store: FeatureStore) -> None:
    assert load_result(store, KEY) is None
    assert save_result(store, KEY, result())
    assert not save_result(store, KEY, result() * 2)
    back = load_result(store, KEY)
    assert back is not None
    xarray.testing.assert_identical(back, result().assign_coords(b=["é", "yy"]))
    assert list_results(store) == [KEY]


def test_plain_xarray_and_zarr_read_results(store: FeatureStore) -> None:
    save_result(store, KEY, result())
    with quiet():
        plain = xarray.open_zarr(store.url, group=KEY.path, consolidated=False).load()
        members = dict(zarr.open_group(store.url, mode="r").members(max_depth=None))
    xarray.testing.assert_equal(
        plain["cka"], result()["cka"].drop_vars(["a", "tap"]).assign_coords(plain["cka"].coords)
    )
    assert plain.attrs["parameters"] == {"level": 0.95, "names": ["x"]}
    assert f"{KEY.path}/cka" in members


def test_saving_twice_elsewhere_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_result(FeatureStore.open(tmp_path / name, "a"), KEY, result())
    assert contents(LocalObjects(tmp_path / "one")) == contents(LocalObjects(tmp_path / "two"))


def test_a_result_exists_only_with_its_marker(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvbench.storage.features.awaited.PATIENCE", 0.0)
    save_result(store, KEY, result())
    store.objects.delete(KEY.marker)  # as after a crash just before it was written
    again = FeatureStore.open(store.url, "a")
    assert load_result(again, KEY) is None
    assert save_result(again, KEY, result())
    store.objects.delete(KEY.marker)
    with pytest.raises(IntegrityError, match="there is another result"):
        save_result(FeatureStore.open(store.url, "a"), KEY, result() * 2)


def test_a_damaged_result_is_named(store: FeatureStore) -> None:
    save_result(store, KEY, result())
    for key in list(store.objects.list(KEY.path + "/")):
        data = store.objects.get(key) or b""
        store.objects.delete(key)
        with pytest.raises(IntegrityError) as error:
            load_result(store, KEY)
        assert error.value.where == key
        store.objects.create(key, flip_bit(data, 4 * len(data)))
        with pytest.raises(IntegrityError):
            load_result(store, KEY)
        store.objects.delete(key)
        store.objects.create(key, data)
    assert load_result(store, KEY) is not None


def test_attributes_must_be_plain(store: FeatureStore) -> None:
    with pytest.raises(UsageError, match="plain JSON"):
        save_result(store, KEY, result().assign_attrs(x=float("nan")))


@pytest.mark.parametrize("name", ["", "../x", "a/b", "ledger"])
def test_names_are_checked(name: str) -> None:
    with pytest.raises(UsageError):
        ResultKey(name, "all", "cka", "0")


@pytest.mark.parametrize("raised", [RuntimeError("can't start new thread"), MemoryError("9 GiB")])
def test_a_result_for_which_there_is_no_memory_is_not_called_damaged(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, raised: Exception
) -> None:
    save_result(store, KEY, result())

    def failing(*given: object, **named: object) -> None:
        raise raised

    monkeypatch.setattr(xarray, "open_zarr", failing)
    with pytest.raises(ResourceError, match="this machine") as caught:
        load_result(store, KEY)
    assert "store repair" not in str(caught.value)


def test_a_result_that_another_run_is_about_to_record_stands(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_result(store, KEY, result())
    marker = store.objects.get(KEY.marker) or b""
    other = result().assign_attrs(estimator="biased")
    store.objects.delete(KEY.marker)
    monkeypatch.setattr("cvbench.storage.features.awaited.PATIENCE", 0.0)
    with pytest.raises(IntegrityError, match="no record names yet") as caught:
        save_result(store, KEY, other)
    assert caught.value.why == "another run is under way, or one was stopped"

    def awaited(look: Callable[[], int | None]) -> int | None:
        store.objects.create(KEY.marker, marker)
        return look()

    monkeypatch.setattr("cvbench.storage.results.outcomes.awaited", awaited)
    assert save_result(store, KEY, other) is False
    found = load_result(store, KEY)
    assert found is not None
    assert found.attrs["estimator"] == "unbiased"
