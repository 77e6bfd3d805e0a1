"""The feature store: what is written comes back, and what is not committed does not exist."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
import zarr

from cvbench.errors import DataUnavailableError
from cvbench.storage.features import FeatureStore
from cvbench.storage.features.codecs import quiet
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

# Writing and reading back


def test_what_is_written_comes_back(store: FeatureStore) -> None:
    assert extract(store) == 3
    for spec in SPECS:
        layer = FeatureStore.open(store.url).layer(GROUP, spec.tap)
        expected = features(spec)
        assert layer.dims == ("sample", "channel")
        np.testing.assert_array_equal(layer.numpy(), expected)
        np.testing.assert_array_equal(layer.read(3, 19), expected[3:19])
        np.testing.assert_array_equal(layer.read_unit(UNITS[-1]), expected[16:])
        np.testing.assert_array_equal(np.asarray(layer.dask()), expected)
        assert layer.read(5, 5).shape == (0, *spec.shape)
        assert layer.rows.tolist() == list(range(N))


@pytest.mark.parametrize("codec", ["none", "zstd", "blosc-lz4"])
def test_maps_and_codecs(store: FeatureStore, codec: str) -> None:
    extract(store, [MAP_SPEC], MAPS, codec=codec)
    layer = store.layer(MAPS, "blocks.0")
    np.testing.assert_array_equal(layer.numpy(), features(MAP_SPEC))
    assert layer.dims == ("sample", "row", "column", "channel")
    assert [info.codec for info in store.tree()] == [codec]


def test_many_chunks_per_unit(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvbench.storage.features.nodes.layout", lambda *_, **__: (2, None))
    extract(store, [MAP_SPEC], MAPS)
    layer = store.layer(MAPS, "blocks.0")
    assert len(layer.commit(UNITS[0]).taps["blocks.0"].objects) == 4
    for start in range(N):
        for stop in (start, start + 1, start + 5, N):
            if stop <= N:
                np.testing.assert_array_equal(layer.read(start, stop), features(MAP_SPEC)[start:stop])


def test_order_and_size_of_writes_do_not_matter(store: FeatureStore) -> None:
    declare(store)
    unit, rows = UNITS[1], features(SPECS[0])[8:16]
    with store.writer(GROUP, ["blocks.0"], unit) as writer:
        for offset, stop in ((7, 8), (0, 3), (3, 7)):
            reused = rows[offset:stop].copy()
            writer.write("blocks.0", offset, reused)
            reused[:] = 0  # the caller's buffer is its own again
        writer.commit()
    layer = store.layer(GROUP, "blocks.0")
    assert layer.units == [unit]
    np.testing.assert_array_equal(layer.read_unit(unit), rows)


def test_plain_zarr_and_xarray_read_it(tmp_path: Path) -> None:
    store = FeatureStore.open(tmp_path / "s", "a")
    extract(store)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # in particular: no unrecognised objects in the hierarchy
        with quiet():
            root = zarr.open_group(str(tmp_path / "s"), mode="r")
            members = dict(root.members(max_depth=None))
    array: Any = members[f"{GROUP.path}/blocks.1"]
    np.testing.assert_array_equal(array[:], features(SPECS[1]))
    assert array.metadata.dimension_names[0] == "sample"
    assert "digits/all/samples/bbox_x" in members
    with quiet():
        features_of = xarray.open_zarr(tmp_path / "s", group=GROUP.path, consolidated=False)
        samples = xarray.open_zarr(tmp_path / "s", group="digits/all/samples", consolidated=False).load()
    np.testing.assert_array_equal(features_of["blocks.0"].values, features(SPECS[0]))  # beside a tap of other width
    assert samples["id"].values.tolist() == split_info().ids.tolist()


def test_rows_beyond_the_end_and_absent_units_are_nan_for_plain_zarr(tmp_path: Path) -> None:
    store = FeatureStore.open(tmp_path / "s", "a")
    declare(store)
    write_unit(store, UNITS[0])
    with quiet():
        array: Any = zarr.open_group(str(tmp_path / "s"), mode="r")[f"{GROUP.path}/blocks.0"]
    assert np.isnan(array[8:]).all()
    assert np.isfinite(array[:8]).all()


def test_xarray_has_names_and_coordinates(store: FeatureStore) -> None:
    extract(store)
    labelled = store.layer(GROUP, "blocks.1").xarray()
    assert labelled.dims == ("sample", "channel")
    assert labelled.name == "blocks.1"
    assert set(labelled.coords) == {"sample", "id", "label", "bbox_x", "pose"}
    left = labelled[labelled["pose"].values == "left"]
    np.testing.assert_array_equal(left.values, features(SPECS[1])[::2])


def test_samples_come_back_in_store_order(store: FeatureStore) -> None:
    info = split_info()
    store.begin(info)
    table = FeatureStore.open(store.objects).samples("digits", "all")
    assert list(table) == ["id", "label", "bbox_x", "pose"]
    np.testing.assert_array_equal(table["id"], info.ids)
    np.testing.assert_array_equal(table["label"], info.labels)
    np.testing.assert_array_equal(table["pose"], info.factors["pose"])
    assert store.split("digits", "all").classes == ("zéro", "one")


def test_stores_and_layers_travel(tmp_path: Path) -> None:
    store = FeatureStore.open(tmp_path / "s", "a")
    extract(store)
    layer = pickle.loads(pickle.dumps(store.layer(GROUP, "blocks.0")))  # noqa: S301 - our own bytes
    np.testing.assert_array_equal(layer.numpy(), features(SPECS[0]))


# Only what is committed


def test_uncommitted_rows_cannot_be_read(store: FeatureStore) -> None:
    declare(store)
    write_unit(store, UNITS[1])
    with store.writer(GROUP, TAPS, UNITS[0]) as writer:  # whole objects are there, but no record
        for spec in SPECS:
            writer.write(spec.tap, 0, features(spec)[:8])
    layer = store.layer(GROUP, "blocks.0")
    assert layer.units == [UNITS[1]]
    for start, stop in ((0, 1), (0, 22), (7, 9), (15, 17), (-1, 3), (20, 23)):
        with pytest.raises(DataUnavailableError, match="not all extracted") as error:
            layer.read(start, stop)
        assert "cvbench extract" in str(error.value)
    np.testing.assert_array_equal(layer.numpy(), features(SPECS[0])[8:16])
    np.testing.assert_array_equal(np.asarray(layer.dask()), features(SPECS[0])[8:16])
    assert store.status("digits", "all", GROUP.backbone, "pooled", "blocks.0").tolist() == [0] * 8 + [1] * 8 + [0] * 6


def test_an_empty_layer_reads_as_no_rows(store: FeatureStore) -> None:
    declare(store)
    layer = store.layer(GROUP, "blocks.0")
    assert (layer.units, layer.numpy().shape, layer.dask().shape) == ([], (0, 4), (0, 4))


def test_missing_and_pending_count_taps(store: FeatureStore) -> None:
    declare(store)
    write_unit(store, UNITS[0])
    write_unit(store, UNITS[1], SPECS[:1])
    assert store.missing(GROUP, TAPS, UNITS[0]) == []
    assert store.missing(GROUP, TAPS, UNITS[1]) == ["blocks.1"]
    assert store.pending(GROUP, TAPS, UNITS) == {UNITS[1]: ["blocks.1"], UNITS[2]: ["blocks.0", "blocks.1"]}
    assert store.pending(GROUP, ["blocks.0"], UNITS) == {UNITS[2]: ["blocks.0"]}


def test_the_same_run_again_writes_nothing(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    extract(store)
    again = FeatureStore.open(store.url, "a")
    monkeypatch.setattr(type(again.objects), "create", lambda *_: pytest.fail("a write"))
    assert extract(again) == 0


def test_more_taps_and_more_units_join(store: FeatureStore) -> None:
    declare(store, SPECS[:1])
    write_unit(store, UNITS[0], SPECS[:1])
    assert extract(store) == 3
    for spec in SPECS:
        np.testing.assert_array_equal(store.layer(GROUP, spec.tap).numpy(), features(spec))
    assert store.taps(GROUP) == list(TAPS)


def test_tree(store: FeatureStore) -> None:
    declare(store)
    write_unit(store, UNITS[2])
    first = store.tree()[0]
    assert (first.group, first.tap, first.shape, first.dtype) == (GROUP, "blocks.0", (N, 4), "float16")
    assert (first.committed, first.bytes) == (6, 8 * 4 * 2 + 4)
    assert store.groups() == [GROUP]
    assert store.splits() == [("digits", "all")]
