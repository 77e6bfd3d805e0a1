"""`analyze similarity` over a store: numbers against the stored rows, any number of actors, its forms, its figure."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.similarity.measure import Similarity
from cvbench.engine.analyses.similarity.result import MEASURES
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.errors import DataUnavailableError, UnknownNameError, UsageError
from cvbench.jobs.analyses.similarity import (
    ENTRY,
    IMAGES_ENTRY,
    draw_similarity,
    image_similarity,
    similarity,
    similarity_json,
    similarity_rows,
)
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.figures.similarity import _draw, similarity_images_figure
from cvbench.jobs.reading.selection import Selection
from cvbench.jobs.results.keep import stored_result
from cvbench.jobs.running.executor import Cluster
from cvbench.storage.features import FeatureStore
from cvbench.storage.results.outcomes import list_results
from tests.engine.analyses.similarity_reference import matrices, measures
from tests.jobs.elsewhere import draw_elsewhere
from tests.jobs.images import write_folder
from tests.jobs.maps_store import LOOP, copy, maps_store, options

QUICK = IntervalOptions(resamples=50)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return maps_store(tmp_path_factory.mktemp("similarity"))


def result_of(backbones: dict[str, list[int]], n: int = 12) -> Result:
    """Layers of smooth maps with the given sides, the first of each backbone constant."""
    rng = np.random.default_rng(2)
    maps = {}
    for name, sides in backbones.items():
        for i, side in enumerate(sides):
            values = rng.normal(size=(n, side, side, 4)).cumsum(axis=1).cumsum(axis=2)
            maps[Layer(name, f"blocks.{i}")] = np.ones_like(values) if i == 0 and len(sides) > 1 else values
    grids = {layer: (x.shape[1], x.shape[2]) for layer, x in maps.items()}
    analysis = Similarity.between(grids, dict.fromkeys(backbones, (56, 56)), intervals=IntervalOptions(resamples=30))
    return analysis.summarise(list(maps), [analysis.measure(list(maps), maps.__getitem__, np.arange(n))])


def test_the_numbers_are_those_of_the_stored_rows(made: Path, tmp_path: Path) -> None:
    store = copy(made, tmp_path)
    analysed = similarity(Selection(store), QUICK, LOOP)
    result = analysed.result
    assert result.attrs["samples"] == 31
    opened = FeatureStore.open(store)
    for i, layer in enumerate(analysed.selected.layers):
        if i % 4:
            continue
        maps = opened.layer(analysed.selected.group(layer), layer.tap).numpy()
        height, width = maps.shape[1:3]
        assert result.attrs["layers"][i]["stride"] == 64 / height
        for v in range(2):
            expected = matrices(maps, centred=bool(v))
            np.testing.assert_allclose(result.data[f"matrix_{i}"][1][v], expected.mean(axis=0), atol=1e-5)
            if height <= 4:
                one = [measures(matrix, height, width) for matrix in expected]
                mean = np.mean([m["contrast"] for m in one])
                found = result.data["measures"][1][i, v, MEASURES.index("contrast")]
                if height < 3:
                    assert np.isnan(found)  # two distances
                else:
                    assert found == pytest.approx(mean, abs=1e-5)  # float32 products of float16 maps
    assert result.attrs["common_grid"] == [2, 2]
    kept = [key for key in list_results(opened) if key.path == analysed.path]
    again = stored_result(opened, kept[0])
    np.testing.assert_array_equal(again.data["matrix_0"][1], result.data["matrix_0"][1])
    assert (again.attrs["view"], again.coords["pair"]) == ("maps", ["test_convnext@64 vs test_vit@64"])


def test_a_partial_is_never_computed_twice(made: Path, tmp_path: Path) -> None:
    store = copy(made, tmp_path)
    assert similarity(Selection(store), QUICK, LOOP).measured == 4
    assert similarity(Selection(store), IntervalOptions(resamples=60, seed=1), LOOP).measured == 0


@pytest.mark.ray
@pytest.mark.usefixtures("ray_here")
def test_any_number_of_actors_gives_the_same_bits(made: Path, tmp_path: Path) -> None:
    found = {}
    for name, cluster in (("loop", LOOP), ("two", Cluster(address="local", actors=2))):
        (tmp_path / name).mkdir()
        found[name] = similarity(Selection(copy(made, tmp_path / name)), QUICK, cluster).result
    for variable, (_, values) in found["loop"].data.items():
        np.testing.assert_array_equal(values, found["two"].data[variable][1])
    assert found["loop"].attrs == found["two"].attrs


class TestImages:
    def test_the_matrices_are_those_of_the_images(self, made: Path, tmp_path: Path) -> None:
        store = copy(made, tmp_path)
        opened = FeatureStore.open(store)
        ids = opened.split("folder-pets", "all").ids
        analysed = image_similarity(Selection(store), [str(ids[11]), str(ids[2]), str(ids[11])])
        assert analysed.result.coords["image"] == [ids[11], ids[2]]
        layers = [Layer(layer["backbone"], layer["tap"]) for layer in analysed.result.attrs["layers"]]
        assert [layer.tap for layer in layers] == ["stages.3.blocks.1", "blocks.5"]
        maps = opened.layer(analysed.selected.group(layers[1]), layers[1].tap)
        expected = matrices(np.concatenate([maps.read(11, 12), maps.read(2, 3)]), centred=True)
        np.testing.assert_allclose(analysed.result.data["matrix_1"][1][:, 1], expected, atol=1e-5)
        assert analysed.path in {key.path for key in list_results(opened)}
        files = similarity_images_figure(analysed.result, tmp_path / "images")
        rows = [row for row in csv.DictReader(files[-1].read_text().splitlines()) if row["tap"] == "blocks.5"]
        assert [row["image"] for row in rows[:3]] == [ids[11], ids[11], ids[2]]
        off = ~np.eye(len(expected[0]), dtype=bool)
        assert float(rows[1]["mean"]) == pytest.approx(expected[0][off].mean(), abs=1e-5)
        (key,) = list_results(opened)
        told = list(IMAGES_ENTRY.rows(stored_result(opened, key)))
        assert len(told) == 2 * 2 * 2  # layers, images, versions
        found = {(row.factor, row.metric): row for row in told}[
            f"blocks.5, {ids[11]}", "mean patch similarity, centred"
        ]
        assert found.value == pytest.approx(expected[0][off].mean(), abs=1e-5)
        assert (found.low, found.n) == (None, 1)

    def test_an_unknown_image_is_named_with_its_neighbours(self, made: Path) -> None:
        with pytest.raises(UnknownNameError, match=r"unknown sample of folder-pets/all: 'class-0/00.png'") as error:
            image_similarity(Selection(str(made)), ["class-0/00.png"])
        assert all(name.startswith("class-0/0") for name in error.value.did_you_mean)
        assert error.value.did_you_mean

    def test_an_unreadable_image_has_no_maps(self, made: Path) -> None:
        with pytest.raises(DataUnavailableError, match=r"'class-1/009\.png' has no maps") as error:
            image_similarity(Selection(str(made)), ["class-1/009.png"])
        assert "could not be read" in str(error.value)

    def test_an_image_that_was_not_extracted_says_how(self, made: Path, tmp_path: Path) -> None:
        write_folder(tmp_path / "pets", 32)
        wanted = options(tmp_path, ("maps",), 64)
        extract(ExtractOptions(**{**asdict(wanted), "maps": 8}), LOOP)
        store = str(tmp_path / "store.zarr")
        name = str(FeatureStore.open(store).split("folder-pets", "all").ids[20])
        with pytest.raises(DataUnavailableError, match=r"extract --dataset folder:PATH .*--view maps --maps 21"):
            image_similarity(Selection(store), [name])


def test_a_store_without_maps_says_how_to_get_them(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made.parent / "pets", tmp_path / "pets")
    extract(options(tmp_path, ("pooled",), 64), LOOP)
    with pytest.raises(DataUnavailableError, match="--view maps"):
        similarity(Selection(str(tmp_path / "store.zarr")), QUICK, LOOP)


def test_a_layer_of_one_position_is_refused_before_the_work(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made.parent / "pets", tmp_path / "pets")
    extract(options(tmp_path, ("maps",), 32), LOOP)
    store = str(tmp_path / "store.zarr")
    with pytest.raises(UsageError, match=r"test_convnext.*stages\.3.* has no spatial extent: it has 1x1 grid"):
        similarity(Selection(store), QUICK, LOOP)
    assert not list_results(FeatureStore.open(store))


def test_json_and_rows_carry_every_number() -> None:
    result = result_of({"conv": [8, 4], "vit": [6, 7]})
    found = json.loads(json.dumps(similarity_json(result, "digits"), allow_nan=False))
    layer = found["layers"][3]
    assert (layer["backbone"], layer["tap"], layer["grid"], layer["stride"]) == ("vit", "blocks.1", [7, 7], 8)
    named = {measure["name"]: measure for measure in layer["centred"]["measures"]}
    assert named["length_pixels"]["value"] == 8 * named["length"]["value"]
    assert named["contrast"]["value"] == result.data["measures"][1][3, 1, MEASURES.index("contrast")]
    assert layer["raw"]["profile"]["value"] == result.data["profile"][1][3, 0].tolist()[:7]
    constant = {measure["name"]: measure for measure in found["layers"][0]["centred"]["measures"]}
    assert (constant["contrast"]["value"], constant["contrast"]["n_undefined"]) == (None, 12)
    assert len(found["differences"]) == 2 * len(MEASURES)
    rows = list(similarity_rows(result))
    assert len({tuple(row) for row in rows}) == 1  # the same columns in each
    assert {row["grid"] for row in rows if row["quantity"].endswith("_common")} == {"4x4"}
    for row in rows:
        if row["quantity"].endswith("_difference"):
            if row["reason"]:
                assert row["reason"].startswith("not measurable on any grid: centred features sum to zero")
                assert (row["value"], row["resolved"]) == (None, None)
            else:
                assert row["resolved"] in (False, None)  # of 12 images
                assert row["low"] > 0 or row["high"] < 0 or row["resolved"] is False


def test_a_difference_that_holds_0_is_not_resolved() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=(40, 4, 4, 8))
    maps = {Layer("a", "x"): one, Layer("b", "x"): one[::-1] + 0.0}
    analysis = Similarity.between(dict.fromkeys(maps, (4, 4)), {}, intervals=IntervalOptions(resamples=200))
    result = analysis.summarise(list(maps), [analysis.measure(list(maps), maps.__getitem__, np.arange(40))])
    rows = [row for row in similarity_rows(result) if row["quantity"] == "mean_difference"]
    assert [row["resolved"] for row in rows] == [False, None], "the mean of centred ones is fixed"
    result.attrs.update(run="results/x", dataset="digits", split="all")
    assert ENTRY.headline is not None
    told = [row.metric for row in ENTRY.headline(result) if row.backbone == "a vs b"]
    assert told[0] == "mean patch similarity: difference on the common grid, raw (not resolved)"


def test_a_difference_of_few_images_gets_no_verdict() -> None:
    result = result_of({"conv": [4], "vit": [6]})  # 12 images; as if the mean patch similarity differed by far
    result.data["difference_low"][1][...], result.data["difference_high"][1][...] = 0.5, 0.7
    result.data["difference_resolved"][1][...] = np.nan
    (row,) = [r for r in similarity_rows(result) if (r["quantity"], r["version"]) == ("mean_difference", "raw")]
    assert row["resolved"] is None
    result.attrs.update(run="results/x", dataset="digits", split="all")
    told = [row.metric for row in ENTRY.rows(result) if row.backbone == "conv vs vit"]
    assert told[0] == "mean patch similarity: difference on the common grid, raw (too few images to resolve)"


def test_the_report_gets_rows_a_headline_and_the_command(made: Path, tmp_path: Path) -> None:
    store = copy(made, tmp_path)
    analysed = similarity(Selection(store), IntervalOptions(resamples=50, seed=3), LOOP)
    key = next(key for key in list_results(FeatureStore.open(store)) if key.path == analysed.path)
    result = stored_result(FeatureStore.open(store), key)
    rows = list(ENTRY.rows(result))
    assert len(rows) == len(list(similarity_rows(result)))
    assert {row.n + row.n_failed for row in rows} == {32}
    assert ENTRY.headline is not None
    headline = list(ENTRY.headline(result))
    assert any(row.backbone == "test_convnext@64 vs test_vit@64" for row in headline)
    assert 0 < len(headline) < 20
    command = ENTRY.command(result)
    assert command[:2] == ["analyze", "similarity"]
    assert command[-4:] == ["--resamples", "50", "--seed", "3"]
    assert ENTRY.figure is not None
    files = ENTRY.figure(result, tmp_path / "report", ("svg",))
    assert [path.suffix for path in files] == [".svg", ".csv"]


def test_another_process_draws_the_same_bytes(tmp_path: Path) -> None:
    result = result_of({"a": [8, 4], "b": [7]})
    draw_elsewhere(draw_similarity, result, tmp_path / "other" / "similarity")
    for path in draw_similarity(result, tmp_path / "own" / "similarity"):
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()


@pytest.mark.parametrize("backbones", [{"a": [8]}, {"a": [5, 29], "b": [2], "c": [9]}], ids=["one", "three"])
def test_the_figure_and_its_data(tmp_path: Path, backbones: dict[str, list[int]]) -> None:
    result = result_of(backbones, n=3)
    files = draw_similarity(result, tmp_path / "deep" / "similarity.v1")
    assert [path.name for path in files] == ["similarity.v1.svg", "similarity.v1.png", "similarity.v1.csv"]
    rows = list(csv.DictReader(files[-1].read_text().splitlines()))
    assert len(rows) == len(list(similarity_rows(result)))


def test_matrices_side_by_side_have_one_scale() -> None:
    figure = _draw(result_of({"a": [8], "b": [4], "c": [6]}))
    rows = [[axis.images[0] for axis in figure.axes if axis.get_xlabel().startswith(x)] for x in ("position", "offset")]
    raw, centred = rows[0][:3], rows[0][3:]
    for images in (raw, centred, rows[1]):
        assert len(images) == 3
        assert len({(image.get_clim(), image.get_cmap().name) for image in images}) == 1
    assert raw[0].get_clim() != centred[0].get_clim()


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown figure format 'gif'"):
        draw_similarity(result_of({"a": [4]}), tmp_path / "similarity", ["svg", "gif"])
    assert not list(tmp_path.iterdir())
