"""`analyze similarity` over a store: numbers against the stored rows, any number of actors, its forms, its figure."""

from __future__ import annotations

import csv
import json
import shutil
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.similarity.measure import Similarity
from cvbench.engine.analyses.similarity.result import FLOOR, MEASURES, UNRESOLVED
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.errors import DataUnavailableError, UnknownNameError, UsageError
from cvbench.jobs.analyses.similarity import (
    ENTRY,
    IMAGES_ENTRY,
    QUANTITIES,
    image_similarity,
    similarity,
)
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.figures.charts.layers import similarity_chart
from cvbench.jobs.figures.similarity import similarity_figure
from cvbench.jobs.reading.selection import Selection
from cvbench.jobs.results.document import document
from cvbench.jobs.results.keep import stored_result
from cvbench.jobs.results.row import CURVE, DIFFERENCE, VALUE, Row
from cvbench.jobs.running.cluster import Cluster
from cvbench.storage.features import FeatureStore
from cvbench.storage.results.outcomes import list_results
from cvbench.texts import json_value
from tests.engine.analyses.similarity_reference import matrices, measures
from tests.jobs.elsewhere import draw_elsewhere, drawn
from tests.jobs.figures.within import cut, saved
from tests.jobs.images import write_folder
from tests.jobs.maps_store import LOOP, copy, maps_store, options
from tests.jobs.travel import check_same_bits, travelling

QUICK = IntervalOptions(resamples=50)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return maps_store(tmp_path_factory.mktemp("similarity"))


def result_of(backbones: dict[str, list[int]], n: int = 12, classes: NDArray[Any] | None = None) -> Result:
    """Layers of smooth maps with the given sides, the first of each backbone constant."""
    rng = np.random.default_rng(2)
    maps = {}
    for name, sides in backbones.items():
        for i, side in enumerate(sides):
            values = rng.normal(size=(n, side, side, 4)).cumsum(axis=1).cumsum(axis=2)
            maps[Layer(name, f"blocks.{i}")] = np.ones_like(values) if i == 0 and len(sides) > 1 else values
    grids = {layer: (x.shape[1], x.shape[2]) for layer, x in maps.items()}
    chosen = {"intervals": IntervalOptions(resamples=30), "classes": classes}
    analysis = Similarity.between(grids, dict.fromkeys(backbones, (56, 56)), **chosen)
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


def same_bits(made: Path, tmp_path: Path, way: AbstractContextManager[None], cluster: Cluster) -> None:
    """Those of the plain loop, this way too."""

    def run(name: str, cluster: Cluster) -> Result:
        (tmp_path / name).mkdir()
        return similarity(Selection(copy(made, tmp_path / name)), QUICK, cluster).result

    check_same_bits(run, way, cluster)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_here")
def test_any_number_of_actors_gives_the_same_bits(made: Path, tmp_path: Path) -> None:
    same_bits(made, tmp_path, nullcontext(), Cluster(address="local", actors=2))


def test_what_has_travelled_gives_the_same_bits(made: Path, tmp_path: Path) -> None:
    same_bits(made, tmp_path, travelling(), LOOP)


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
        files = drawn(analysed.result, tmp_path / "images")
        rows = [row for row in csv.DictReader(files[-1].read_text().splitlines()) if row["layer"] == "blocks.5"]
        assert [row["factor"] for row in rows[:3]] == [ids[11], ids[11], ids[2]]
        off = ~np.eye(len(expected[0]), dtype=bool)
        assert float(rows[1]["value"]) == pytest.approx(expected[0][off].mean(), abs=1e-5)
        (key,) = list_results(opened)
        told = IMAGES_ENTRY.rows_of(stored_result(opened, key))
        assert len(told) == 2 * 2 * 2  # layers, images, versions
        found = {(row.layer, row.factor, row.metric): row for row in told}[
            "blocks.5", ids[11], "mean patch similarity, centred"
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
        with pytest.raises(DataUnavailableError, match=r"extract --dataset folder:\S+/pets .*--view maps --maps 21"):
            image_similarity(Selection(store), [name])


def test_a_store_without_maps_says_how_to_get_them(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made.parent / "pets", tmp_path / "pets")
    extract(options(tmp_path, ("pooled",), 64), LOOP)
    with pytest.raises(DataUnavailableError, match="--view maps"):
        similarity(Selection(str(tmp_path / "store.zarr")), QUICK, LOOP)


def test_a_layer_of_one_position_is_left_out_and_said_or_refused_where_it_is_named(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made.parent / "pets", tmp_path / "pets")
    extract(options(tmp_path, ("maps",), 32), LOOP)
    store = str(tmp_path / "store.zarr")
    with pytest.raises(UsageError, match=r"test_convnext.*stages\.3.* has no spatial extent: it has 1x1 grid"):
        similarity(Selection(store, taps=("stages.3.blocks.0", "blocks.*")), QUICK, LOOP)
    assert not list_results(FeatureStore.open(store))
    result = similarity(Selection(store), QUICK, LOOP).result
    assert not [layer for layer in result.attrs["layers"] if layer["tap"].startswith("stages.3")]
    assert any("stages.3.blocks.0" in note and "left out" in note for note in result.attrs["notes"])


def rows_of(result: Result, **wanted: str) -> list[Row]:
    return [row for row in ENTRY.rows_of(result) if all(getattr(row, name) == value for name, value in wanted.items())]


def test_rows_carry_every_number() -> None:
    result = result_of({"conv": [8, 4], "vit": [6, 7]})
    rows = ENTRY.rows_of(result)
    assert len({(row.subject, row.metric, row.factor, row.at) for row in rows}) == len(rows)
    own = {row.metric: row for row in rows_of(result, backbone="vit", layer="blocks.1", factor="grid 7x7")}
    assert set(own) == {
        f"{name}, {version}"
        for version in ("raw", "centred")
        for name in QUANTITIES.values()
        if name != QUANTITIES["profile"]
    }
    for version in (0, 1):
        named = ("raw", "centred")[version]
        contrast = own[f"neighbour contrast, {named}"]
        for column, end in (("value", ""), ("low", "_low"), ("high", "_high")):
            values = result.data[f"measures{end}"][1][3, version]
            assert getattr(contrast, column) == values[MEASURES.index("contrast")]
            lengths = [own[f"correlation length ({unit}), {named}"] for unit in ("grid steps", "pixels")]
            assert [getattr(row, column) for row in lengths] == [(v := values[MEASURES.index("length")]), 8 * v]
            assert {row.note for row in lengths} == {UNRESOLVED if v < FLOOR else ""}
        profile = rows_of(result, backbone="vit", layer="blocks.1", metric=f"similarity by distance, {named}")
        assert [row.at for row in profile] == list(range(7))
        assert [row.value for row in profile] == result.data["profile"][1][3, version].tolist()[:7]
        assert [row.high for row in profile] == result.data["profile_high"][1][3, version].tolist()[:7]
        assert {(row.kind, row.factor) for row in profile} == {(CURVE, "distance, steps of the grid 7x7")}
    (constant,) = rows_of(result, backbone="conv", layer="blocks.0", metric="neighbour contrast, centred")
    assert (constant.value, constant.n, constant.n_failed, constant.note) == (None, 0, 12, "")
    (fixed,) = rows_of(result, backbone="vit", layer="blocks.0", metric="mean patch similarity, centred")
    assert fixed.note.startswith("not measurable on any grid: centred features sum to zero")
    common = rows_of(result, factor="common grid 4x4", kind=VALUE)
    assert {(row.backbone, row.layer) for row in common} == {("conv", "blocks.1"), ("vit", "blocks.1")}
    assert len(common) == 2 * 2 * len(MEASURES)
    differences = rows_of(result, kind=DIFFERENCE)
    assert len(differences) == 2 * len(MEASURES)
    for row in differences:
        assert (row.subject, row.factor) == ("conv/blocks.1 less vit/blocks.1", "common grid 4x4")
        if row.note:
            assert (row.value, row.low, row.p, row.verdict) == (None, None, None, "")
        else:
            assert row.low is not None
            assert row.high is not None
            leaves_out_0 = row.low > 0 or row.high < 0
            assert row.verdict in ("not resolved", *(["too few images to resolve"] if leaves_out_0 else []))  # of 12
            assert row.p is not None
    whole = document([(result, ENTRY.arrays)], rows)
    read = json.loads(json.dumps(json_value(whole), allow_nan=False))
    assert len(read["rows"]) == len(rows)
    assert read["results"][0]["attributes"]["layers"][3]["grid"] == [7, 7]


def test_a_difference_that_holds_0_is_not_resolved() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=(40, 4, 4, 8))
    maps = {Layer("a", "x"): one, Layer("b", "x"): one[::-1] + 0.0}
    analysis = Similarity.between(dict.fromkeys(maps, (4, 4)), {}, intervals=IntervalOptions(resamples=200))
    result = analysis.summarise(list(maps), [analysis.measure(list(maps), maps.__getitem__, np.arange(40))])
    rows = [row for row in rows_of(result, kind=DIFFERENCE) if row.metric.startswith("mean patch similarity")]
    assert [row.verdict for row in rows] == ["not resolved", ""], "the mean of centred ones is fixed"
    assert ENTRY.main_rows(result, ENTRY.rows_of(result))[0].subject == "a/x less b/x"


def test_a_difference_of_few_images_gets_no_verdict() -> None:
    result = result_of({"conv": [4], "vit": [6]})  # 12 images; as if the mean patch similarity differed by far
    result.data["difference_low"][1][...], result.data["difference_high"][1][...] = 0.5, 0.7
    result.data["difference_resolved"][1][...] = np.nan
    (row,) = rows_of(result, kind=DIFFERENCE, metric="mean patch similarity, raw")
    assert (row.verdict, row.class_verdict) == ("too few images to resolve", "")


@pytest.mark.parametrize(("side", "resolved"), [(9, (True, True)), (4, (False, False))])
def test_only_lengths_that_the_grid_resolves_have_a_difference(side: int, resolved: tuple[bool, bool]) -> None:
    """Smooth maps: on a small grid their similarity falls within a step."""
    result = result_of({"a": [side], "b": [side]}, n=64)
    at = MEASURES.index("length")
    below = (result.data["common"][1][:, :, at] < FLOOR).any(axis=0)
    assert (~below).tolist() == list(resolved)
    for version, measurable in zip(("raw", "centred"), resolved, strict=True):
        (row,) = rows_of(result, kind=DIFFERENCE, metric=f"correlation length (grid steps), {version}")
        assert (row.value is not None, row.low is not None, bool(row.verdict)) == (measurable,) * 3
        assert row.note == ("" if measurable else UNRESOLVED)


def test_an_earlier_result_is_judged_by_its_intervals() -> None:
    """Versions before judged no family: each difference by its own interval, over images and over classes."""
    result = result_of({"conv": [4], "vit": [6]}, n=96, classes=np.arange(96) % 32)
    earlier = replace(result, data={k: v for k, v in result.data.items() if not k.endswith(("_resolved", "_p"))})
    assert earlier.data.keys() != result.data.keys()
    rows = [row for row in rows_of(earlier, kind=DIFFERENCE) if row.value is not None]
    assert len(rows) == 7 - int((earlier.data["common"][1][..., MEASURES.index("length")] < FLOOR).any(axis=0).sum())
    for row in rows:
        assert row.p is None
        for said, low, high in (
            (row.verdict, row.low, row.high),
            (row.class_verdict, row.class_low, row.class_high),
        ):
            assert low is not None
            assert high is not None
            assert said == ("resolved" if low > 0 or high < 0 else "not resolved")
    now = [row for row in rows_of(result, kind=DIFFERENCE) if row.value is not None]
    assert all(row.p is not None and row.verdict and row.class_verdict for row in now)
    assert "over classes: 32 classes resampled" in ENTRY.sentences(result, now)[0]


def test_the_report_gets_rows_a_headline_and_the_command(made: Path, tmp_path: Path) -> None:
    store = copy(made, tmp_path)
    analysed = similarity(Selection(store), IntervalOptions(resamples=50, seed=3), LOOP)
    key = next(key for key in list_results(FeatureStore.open(store)) if key.path == analysed.path)
    result = stored_result(FeatureStore.open(store), key)
    rows = ENTRY.rows_of(result)
    assert {row.n + row.n_failed for row in rows} == {32}
    assert {(row.run, row.dataset, row.split) for row in rows} == {(analysed.path, "folder-pets", "all")}
    headline = ENTRY.main_rows(result, rows)
    assert headline[0].subject == "test_convnext@64/stages.3.blocks.1 less test_vit@64/blocks.5"
    assert {row.metric for row in headline[1:]} == {
        "mean patch similarity, raw",
        "neighbour contrast, centred",
        "correlation length (pixels), centred",
    }
    assert not any(row.note for row in headline)
    assert 0 < len(headline) < 20
    command = ENTRY.command(result)
    assert command[:2] == ["analyze", "similarity"]
    assert command[-4:] == ["--resamples", "50", "--seed", "3"]
    files = drawn(result, tmp_path / "report", ("svg",))
    assert [path.suffix for path in files] == [".svg", ".csv"]


def test_another_process_draws_the_same_bytes(tmp_path: Path) -> None:
    result = result_of({"a": [8, 4], "b": [7]})
    draw_elsewhere(result, tmp_path / "other" / "similarity")
    for path in drawn(result, tmp_path / "own" / "similarity"):
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()


@pytest.mark.parametrize("backbones", [{"a": [8]}, {"a": [5, 29], "b": [2], "c": [9]}], ids=["one", "three"])
def test_the_figure_and_its_data(tmp_path: Path, backbones: dict[str, list[int]]) -> None:
    result = result_of(backbones, n=3)
    files = drawn(result, tmp_path / "deep" / "similarity.v1")
    assert [path.name for path in files] == ["similarity.v1.svg", "similarity.v1.png", "similarity.v1.csv"]
    rows = list(csv.DictReader(files[-1].read_text().splitlines()))
    assert len(rows) == len(ENTRY.rows_of(result))


def test_matrices_side_by_side_have_one_scale() -> None:
    figure = similarity_figure(result_of({"a": [8], "b": [4], "c": [6]}), [])
    rows = [[axis.images[0] for axis in figure.axes if axis.get_xlabel().startswith(x)] for x in ("position", "offset")]
    raw, centred = rows[0][:3], rows[0][3:]
    for images in (raw, centred, rows[1]):
        assert len(images) == 3
        assert len({(image.get_clim(), image.get_cmap().name) for image in images}) == 1
    assert raw[0].get_clim() != centred[0].get_clim()


def test_a_length_below_one_step_is_no_point(tmp_path: Path) -> None:
    """What the notes call not measurable: the last layer's length is in no curve, still or interactive."""
    result = result_of({"a": [8, 8, 8]})
    at = (1, MEASURES.index("length"))
    for layer, length in enumerate((3.0, 2.0, 0.65)):
        result.data["measures"][1][(layer, *at)] = length
    rows = ENTRY.rows_of(result)
    figure = saved(lambda: similarity_figure(result, rows), tmp_path)
    assert cut(figure) == []
    (axis,) = (one for part in figure.subfigs for one in part.axes if "length by depth" in one.get_title())
    assert "left out below one grid step" in axis.get_title()
    (curve,) = (line for line in axis.lines if line.get_marker() == "o")
    np.testing.assert_array_equal(np.isnan(np.asarray(curve.get_ydata())), [False, False, True])
    twin = similarity_chart(result, rows)
    (panel,) = (one for one in twin.panels if one.title.startswith("correlation length"))
    assert list(panel.columns["x"]) == [0.0, 0.5]
    assert "left out" in twin.about


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown figure format 'gif'"):
        drawn(result_of({"a": [4]}), tmp_path / "similarity", ["svg", "gif"])
    assert not list(tmp_path.iterdir())
