"""`analyze maps` over a store: numbers with and without boxes, the images beside the maps, its forms and its figure."""

from __future__ import annotations

import csv
import json
import shutil
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.maps.colours import principal_colours
from cvbench.engine.analyses.maps.kernel import KINDS, channel_maps
from cvbench.engine.pictures.boxes import cell_fractions, to_input
from cvbench.engine.pictures.decode import decode, fit
from cvbench.engine.pictures.geometry import Geometry
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.errors import DataUnavailableError, UnknownNameError, UsageError
from cvbench.jobs.analyses.maps import ENTRY, QUANTITIES, maps
from cvbench.jobs.analyses.options import MapsOptions
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.figures.draw import draw
from cvbench.jobs.reading.selection import Selection
from cvbench.jobs.results.document import document
from cvbench.jobs.results.keep import stored_result
from cvbench.jobs.results.row import DIFFERENCE
from cvbench.jobs.running.cluster import Cluster
from cvbench.storage.datasets import open_dataset
from cvbench.storage.features import FeatureStore
from cvbench.storage.results.outcomes import list_results
from cvbench.texts import json_value
from tests.jobs.images import write_folder
from tests.jobs.travel import check_same_bits, travelling
from tests.storage.datasets.cub_tree import write_cub

LOOP = Cluster(address="none")
QUICK = MapsOptions(intervals=IntervalOptions(resamples=50))


def options(folder: Path, **changes: Any) -> ExtractOptions:
    chosen = ExtractOptions(
        dataset="cub200",
        split="all",
        data_root=str(folder / "data"),
        backbones=("test_vit",),
        store=str(folder / "store.zarr"),
        weights=("random",),
        views=("maps",),
        batch_size=4,
        unit=4,
        image_size=64,
        max_unreadable=0.1,
    )
    return replace(chosen, **changes)


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Maps of eight birds with boxes, in units of 4; the folder also has their files in `data`."""
    folder = tmp_path_factory.mktemp("birds")
    write_cub(folder / "data" / "CUB_200_2011")
    extract(options(folder), LOOP)
    return folder


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Maps of twelve images without boxes, one unreadable."""
    folder = tmp_path_factory.mktemp("pets")
    write_folder(folder / "pets", 12, broken=(5,))
    extract(options(folder, dataset=f"folder:{folder / 'pets'}", split=None, data_root=None), LOOP)
    return folder


def copy(made: Path, tmp_path: Path) -> str:
    return str(shutil.copytree(made / "store.zarr", tmp_path / "store.zarr"))


def test_the_numbers_are_those_of_rows_boxes_and_sizes(birds: Path, tmp_path: Path) -> None:
    store = copy(birds, tmp_path)
    chosen = replace(QUICK, data_root=str(birds / "data"))
    analysed = maps(Selection(store), chosen, LOOP)
    result, opened = analysed.result, FeatureStore.open(store)
    assert (analysed.measured, result.attrs["samples"]) == (2, 8)
    info = opened.split("cub200", "all")
    boxes = np.stack([info.factors[name] for name in ("bbox_x", "bbox_y", "bbox_w", "bbox_h")], axis=1)
    fields = opened.fingerprint(analysed.selected.group(analysed.selected.layers[0]))["fingerprint"]["preprocess"]
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields["geometry"].items()}
    geometry = Geometry(**values)
    inside = to_input(boxes, np.tile([16, 24], (8, 1)), geometry)  # the files are 24 x 16 pixels
    fractions = cell_fractions(inside, geometry.size, (4, 4))
    for i, layer in enumerate(analysed.selected.layers):
        rows = opened.layer(analysed.selected.group(layer), layer.tap).numpy().astype(np.float64)
        norms = np.sqrt((rows**2).sum(axis=-1))
        shares = (norms * fractions).sum(axis=(1, 2)) / norms.sum(axis=(1, 2))
        at = result.coords["measure"].index("foreground_share")
        assert result.data["measures"][1][i, at] == pytest.approx(np.nanmean(shares), abs=1e-6)
        assert result.data["n_undefined"][1][i, at] == np.isnan(shares).sum()
    assert result.attrs["boxes_vanished"] == {"test_vit@64": int(np.isnan(inside[:, 0]).sum())}
    again = maps(Selection(store), replace(chosen, measure="norm"), LOOP)
    assert again.measured == 0
    assert again.path != analysed.path


def test_the_pictures_are_what_the_backbone_saw(birds: Path, tmp_path: Path) -> None:
    store = copy(birds, tmp_path)
    opened = FeatureStore.open(store)
    name = str(opened.split("cub200", "all").ids[6])
    chosen = replace(QUICK, data_root=str(birds / "data"), images=(name,))
    analysed = maps(Selection(store, taps=("blocks.1", "blocks.3")), chosen, LOOP)
    result = analysed.result
    assert result.coords["image"] == [name]
    dataset = open_dataset("cub200", data_root=birds / "data", split="all")
    seen = fit(decode(dataset.read(list(dataset.ids).index(name))), Geometry((64, 64), 67))
    picture = result.data["picture_0"][1]
    assert picture.shape == (1, 64, 64, 3)
    assert picture.dtype == np.uint8
    assert np.abs(picture[0].astype(int) - np.moveaxis(seen, 0, 2)).mean() < 8  # the crop's exact resize aside
    layer = analysed.selected.layers[1]
    row = opened.layer(analysed.selected.group(layer), layer.tap).read(6, 7)
    np.testing.assert_allclose(result.data["map_1"][1][:, 0], channel_maps(row)[0], rtol=1e-5, atol=1e-6)
    assert result.coords["kind"] == list(KINDS)
    assert result.data["box_0"][1].shape == (1, 4)


def same_bits(birds: Path, tmp_path: Path, way: AbstractContextManager[None], cluster: Cluster) -> None:
    """Those of the plain loop, this way too."""
    options = replace(QUICK, data_root=str(birds / "data"))

    def run(name: str, cluster: Cluster) -> Result:
        (tmp_path / name).mkdir()
        return maps(Selection(copy(birds, tmp_path / name)), options, cluster).result

    check_same_bits(run, way, cluster)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_here")
def test_any_number_of_actors_gives_the_same_bits(birds: Path, tmp_path: Path) -> None:
    same_bits(birds, tmp_path, nullcontext(), Cluster(address="local", actors=2))


def test_what_has_travelled_gives_the_same_bits(birds: Path, tmp_path: Path) -> None:
    same_bits(birds, tmp_path, travelling(), LOOP)


class TestWithoutTheFiles:
    def test_boxes_need_them_and_maps_do_not(self, birds: Path, tmp_path: Path) -> None:
        analysed = maps(Selection(copy(birds, tmp_path)), replace(QUICK, data_root=str(tmp_path)), LOOP)
        result = analysed.named
        assert result.coords["measure"] == ["outlier_rate"]
        assert "picture_0" not in result.data
        assert any("without the images, which cannot be opened" in note for note in result.attrs["notes"])
        assert any("boxes need the sizes of the images" in note for note in result.attrs["notes"])
        assert len(draw(ENTRY, result, ENTRY.rows_of(result), tmp_path / "maps", ("svg",))) == 2

    def test_other_files_are_not_drawn(self, birds: Path, tmp_path: Path) -> None:
        shutil.copytree(birds / "data", tmp_path / "data")
        image = next((tmp_path / "data").rglob("*.jpg"))
        image.write_bytes(image.read_bytes() + b"\0")
        result = maps(Selection(copy(birds, tmp_path)), replace(QUICK, data_root=str(tmp_path / "data")), LOOP).result
        assert "picture_0" not in result.data
        assert any("not as it was, that was extracted" in note for note in result.attrs["notes"])

    def test_a_folder_is_found_where_it_was_or_is_said_to_be(self, pets: Path, tmp_path: Path) -> None:
        store = copy(pets, tmp_path)
        result = maps(Selection(store), QUICK, LOOP).result
        assert "picture_0" in result.data
        assert f"the images are from folder:{pets / 'pets'}, as the store says" in result.attrs["notes"]
        shutil.copytree(pets / "pets", tmp_path / "elsewhere/pets")
        (pets / "pets").rename(pets / "gone")
        try:
            result = maps(Selection(store), QUICK, LOOP).result
        finally:
            (pets / "gone").rename(pets / "pets")
        assert "picture_0" not in result.data
        assert any("give --source folder:PATH" in note for note in result.attrs["notes"])
        result = maps(Selection(store), replace(QUICK, source=f"folder:{tmp_path}/elsewhere/pets"), LOOP).result
        assert result.data["picture_0"][1].shape[:2] == (4, 64)
        assert any("no boxes" in note for note in result.attrs["notes"])
        assert result.attrs["samples"] == 11


class TestBadInput:
    def test_an_unknown_image_is_named_with_its_neighbours(self, pets: Path) -> None:
        with pytest.raises(UnknownNameError, match="unknown sample") as error:
            maps(Selection(str(pets / "store.zarr")), replace(QUICK, images=("class-0/00.png",)), LOOP)
        assert error.value.did_you_mean

    def test_an_unreadable_image_has_no_maps(self, pets: Path) -> None:
        with pytest.raises(DataUnavailableError, match=r"'class-1/005\.png' has no maps"):
            maps(Selection(str(pets / "store.zarr")), replace(QUICK, images=("class-1/005.png",)), LOOP)

    def test_an_unknown_measure(self, pets: Path) -> None:
        with pytest.raises(UnknownNameError, match="unknown measure 'norms'") as error:
            maps(Selection(str(pets / "store.zarr")), replace(QUICK, measure="norms"), LOOP)
        assert error.value.did_you_mean == ("norm",)

    def test_a_store_without_maps_says_how_to_get_them(self, pets: Path, tmp_path: Path) -> None:
        source = f"folder:{pets / 'pets'}"
        extract(options(tmp_path, dataset=source, split=None, data_root=None, views=("pooled",)), LOOP)
        with pytest.raises(DataUnavailableError, match="--view maps"):
            maps(Selection(str(tmp_path / "store.zarr")), QUICK, LOOP)

    def test_a_layer_of_one_position_is_refused_before_the_work(self, pets: Path, tmp_path: Path) -> None:
        source = f"folder:{pets / 'pets'}"
        small = options(tmp_path, dataset=source, split=None, data_root=None, image_size=16)
        extract(small, LOOP)
        store = str(tmp_path / "store.zarr")
        with pytest.raises(UsageError, match="has no spatial extent: it has 1x1 grid, a feature map needs 2x2"):
            maps(Selection(store), QUICK, LOOP)
        assert not list_results(FeatureStore.open(store))


def test_last_layers_are_compared_on_one_grid(birds: Path, tmp_path: Path) -> None:
    store = str(tmp_path / "store.zarr")
    both = options(tmp_path, store=store, data_root=str(birds / "data"), backbones=("test_vit", "test_convnext"))
    extract(replace(both, image_size=128), LOOP)  # grids of 8 x 8 and 4 x 4: on fewer positions nothing is an outlier
    analysed = maps(Selection(store), replace(QUICK, data_root=str(birds / "data")), LOOP)
    result, opened = analysed.result, FeatureStore.open(store)
    assert (result.attrs["common_grid"], result.coords["pair"]) == ([4, 4], ["test_convnext@128 vs test_vit@128"])
    last = [layer for layer in analysed.selected.layers if layer.tap in ("stages.3.blocks.1", "blocks.5")]
    shares = []
    for layer in last:
        held = opened.layer(analysed.selected.group(layer), layer.tap).numpy().astype(np.float64)
        norms, step = np.sqrt((held**2).sum(axis=-1)), held.shape[1] // 4
        pooled = norms.reshape(8, 4, step, 4, step).mean(axis=(2, 4))
        median = np.median(pooled, axis=(1, 2), keepdims=True)
        spread = np.median(np.abs(pooled - median), axis=(1, 2), keepdims=True)
        shares.append((pooled > median + 5 * 1.4826 * spread).mean())
    at = result.coords["measure"].index("outlier_rate")
    assert result.data["difference"][1][0, at] == pytest.approx(shares[0] - shares[1])
    rows = ENTRY.rows_of(analysed.named)
    apart = {row.metric: row for row in rows if row.kind == DIFFERENCE}
    sides = [(row.backbone, row.layer, row.backbone_b, row.layer_b) for row in apart.values()]
    assert set(sides) == {("test_convnext@128", "stages.3.blocks.1", "test_vit@128", "blocks.5")}
    assert {row.factor for row in apart.values()} == {"common grid 4x4"}
    rate, contrast = (apart[QUANTITIES[name]] for name in ("outlier_rate", "contrast"))
    assert rate.value == pytest.approx(shares[0] - shares[1])
    assert contrast.value is not None
    resolved = result.data["difference_resolved"][1][0, result.coords["measure"].index("contrast")]
    assert contrast.verdict == ("too few images to resolve" if np.isnan(resolved) else "not resolved")
    assert not any(row.verdict for row in rows if row.metric == rate.metric and row is not rate)  # a rate is not judged
    common = [row for row in rows if row.factor == "common grid 4x4" and row.kind != DIFFERENCE]
    assert [(row.backbone, row.layer) for row in common if row.metric == rate.metric] == [sides[0][:2], sides[0][2:]]
    result_kept = stored_result(opened, next(key for key in list_results(opened) if key.path == analysed.path))
    kept = ENTRY.rows_of(result_kept)
    assert kept == rows
    told = ENTRY.main_rows(result_kept, kept)
    assert [row.metric for row in told if row.kind == DIFFERENCE] == [
        QUANTITIES[name] for name in ("outlier_rate", "foreground_excess", "contrast")
    ]
    assert not [row for row in told if row.kind != DIFFERENCE and not row.factor.startswith("own grid")]
    files = draw(ENTRY, result_kept, kept, tmp_path / "maps", ("svg",))
    assert len(list(csv.DictReader(files[-1].read_text().splitlines()))) == len(rows)


def test_of_an_earlier_version_differences_are_judged_by_their_intervals(birds: Path, tmp_path: Path) -> None:
    """One that kept no verdicts: both intervals say, and what may be 0 of a layer too."""
    analysed = maps(Selection(copy(birds, tmp_path)), replace(QUICK, data_root=str(birds / "data")), LOOP)
    result = analysed.named
    data = {name: values for name, values in result.data.items() if not name.endswith(("_resolved", "_p"))}
    dims, low = data["measures_low"]
    at = result.coords["measure"].index("contrast")
    for end, values in (("class_low", low - 9.0), ("class_high", low + 9.0)):
        data[f"measures_{end}"] = (dims, values)
    rows = ENTRY.rows_of(replace(result, data=data))
    contrasts = [row for row in rows if row.metric == QUANTITIES["contrast"]]
    for row, bound in zip(contrasts, low[:, at].tolist(), strict=True):
        assert row.verdict == ("too few images to resolve" if bound > 0 or row.high < 0 else "not resolved")  # type: ignore[operator]
        assert row.class_verdict == "not resolved"
    assert {row.verdict for row in rows if row.metric == QUANTITIES["box_share"]} == {""}


@pytest.mark.parametrize("measure", ["pca", "pca-own"])
def test_principal_components_are_drawn_in_colour(birds: Path, tmp_path: Path, measure: str) -> None:
    store = copy(birds, tmp_path)
    chosen = replace(QUICK, data_root=str(birds / "data"), measure=measure)
    analysed = maps(Selection(store), chosen, LOOP)
    result = analysed.named
    number = result.attrs["drawn"][0]["layer"]
    layer = analysed.selected.layers[number]
    opened = FeatureStore.open(store)
    held = opened.layer(analysed.selected.group(layer), layer.tap)
    ids = list(opened.samples(analysed.selected.dataset, analysed.selected.split)["id"])
    taken = np.stack([held.read(row, row + 1)[0] for row in map(ids.index, result.coords["image"])])
    colours, shares = principal_colours(taken, common=measure == "pca")
    np.testing.assert_array_equal(result.data[f"colour_{number}"][1], colours)
    assert result.attrs["drawn"][0]["explained"] == shares.tolist()
    rows = ENTRY.rows_of(result)
    assert draw(ENTRY, result, rows, tmp_path / "x" / "maps", ["png"])[0].stat().st_size > 10_000
    assert ENTRY.chart is not None
    twin = ENTRY.chart(result, rows)
    assert twin is not None
    assert "of the variance" in str(twin.as_dict())
    assert f"--measure {measure}" in " ".join(ENTRY.command(result))


def test_rows_json_report_and_figure(birds: Path, tmp_path: Path) -> None:
    store = copy(birds, tmp_path)
    chosen = replace(
        QUICK, data_root=str(birds / "data"), measure="pc1", intervals=IntervalOptions(resamples=50, seed=2)
    )
    analysed = maps(Selection(store), chosen, LOOP)
    rows = ENTRY.rows_of(analysed.named)
    found: Any = json_value(document([(analysed.named, ENTRY.arrays)], rows))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["results"][0]["coordinates"] == {"image": analysed.result.coords["image"]}
    layer = analysed.result.attrs["layers"][0]
    (excess,) = (row for row in rows if (row.layer, row.metric) == (layer["tap"], QUANTITIES["foreground_excess"]))
    assert excess.low is not None
    assert excess.high is not None
    of_eight_images = "not resolved" if excess.low <= 0 <= excess.high else "too few images to resolve"
    assert excess.verdict == of_eight_images
    assert excess.factor == "own grid 4x4"
    assert not [row for row in rows if row.kind == DIFFERENCE]  # one backbone
    assert len(rows) == analysed.result.data["measures"][1].size
    opened = FeatureStore.open(store)
    result = stored_result(opened, next(key for key in list_results(opened) if key.path == analysed.path))
    assert ENTRY.rows_of(result) == rows
    assert {row.n + row.n_failed for row in rows} == {8}
    assert len(ENTRY.main_rows(result, rows)) == 2 * len(result.coords["measure"])
    assert f"drawn: {', '.join(result.coords['image'])}" in ENTRY.sentences(result, rows)
    words = ENTRY.command(result)
    assert "--measure pc1" in " ".join(words)
    assert words[-2:] == ["--seed", "2"]
    first = draw(ENTRY, result, rows, tmp_path / "one" / "maps")
    second = draw(ENTRY, analysed.named, rows, tmp_path / "two" / "maps")
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()  # from the store as from the run
    written = list(csv.DictReader(first[-1].read_text().splitlines()))
    assert [float(row["value"]) if row["value"] else None for row in written] == [row.value for row in rows]
    with pytest.raises(UsageError, match="unknown figure format 'gif'"):
        draw(ENTRY, result, rows, tmp_path / "maps", ["gif"])
