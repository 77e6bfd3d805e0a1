"""`analyze spectra` over a store: its numbers against the stored rows, any number of actors, its forms, its figure."""

from __future__ import annotations

import csv
import math
import shutil
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.spectra.measure import Spectra
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.engine.statistics.verdict import FAMILY
from cvbench.errors import DataUnavailableError, UsageError
from cvbench.jobs.analyses.spectra import ENTRY, QUANTITIES, spectra
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.reading.selection import Selection
from cvbench.jobs.registry import find_live
from cvbench.jobs.results.keep import stored_result
from cvbench.jobs.results.row import CURVE, DIFFERENCE, REFERENCE, VALUE, Row
from cvbench.jobs.running.cluster import Cluster
from cvbench.storage.features import FeatureStore
from cvbench.storage.results.outcomes import list_results, load_result
from tests.jobs.elsewhere import draw_elsewhere, drawn
from tests.jobs.images import write_folder
from tests.jobs.maps_store import LOOP, copy, maps_store, options
from tests.jobs.travel import check_same_bits, travelling

QUICK = IntervalOptions(resamples=50)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return maps_store(tmp_path_factory.mktemp("spectra"))


def result_of(backbones: dict[str, list[int]], n: int = 12) -> Result:
    """Layers of smooth maps with the given sides, the last of each backbone constant."""
    rng = np.random.default_rng(2)
    layers, maps = [], {}
    for name, sides in backbones.items():
        for i, side in enumerate(sides):
            layer = Layer(name, f"blocks.{i}")
            values = rng.normal(size=(n, side, side, 4)).cumsum(axis=1).cumsum(axis=2)
            maps[layer] = np.ones_like(values) if i == len(sides) - 1 else values
            layers.append(layer)
    analysis = Spectra(intervals=IntervalOptions(resamples=30))
    return analysis.summarise(layers, [analysis.measure(layers, maps.__getitem__, np.arange(n))])


def test_the_numbers_are_those_of_the_stored_rows(made: Path, tmp_path: Path) -> None:
    store = copy(made, tmp_path)
    analysed = spectra(Selection(store), QUICK, LOOP)
    result = analysed.result
    assert result.attrs["samples"] == 31
    opened = FeatureStore.open(store)
    for i, layer in enumerate(analysed.selected.layers):
        maps = opened.layer(analysed.selected.group(layer), layer.tap).numpy()
        assert maps.shape[1:3] == tuple(result.attrs["layers"][i]["grid"])
        amplitude = np.abs(np.fft.fft2(maps.astype(np.float64), axes=(1, 2)))
        mean = np.log(amplitude + 1e-6).mean(axis=(0, -1))
        expected = [mean[k, k] - mean[0, 0] for k in range((len(mean) + 1) // 2)]
        np.testing.assert_allclose(result.data["diagonal"][1][i, : len(expected)], expected, atol=1e-4)
        energy = (amplitude**2).sum(axis=-1)
        share = (energy[:, 0, 0] / energy.sum(axis=(1, 2))).mean()
        found = result.data["measures"][1][i, result.coords["measure"].index("dc_share")]
        assert found == pytest.approx(share, rel=1e-5)
    kept = [load_result(opened, key) for key in list_results(opened)]
    assert kept[0] is not None
    np.testing.assert_array_equal(kept[0]["profile"].values, result.data["profile"][1])
    assert kept[0].attrs["view"] == "maps"


def test_a_partial_is_never_computed_twice(made: Path, tmp_path: Path) -> None:
    store = copy(made, tmp_path)
    assert spectra(Selection(store), QUICK, LOOP).measured == 4
    assert spectra(Selection(store), IntervalOptions(resamples=60, seed=1), LOOP).measured == 0


def same_bits(made: Path, tmp_path: Path, way: AbstractContextManager[None], cluster: Cluster) -> None:
    """Those of the plain loop, this way too."""

    def run(name: str, cluster: Cluster) -> Result:
        (tmp_path / name).mkdir()
        return spectra(Selection(copy(made, tmp_path / name)), QUICK, cluster).result

    check_same_bits(run, way, cluster)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_here")
def test_any_number_of_actors_gives_the_same_bits(made: Path, tmp_path: Path) -> None:
    same_bits(made, tmp_path, nullcontext(), Cluster(address="local", actors=2))


def test_what_has_travelled_gives_the_same_bits(made: Path, tmp_path: Path) -> None:
    same_bits(made, tmp_path, travelling(), LOOP)


def test_a_store_without_maps_says_how_to_get_them(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made.parent / "pets", tmp_path / "pets")
    extract(options(tmp_path, ("pooled",), 64), LOOP)
    with pytest.raises(DataUnavailableError, match="--view maps"):
        spectra(Selection(str(tmp_path / "store.zarr")), QUICK, LOOP)


def test_a_layer_of_one_position_is_left_out_and_said_or_refused_where_it_is_named(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made.parent / "pets", tmp_path / "pets")
    extract(options(tmp_path, ("maps",), 32), LOOP)
    store = str(tmp_path / "store.zarr")
    with pytest.raises(UsageError, match=r"test_convnext.*stages\.3.* has no spatial extent: it has 1x1 grid"):
        spectra(Selection(store, taps=("stages.3.blocks.0", "blocks.*")), QUICK, LOOP)
    with pytest.raises(UsageError, match=r"stages\.3.* has no spatial extent"):
        spectra(Selection(store, taps=("stages.3*",)), QUICK, LOOP)  # none is left
    assert not list_results(FeatureStore.open(store))
    found = spectra(Selection(store), QUICK, LOOP)
    layers = [layer["tap"] for layer in found.result.attrs["layers"]]
    assert layers[-1].startswith("blocks.") or layers[-1].startswith("stages.2")
    assert not [tap for tap in layers if tap.startswith("stages.3")]
    (note,) = [note for note in found.result.attrs["notes"] if "left out" in note]
    assert "test_convnext@32/stages.3.blocks.0" in note
    assert spectra(Selection(store, taps=("blocks.*",)), QUICK, LOOP).measured == 4


def test_rows_carry_every_number() -> None:
    result = result_of({"conv": [8, 7, 4], "vit": [6, 6]})
    rows = ENTRY.rows_of(result)

    def of(layer: str, metric: str, backbone: str = "conv") -> list[Row]:
        return [row for row in rows if (row.backbone, row.layer, row.metric) == (backbone, layer, QUANTITIES[metric])]

    radial = of("blocks.1", "radial")
    assert [row.at for row in radial] == pytest.approx([0, 2 / 7, 4 / 7, 6 / 7])
    for column, end in (("value", ""), ("low", "_low"), ("high", "_high")):
        assert [getattr(row, column) for row in radial] == result.data[f"radial{end}"][1][1, :4].tolist()
    assert {row.kind for row in radial} == {CURVE}
    assert len(of("blocks.1", "diagonal")) == 4
    frequency = result.coords["frequency"]
    for layer, backbone in (("blocks.0", "conv"), ("blocks.1", "vit")):
        assert [row.at for row in of(layer, "profile", backbone)] == frequency
    (constant,) = of("blocks.2", "dc_share")[:1]
    assert (constant.value, constant.n, constant.n_failed) == (1, 12, 0)
    undefined = next(row for row in of("blocks.2", "centroid") if row.kind == VALUE)
    assert (undefined.value, undefined.n, undefined.n_failed) == (None, 0, 12)
    share, noise = of("blocks.0", "share_above_0.5")
    at = result.coords["measure"].index("share_above_0.5")
    assert share.value == result.data["measures"][1][0, at]
    assert (noise.kind, noise.value) == (REFERENCE, result.data["white_noise"][1][0, at])
    small = next(row for row in of("blocks.2", "slope") if row.kind == VALUE)
    assert (small.value, small.note) == (None, "not measurable on a 4x4 grid: it needs 5x5")
    assert all(math.isfinite(row.value) for row in rows if row.value is not None)


@pytest.mark.parametrize(("n", "said"), [(40, "resolved"), (12, "too few images to resolve")])
def test_a_verdict_stands_in_each_difference(n: int, said: str) -> None:
    rng = np.random.default_rng(2)
    rough = rng.normal(size=(n, 8, 8, 4))
    smooth = rng.normal(size=(n, 8, 8, 4)).cumsum(axis=1).cumsum(axis=2)
    maps = {Layer("a", "x"): rough, Layer("b", "x"): smooth, Layer("c", "x"): smooth + 0.0}
    analysis = Spectra(intervals=IntervalOptions(resamples=100))
    result = analysis.summarise(list(maps), [analysis.measure(list(maps), maps.__getitem__, np.arange(n))])
    rows = ENTRY.rows_of(result)
    told = {row.subject: (row.title, row.verdict) for row in ENTRY.main_rows(result, rows) if row.kind == DIFFERENCE}
    title = "difference of energy share above 0.5 π"
    assert told == {
        "a/x less b/x": (title, said),
        "a/x less c/x": (title, said),
        "b/x less c/x": (title, "not resolved"),
    }
    first = next(row for row in rows if row.kind == DIFFERENCE)
    kept = result.attrs["differences"][0]
    assert (first.value, first.low, first.high, first.p, first.n) == tuple(
        kept[key] for key in ("value", "low", "high", "p", "n")
    )
    assert FAMILY in ENTRY.sentences(result, rows)


def test_classes_are_resampled_where_there_are_many(tmp_path: Path) -> None:
    # 32 classes of three images, one of which is unreadable; from stored maps and live the same.
    write_folder(tmp_path / "pets", 96, 32, broken=(9,))
    chosen = replace(options(tmp_path, ("maps",), 64), backbones=("test_vit",), maps=None, taps=("blocks.1",))
    extract(chosen, LOOP)
    result = spectra(Selection(chosen.store), IntervalOptions(), LOOP).result
    assert (result.attrs["classes"], result.attrs["samples"]) == (32, 95)
    live = replace(chosen, views=("pooled",), store=str(tmp_path / "live.zarr"), analyses=("spectra",))
    (path,) = extract(live, LOOP, live=find_live(["spectra"])).results
    (key,) = list_results(FeatureStore.open(live.store))
    assert key.path == path
    again = stored_result(FeatureStore.open(live.store), key)
    for name in ("measures_class_low", "measures_class_high"):
        assert np.isfinite(result.data[name][1][0, 1:4]).all()
        assert np.isnan(result.data[name][1][0, 0]), "no frequency of 4x4 lies below 0.25"
        np.testing.assert_allclose(again.data[name][1], result.data[name][1], rtol=1e-9)
    share = next(row for row in ENTRY.rows(again) if (row.metric, row.kind) == (QUANTITIES["share_above_0.5"], VALUE))
    assert [share.class_low, share.class_high] == [
        again.data[f"measures_class_{end}"][1][0, 1] for end in ("low", "high")
    ]


def test_two_processes_draw_the_same_bytes(tmp_path: Path) -> None:
    result = result_of({"a": [8, 8, 4], "b": [7, 7]})
    draw_elsewhere(result, tmp_path / "one" / "spectra", ("svg", "png", "pdf"))
    drawn(result, tmp_path / "two" / "spectra", ("svg", "png", "pdf"))
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == [f"spectra.{suffix}" for suffix in ("csv", "pdf", "png", "svg")]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("backbones", [{"a": [8]}, {"a": [4, 2], "b": [2], "c": [9, 9, 5]}], ids=["one", "three"])
def test_the_figure_and_its_data(tmp_path: Path, backbones: dict[str, list[int]]) -> None:
    result = result_of(backbones)
    files = drawn(result, tmp_path / "deep" / "spectra.v1")
    assert [path.name for path in files] == ["spectra.v1.svg", "spectra.v1.png", "spectra.v1.csv"]
    assert files[0].read_text().count("<image ") == len(backbones) + 2  # one map each, and the colour bars
    rows = list(csv.DictReader(files[-1].read_text().splitlines()))
    assert len(rows) == len(ENTRY.rows_of(result))
    assert float(rows[1]["value"]) == result.data["radial"][1][0, 1]


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown figure format 'gif'"):
        drawn(result_of({"a": [4]}), tmp_path / "spectra", ["svg", "gif"])
    assert not list(tmp_path.iterdir())
