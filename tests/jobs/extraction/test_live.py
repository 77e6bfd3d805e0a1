"""Live analyses: the same partials as from the store, on any executor, without a map being kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cvbench.engine.analyses.norms.measure import Norms
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.errors import DataUnavailableError, FingerprintMismatchError, UnknownNameError, UsageError
from cvbench.jobs.analyses.cka import CkaOptions, cka
from cvbench.jobs.analyses.measure import analyze_maps
from cvbench.jobs.analyses.similarity import similarity
from cvbench.jobs.analyses.spectra import spectra
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.job import ExtractReport
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.reading.selection import Selection
from cvbench.jobs.registry import entry_of, find_live, places
from cvbench.jobs.results.keep import Analysed, stored_result
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.hardware import Hardware
from cvbench.storage.features import FeatureStore, GroupKey
from cvbench.storage.results.outcomes import list_results, load_result, read_partial
from tests.jobs.images import write_folder
from tests.jobs.travel import travelling

LOOP = Cluster(address="none")
ALL = ("cka", "spectra", "similarity")
GRIDDED = ("spectra", "similarity")
STORED: dict[str, Callable[[Selection], Analysed]] = {
    "cka": lambda chosen: cka(chosen, CkaOptions(batch=8), LOOP),
    "spectra": lambda chosen: spectra(chosen, IntervalOptions(), LOOP),
    "similarity": lambda chosen: similarity(chosen, IntervalOptions(), LOOP),
    "norms": lambda chosen: analyze_maps(Norms(), chosen, Hardware(address="none")),
}
"""The same of stored maps."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 images, two of them unreadable and in different batches."""
    return write_folder(tmp_path_factory.mktemp("live") / "pets", 64, broken=(9, 30))


def measured(asked: ExtractOptions, cluster: Cluster) -> ExtractReport:
    """Extract, with the live analyses that are asked for."""
    return extract(asked, cluster, live=find_live(asked.analyses))


def options(images: Path, store: Path, **changed: object) -> ExtractOptions:
    return replace(
        ExtractOptions(
            dataset=f"folder:{images}",
            backbones=("test_vit", "test_convnext"),
            store=str(store),
            weights=("random",),
            taps=("blocks",),
            batch_size=8,
            unit=16,
            image_size=64,
            max_unreadable=0.1,
        ),
        **changed,  # type: ignore[arg-type]
    )


def partials(store: FeatureStore) -> dict[str, dict[str, NDArray[Any]]]:
    keys = [key for key in store.objects.list("ledger/partials/") if key.endswith(".safetensors")]
    return {key: read_partial(store.objects.get(key) or b"", key) for key in keys}


@pytest.fixture(scope="module")
def live(images: Path, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    where = tmp_path_factory.mktemp("made") / "live.zarr"
    report = measured(options(images, where, analyses=ALL), LOOP)
    assert len(report.results) == 3
    return FeatureStore.open(where)


def test_partials_and_results_are_those_of_the_stored_maps(live: FeatureStore, images: Path, tmp_path: Path) -> None:
    where = tmp_path / "stored.zarr"
    measured(options(images, where, views=("maps",), maps=None), LOOP)
    selection = Selection(str(where), view="maps")
    cka(selection, CkaOptions(batch=8), LOOP)
    spectra(selection, IntervalOptions(), LOOP)
    similarity(selection, IntervalOptions(), LOOP)
    stored, found = partials(FeatureStore.open(where)), partials(live)
    assert found.keys() == stored.keys()  # under the same names: neither would be computed again
    assert len(found) == 3 * 4
    for key, arrays in stored.items():
        assert found[key].keys() == arrays.keys()
        for name, values in arrays.items():
            if "/cka/" in key:
                np.testing.assert_array_equal(found[key][name], values)
            else:  # per image the same numbers; products over images and sums are added batch by batch
                np.testing.assert_allclose(found[key][name], values, rtol=1e-9, atol=1e-9, err_msg=f"{key} {name}")
    assert list_results(live) == list_results(FeatureStore.open(where))


@pytest.mark.parametrize("taps", [("blocks", "head*"), ("blocks.*", "head*")], ids=["some layers", "a backbone"])
def test_layers_without_a_grid_are_left_out_as_of_stored_maps(
    images: Path, tmp_path: Path, taps: tuple[str, ...]
) -> None:
    """Every live analysis, of the layers that it can measure: under the key, and with the notes, of the stored maps."""
    names = tuple(name for name in places("analyze") if (entry := entry_of(name)) is not None and entry.live)
    assert sorted(names) == sorted(STORED)
    here, there = tmp_path / "live.zarr", tmp_path / "stored.zarr"
    said: list[str] = []
    asked = options(images, here, limit=32, taps=taps, analyses=names)
    extract(asked, LOOP, lambda event: said.append(str(event)), find_live(names))
    measured(options(images, there, limit=32, taps=taps, views=("maps",), maps=None), LOOP)
    live, stored = FeatureStore.open(here), FeatureStore.open(there)
    for name in names:
        (key,) = [key for key in list_results(live) if key.analysis == name]
        expected = STORED[name](Selection(str(there), view="maps"))
        found = stored_result(live, key)
        assert key.path == expected.path
        assert found.attrs["layers"] == expected.result.attrs["layers"]
        assert found.attrs["notes"] == expected.result.attrs["notes"]
        notes = [note for note in found.attrs["notes"] if note.startswith("left out")]
        assert any("head" in layer["tap"] for layer in found.attrs["layers"]) == (not notes) == (name not in GRIDDED)
        assert all(any(f"--analyze {name}: {note}" in event for event in said) for note in notes)
    measured_live, measured_stored = partials(live), partials(stored)
    assert measured_live.keys() == measured_stored.keys()
    for path, arrays in measured_stored.items():
        for variable, values in arrays.items():
            np.testing.assert_allclose(measured_live[path][variable], values, rtol=1e-9, atol=1e-9, err_msg=path)


def test_no_map_is_kept(live: FeatureStore) -> None:
    assert {group.view for group in live.groups()} == {"pooled", "cls"}


def test_every_readable_image_counts(live: FeatureStore) -> None:
    for key in list_results(live):
        result = load_result(live, key)
        assert result is not None
        assert result.attrs["samples"] == 62
        assert result.attrs["view"] == "maps"


def test_it_resumes_and_extends(images: Path, tmp_path: Path) -> None:
    where = tmp_path / "store.zarr"
    measured(options(images, where, limit=16), LOOP)
    first = measured(options(images, where, limit=32, analyses=("spectra",)), LOOP)
    assert first.computed == 32  # the features of the first unit were there, its partial was not
    before = partials(FeatureStore.open(where))
    assert len(before) == 2
    again = measured(options(images, where, limit=32, analyses=("spectra",)), LOOP)
    assert (again.computed, again.results) == (0, first.results)
    more = measured(options(images, where, limit=32, analyses=("spectra", "cka")), LOOP)
    assert more.computed == 32
    after = partials(FeatureStore.open(where))
    assert len(after) == 4
    assert all((after[key]["grid/0"] == arrays["grid/0"]).all() for key, arrays in before.items())
    rest = measured(options(images, where, analyses=("spectra", "cka")), LOOP)
    assert rest.computed == 32


def test_maps_of_a_part_are_stored_beside(live: FeatureStore, images: Path, tmp_path: Path) -> None:
    where = tmp_path / "store.zarr"
    asked = options(images, where, views=("pooled", "maps"), maps=16, analyses=("spectra",))
    report = measured(asked, LOOP)
    (kept,) = [key for key in list_results(FeatureStore.open(where)) if key.analysis == "spectra"]
    assert list(report.results) == [kept.path]
    (alone,) = [key for key in list_results(live) if key.analysis == "spectra"]
    found, expected = stored_result(FeatureStore.open(where), kept), stored_result(live, alone)
    assert found.attrs["samples"] == expected.attrs["samples"] == 62
    np.testing.assert_array_equal(found.data["measures"][1], expected.data["measures"][1])


@pytest.mark.parametrize("name", ALL)
def test_analyze_shows_what_cannot_be_measured_again(live: FeatureStore, name: str) -> None:
    run: dict[str, Any] = {
        "cka": lambda chosen: cka(replace(chosen, view="maps"), CkaOptions(), LOOP),
        "spectra": lambda chosen: spectra(chosen, IntervalOptions(), LOOP),
        "similarity": lambda chosen: similarity(chosen, IntervalOptions(), LOOP),
    }
    (key,) = [key for key in list_results(live) if key.analysis == name]
    for chosen in (Selection(live.url), Selection(live.url, "folder-pets", "all", ("test_vit@64", "test_convnext"))):
        shown = run[name](chosen)
        assert (shown.path, shown.measured, shown.selected.samples) == (key.path, 0, 64)
        assert shown.result.attrs["notes"][-1].startswith("measured by `extract --analyze`")
        kept = load_result(live, key)
        assert kept is not None
        for variable, (_, values) in shown.result.data.items():
            np.testing.assert_array_equal(values, kept[variable].values)
    with pytest.raises(DataUnavailableError, match="--view maps"):
        run[name](Selection(live.url, backbones=("test_vit",)))


@pytest.mark.ray
@pytest.mark.usefixtures("ray_here")
def test_any_number_of_actors_gives_the_same_bits(live: FeatureStore, images: Path, tmp_path: Path) -> None:
    measured(options(images, tmp_path / "store.zarr", analyses=ALL), Cluster(address="local", actors=2))
    same_bits(live, tmp_path / "store.zarr")


def test_what_has_travelled_gives_the_same_bits(live: FeatureStore, images: Path, tmp_path: Path) -> None:
    with travelling():
        measured(options(images, tmp_path / "store.zarr", analyses=ALL), LOOP)
    same_bits(live, tmp_path / "store.zarr")


def same_bits(live: FeatureStore, where: Path) -> None:
    """Partials and results of a store are those that the plain loop has left."""
    found, expected = partials(FeatureStore.open(where)), partials(live)
    assert found.keys() == expected.keys()
    for key, arrays in expected.items():
        for name, values in arrays.items():
            np.testing.assert_array_equal(found[key][name], values)
    assert list_results(live) == list_results(FeatureStore.open(where))


def test_the_features_are_the_same_bytes_with_and_without(live: FeatureStore, images: Path, tmp_path: Path) -> None:
    where = tmp_path / "store.zarr"
    measured(options(images, where), LOOP)
    plain = FeatureStore.open(where)
    for info in plain.tree():
        a, b = (store.layer(info.group, info.tap).numpy() for store in (plain, live))
        np.testing.assert_array_equal(a, b)


class TestBadInput:
    def test_names_without_the_analyses(self, images: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="named, and not given: cka"):
            extract(options(images, tmp_path / "s.zarr", analyses=("cka",)), LOOP)
        assert not (tmp_path / "s.zarr").exists()

    def test_an_analysis_that_is_not_live(self) -> None:
        with pytest.raises(UnknownNameError, match="live analysis") as error:
            find_live(["maps"])
        assert error.value.fix == "--analyze cka,similarity,spectra,norms"

    def test_an_unknown_analysis(self, images: Path, tmp_path: Path) -> None:
        with pytest.raises(UnknownNameError, match="did you mean: spectra"):
            measured(options(images, tmp_path / "s.zarr", analyses=("spectrum",)), LOOP)
        assert not (tmp_path / "s.zarr").exists()

    @pytest.mark.parametrize("name", GRIDDED)
    def test_no_layer_with_spatial_extent_is_refused_before_anything_is_written(
        self, images: Path, tmp_path: Path, name: str
    ) -> None:
        with pytest.raises(UsageError, match=r"head.* has no spatial extent"):
            measured(options(images, tmp_path / "s.zarr", analyses=(name,), taps=("head*",)), LOOP)
        assert not (tmp_path / "s.zarr").exists()

    def test_batches_too_small_for_cka(self, images: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="batches of at least 4 images, not 2"):
            measured(options(images, tmp_path / "s.zarr", analyses=("cka",), batch_size=2), LOOP)

    def test_maps_stored_in_another_way(self, images: Path, tmp_path: Path) -> None:
        where = tmp_path / "s.zarr"
        measured(options(images, where, views=("maps",), maps=16, limit=16), LOOP)
        with pytest.raises(FingerprintMismatchError, match="keep_bits"):
            measured(options(images, where, views=("head",), limit=16, analyses=("cka",), keep_bits=5), LOOP)
        assert GroupKey("folder-pets", "all", "test_vit", "head") not in FeatureStore.open(where).groups()
