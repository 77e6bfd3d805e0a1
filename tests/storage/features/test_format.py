"""Stores once written stay readable: the committed store of each format opens, reads and verifies.

`tests/fixtures/format-*` were made by `make_store` of their time. They are never made again: a change that cannot read
one needs a new format number, a new fixture beside them, and code that still reads all of them. A store keeps the
format it was made in.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray

from cvbench.storage.care.verify import verify
from cvbench.storage.features import BadSample, FeatureStore
from cvbench.storage.features.ledger import FORMAT
from cvbench.storage.results.outcomes import ResultKey, get_partial, load_result, put_partial, save_result
from tests.storage.small_store import (
    GROUP,
    MAP_SPEC,
    MAPS,
    SPECS,
    TAPS,
    UNITS,
    N,
    declare,
    extract,
    features,
    split_info,
    write_unit,
)

FIXTURES = Path(__file__).parents[2] / "fixtures"
KEY = ResultKey("digits", "all", "cka", "0123456789abcdef")
CKA = np.array([[1.0, 0.25], [0.25, 1.0]])


def make_store(path: Path) -> None:
    """Two views, a bad sample, an uncommitted unit, a lossy codec, a partial and a result."""
    store = FeatureStore.open(path, "a")
    extract(store)
    declare(store, [MAP_SPEC], MAPS, codec="bitround5+zstd")
    write_unit(store, UNITS[0], [MAP_SPEC], MAPS)
    write_unit(store, UNITS[2], [MAP_SPEC], MAPS, bad=[BadSample(17, "test/00017", "truncated", "image is truncated")])
    put_partial(store, KEY, 0, {"hsic": CKA, "batches": np.array(2)})
    tap = list(TAPS)
    save_result(store, KEY, xarray.Dataset({"cka": (("tap_a", "tap_b"), CKA)}, coords={"tap_a": tap, "tap_b": tap}))


@pytest.fixture(params=[*(f"format-{number}" for number in range(1, FORMAT + 1)), "made now"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FeatureStore:
    if request.param != "made now":
        return FeatureStore.open(FIXTURES / request.param)
    make_store(tmp_path / "s")
    return FeatureStore.open(tmp_path / "s")


def test_a_store_says_its_format(store: FeatureStore) -> None:
    name = Path(store.url).name
    number = int(name.removeprefix("format-")) if name.startswith("format-") else FORMAT
    assert store.ledger.format == number
    records = [commit for group in store.groups() for commit in store.commits(group)]
    assert records
    for commit in records:
        assert (commit.fingerprint is None) == (number == 1)
        assert all((o.crc32c is None) == (number == 1) for tap in commit.taps.values() for o in tap.objects.values())


def test_features_read_as_they_were_written(store: FeatureStore) -> None:
    for spec in SPECS:
        np.testing.assert_array_equal(store.layer(GROUP, spec.tap).numpy(), features(spec))
    maps = store.layer(MAPS, "blocks.0")
    assert maps.units == [UNITS[0], UNITS[2]]
    assert [sample.row for sample in maps.bad] == [17]
    np.testing.assert_allclose(maps.numpy(), features(MAP_SPEC)[maps.rows], rtol=2**-6)
    assert maps.attrs["codec"] == "bitround5+zstd"


def test_the_sample_table_reads(store: FeatureStore) -> None:
    table, info = store.samples("digits", "all"), split_info()
    np.testing.assert_array_equal(table["id"], info.ids)
    np.testing.assert_array_equal(table["pose"], info.factors["pose"])
    assert store.split("digits", "all").n == N


def test_outcomes_read(store: FeatureStore) -> None:
    partial, result = get_partial(store, KEY, 0), load_result(store, KEY)
    assert partial is not None
    assert result is not None
    np.testing.assert_array_equal(partial["hsic"], CKA)
    np.testing.assert_array_equal(result["cka"].values, CKA)
    assert result["tap_a"].values.tolist() == list(TAPS)


def test_it_verifies(store: FeatureStore) -> None:
    report = verify(store, deep=True)
    assert report.problems == ()
    assert report.commits == 5
