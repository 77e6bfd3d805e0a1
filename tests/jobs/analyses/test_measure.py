"""Analyses over a store: partials, order of layers, resuming, and what is said when something is not there."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from cvbench.errors import DataUnavailableError, ResourceError, UnknownNameError, UsageError
from cvbench.jobs.analyses.cka import CkaOptions, cka
from cvbench.jobs.analyses.measure import analysis_device
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.reading.options import Selection
from cvbench.jobs.reading.reading import read
from cvbench.jobs.running.cluster import Cluster
from cvbench.storage.features import FeatureStore
from cvbench.storage.results.outcomes import list_results, load_result
from tests.engine.analyses.cka_reference import cka_reference
from tests.jobs.extraction.test_extract import contents
from tests.jobs.images import write_folder

LOOP = Cluster(address="none")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 64 images, 2 of them unreadable, through both small backbones, in units of 16."""
    folder = tmp_path_factory.mktemp("analyze")
    write_folder(folder / "pets", 64, broken=(9, 30))
    options = ExtractOptions(
        dataset=f"folder:{folder / 'pets'}",
        backbones=("test_vit", "test_convnext"),
        store=str(folder / "store.zarr"),
        weights=("random",),
        views=("pooled", "maps", "head"),
        maps=32,
        batch_size=8,
        unit=16,
        image_size=64,
        max_unreadable=0.1,
    )
    extract(options, LOOP)
    return folder / "store.zarr"


def copy(made: Path, tmp_path: Path) -> str:
    import shutil

    return str(shutil.copytree(made, tmp_path / "store.zarr"))


def test_cka_of_the_store_is_the_reference_on_its_rows(made: Path, tmp_path: Path) -> None:
    store = copy(made, tmp_path)
    analysed = cka(Selection(store), CkaOptions(batch=7), LOOP)
    opened = FeatureStore.open(store)
    layer = opened.layer(analysed.selected.group(analysed.selected.layers[0]), analysed.selected.layers[0].tap)
    batches = []  # rows of each batch: of each seven of a unit those that could be read, if they are four at least
    for unit in analysed.selected.units:
        runs = [range(at, min(at + 7, unit.stop)) for at in range(unit.start, unit.stop, 7)]
        batches += [[row for row in run if row in layer.rows] for run in runs]
    batches = [batch for batch in batches if len(batch) >= 4]
    features = [opened.layer(analysed.selected.group(at), at.tap).read(0, 64) for at in analysed.selected.layers]
    # float16 inputs are exact in float32; the Gram sums are float64
    np.testing.assert_allclose(analysed.result.data["cka"][1], cka_reference(features, batches), atol=1e-6)
    assert analysed.result.attrs["samples"] == sum(map(len, batches))
    assert analysed.result.attrs["dropped"] == 62 - analysed.result.attrs["samples"]


def test_layers_come_in_depth_order_and_backbones_as_asked(made: Path) -> None:
    taps = [at.tap for at in read(Selection(str(made), backbones=("test_vit",))).selected.layers]
    assert taps == [f"blocks.{i}" for i in range(len(taps))]
    both = read(Selection(str(made), backbones=("test_convnext", "test_vit"))).selected.layers
    assert both[0].backbone.startswith("test_convnext")
    assert both[-1].backbone.startswith("test_vit")


@pytest.mark.ray
@pytest.mark.usefixtures("ray_here")
@pytest.mark.parametrize("view", ["pooled", "maps"])
def test_any_number_of_actors_gives_the_same_bits(made: Path, tmp_path: Path, view: str) -> None:
    found = {}
    for name, cluster in (("loop", LOOP), ("two", Cluster(address="local", actors=2))):
        (tmp_path / name).mkdir()
        store = copy(made, tmp_path / name)
        found[name] = cka(Selection(store, view=view), CkaOptions(batch=5), cluster).result
    for variable in ("cka", "low", "high", "hsic"):
        np.testing.assert_array_equal(found["loop"].data[variable][1], found["two"].data[variable][1])
    assert found["loop"].attrs == found["two"].attrs


def test_a_partial_is_never_computed_twice_and_a_grown_store_measures_the_new_units_only(
    made: Path, tmp_path: Path
) -> None:
    store = copy(made, tmp_path)
    options = CkaOptions(batch=7)
    assert cka(Selection(store, view="maps"), options, LOOP).measured == 2
    before = contents(store)
    again = cka(Selection(store, view="maps"), options, LOOP)
    assert again.measured == 0
    assert contents(store) == before
    grown = ExtractOptions(
        dataset=f"folder:{made.parent / 'pets'}",
        backbones=("test_vit", "test_convnext"),
        store=store,
        weights=("random",),
        views=("maps",),
        maps=None,
        image_size=64,
        max_unreadable=0.1,
    )
    assert extract(grown, LOOP).computed == 32
    assert cka(Selection(store, view="maps"), options, LOOP).measured == 2


@pytest.mark.parametrize("estimator", ["debiased", "biased"])
def test_full_data_estimators_run_and_are_kept(made: Path, tmp_path: Path, estimator: str) -> None:
    store = copy(made, tmp_path)
    result = cka(Selection(store), CkaOptions(estimator=estimator), LOOP).result
    values = result.data["cka"][1]
    np.testing.assert_allclose(np.diagonal(values), 1, atol=1e-9)
    assert result.attrs["samples"] == 62
    kept = [load_result(FeatureStore.open(store), key) for key in list_results(FeatureStore.open(store))]
    assert len(kept) == 1
    assert kept[0] is not None
    np.testing.assert_array_equal(kept[0]["cka"].values, values)
    assert kept[0].attrs["dataset"] == "folder-pets"


def test_full_data_results_of_other_layers_are_kept_apart(made: Path, tmp_path: Path) -> None:
    store, options = copy(made, tmp_path), CkaOptions(estimator="debiased")
    for selection in (
        Selection(store),
        Selection(store, backbones=("test_vit",)),
        Selection(store, taps=("blocks.0", "stages.0.*")),
        Selection(store, view="head"),
    ):
        cka(selection, options, LOOP)
    assert len(list_results(FeatureStore.open(store))) == 4


def test_without_cupy_auto_is_the_cpu_and_cuda_is_refused() -> None:
    if importlib.util.find_spec("cupy") is not None:
        pytest.skip("CuPy is installed")
    assert analysis_device("auto", "local") == "cpu"
    with pytest.raises(ResourceError):
        analysis_device("cuda", "local")


def test_what_is_not_there_is_named(made: Path, tmp_path: Path) -> None:
    store = copy(made, tmp_path)
    for selection, error, said in (
        (Selection(store, dataset="pet"), UnknownNameError, "the store holds folder-pets"),
        (Selection(store, view="logits"), DataUnavailableError, "--view logits"),
        (Selection(store, backbones=("test_vit3",)), UnknownNameError, "the store holds test_convnext"),
        (Selection(store, taps=("blocks.9",)), UnknownNameError, "blocks.5"),
        (Selection(str(tmp_path / "none.zarr")), DataUnavailableError, "cvbench extract"),
        (Selection(store, split="train"), UsageError, "folder-pets/all"),
    ):
        with pytest.raises(error) as caught:
            cka(selection, CkaOptions(batch=4), LOOP)
        assert said in str(caught.value), selection
    assert not (tmp_path / "none.zarr").exists(), "an analysis made a store"


def test_batches_too_small_or_larger_than_a_unit_are_usage_errors(made: Path, tmp_path: Path) -> None:
    store = copy(made, tmp_path)
    with pytest.raises(UsageError, match="at least 4"):
        cka(Selection(store), CkaOptions(batch=3), LOOP)
    with pytest.raises(UsageError, match="does not fit a unit of 16"):
        cka(Selection(store), CkaOptions(batch=17), LOOP)
    with pytest.raises(UnknownNameError, match="estimator"):
        cka(Selection(store), CkaOptions(estimator="unbiased"), LOOP)
