"""`analyze tsne` over a store: which rows, what is kept, its forms and its figure."""

from __future__ import annotations

import csv
import io
import json
import shutil
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.samples import Samples
from cvbench.engine.analyses.tsne.backends import Embedding
from cvbench.engine.analyses.tsne.result import Mapped, tsne_result
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.errors import UsageError
from cvbench.jobs.analyses.tsne import ENTRY, TsneOptions, tsne
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.figures.draw import draw
from cvbench.jobs.figures.tsne import CELLS, density
from cvbench.jobs.reading.selection import Selection
from cvbench.jobs.results.document import document
from cvbench.jobs.results.keep import stored_result
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.progress import Advanced, Event, Started
from cvbench.storage.features import FeatureStore
from cvbench.storage.results.outcomes import list_results
from cvbench.texts import json_value
from tests.jobs.images import write_folder
from tests.jobs.travel import travelling

QUICK = TsneOptions(backend="sklearn", perplexity=5, iterations=250, repeats=2, resamples=50)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images of 2 classes, 2 of them unreadable."""
    folder = tmp_path_factory.mktemp("tsne")
    write_folder(folder / "pets", 40, 2, broken=(9, 30))
    options = ExtractOptions(
        dataset=f"folder:{folder / 'pets'}",
        backbones=("test_vit", "test_convnext"),
        store=str(folder / "store.zarr"),
        weights=("random",),
        taps=("blocks",),
        views=("head", "maps"),
        batch_size=8,
        unit=16,
        image_size=64,
        max_unreadable=0.1,
    )
    extract(options, Cluster(address="none"))
    return folder / "store.zarr"


@pytest.fixture
def store(made: Path, tmp_path: Path) -> str:
    return str(shutil.copytree(made, tmp_path / "store.zarr"))


def test_a_map_is_made_once_of_the_readable_rows(store: str) -> None:
    first = tsne(Selection(store, view="head"), QUICK)
    opened = FeatureStore.open(store)
    stored = opened.layer(first.selected.group(first.selected.layers[0]), "head")
    assert first.result.coords["sample"] == stored.rows.tolist()
    assert first.result.data["map"][1].shape == (2, 38, 2)
    labels = opened.samples("folder-pets", "all")["label"][stored.rows]
    np.testing.assert_array_equal(first.result.data["label"][1], labels)
    again = tsne(Selection(store, view="head"), QUICK)
    assert (again.path, again.measured) == (first.path, 0)
    np.testing.assert_array_equal(again.result.data["map"][1], first.result.data["map"][1])
    other = tsne(Selection(store, view="head"), replace(QUICK, repeats=1))
    assert other.path != first.path
    np.testing.assert_array_equal(other.result.data["map"][1], first.result.data["map"][1])


def test_every_run_is_a_step_of_the_progress(store: str) -> None:
    heard: list[Event] = []
    tsne(Selection(store, view="head"), QUICK, heard.append)
    started = next(event for event in heard if isinstance(event, Started))
    steps = [event for event in heard if isinstance(event, Advanced)]
    assert started.units == len(steps) == 2 * (QUICK.repeats + 1)  # of each layer the runs, and what is measured
    assert started.total == sum(step.samples for step in steps)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_here")
def test_runs_side_by_side_give_the_numbers_of_the_plain_loop(store: str, tmp_path: Path) -> None:
    same_numbers(store, tmp_path, nullcontext(), Cluster(address="local", actors=2, in_flight=1))


def test_what_has_travelled_gives_the_numbers_of_the_plain_loop(store: str, tmp_path: Path) -> None:
    same_numbers(store, tmp_path, travelling(), Cluster(address="none"))


def same_numbers(store: str, tmp_path: Path, way: AbstractContextManager[None], cluster: Cluster) -> None:
    """Those of the plain loop, this way too."""
    copy = str(shutil.copytree(store, tmp_path / "copy.zarr"))
    loop = tsne(Selection(store, view="head"), QUICK)
    with way:
        beside = tsne(Selection(copy, view="head"), QUICK, cluster=cluster)
    assert (beside.path, beside.measured > 0) == (loop.path, True)
    for name, (_, values) in loop.result.data.items():
        np.testing.assert_array_equal(beside.result.data[name][1], values, name)


def test_layers_that_are_prepared_a_few_at_a_time_give_the_same(store: str, tmp_path: Path) -> None:
    copy = str(shutil.copytree(store, tmp_path / "copy.zarr"))
    together = tsne(Selection(store, view="head"), QUICK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cvbench.engine.analyses.tsne.measure.SCORES_BYTES", 1)
        alone = tsne(Selection(copy, view="head"), QUICK)
    for name, (_, values) in together.result.data.items():
        np.testing.assert_array_equal(alone.result.data[name][1], values, name)


def test_the_default_is_what_was_kept_whatever_is_installed_by_now(store: str) -> None:
    pytest.importorskip("openTSNE")
    kept = tsne(Selection(store, view="head"), replace(QUICK, backend="opentsne"))
    assert tsne(Selection(store, view="head"), replace(QUICK, backend="auto")).path == kept.path
    named = tsne(Selection(store, view="head"), replace(QUICK, backend="sklearn"))
    assert named.path != kept.path
    assert tsne(Selection(store, view="head"), replace(QUICK, backend="auto")).path == named.path


def test_what_the_report_asks_for(store: str, tmp_path: Path) -> None:
    tsne(Selection(store, view="head"), QUICK)
    opened = FeatureStore.open(store)
    (key,) = list_results(opened)
    result = stored_result(opened, key)
    rows = ENTRY.rows_of(result)
    guessed = [row for row in rows if row.factor == "chance"]
    assert [(row.metric, row.value) for row in guessed] == [
        (f"kNN purity, {of}", result.attrs["chance_purity"]) for of in ("features", "map")
    ]
    rows = [row for row in rows if row not in guessed]
    assert len(rows) == 3 * len(result.coords["measure"]), "two backbones, and the difference"
    assert all(row.class_low is None for row in rows), "two classes are too few to be drawn"
    differences = [row for row in rows if row.kind == "difference"]
    for j, row in enumerate(differences):
        value, p, flag = (result.data[f"difference{end}"][1][0, j] for end in ("", "_p", "_resolved"))
        assert row.value == (pytest.approx(value, abs=0) if np.isfinite(value) else None)
        assert row.p == (pytest.approx(p, abs=0) if np.isfinite(p) else None)
        assert (row.verdict == "not resolved") == (flag == 0)
        unknown = row.metric in ("kNN purity, map", "silhouette of the map")
        assert (row.verdict == "") == (unknown and bool(np.isnan(flag))), "no number of samples would give an interval"
        assert row.subject == f"{row.backbone}/head less {row.backbone_b}/head"
    assert any(row.verdict == "not resolved" for row in differences), "random weights"
    assert {row.run for row in rows} == {key.path}
    assert {row.factor for row in rows if row.value is None} == {"k = 30"}, "38 samples"
    headline = ENTRY.main_rows(result, rows)
    assert [row.kind for row in headline] == ["difference"] * 4 + ["value"] * 8
    words = ENTRY.command(result)
    assert words[:2] == ["analyze", "tsne"]
    for option in (["--perplexity", "5"], ["--repeats", "2"], ["--backend", "sklearn"], ["--resamples", "50"]):
        assert words[words.index(option[0]) + 1] == option[1]
    assert "--measured" not in words, "as by default, though there are fewer samples"
    files = draw(ENTRY, result, rows, tmp_path / "map", ("png",))
    table = list(csv.DictReader(io.StringIO(files[-1].read_text())))
    assert len(table) == 2 * 38
    assert float(table[0]["x"]) == result.data["map"][1][0, 0, 0]
    report: Any = json_value(document([(result, ENTRY.arrays)], rows))
    json.dumps(report, allow_nan=False)
    (described,) = report["results"]
    assert np.shape(described["arrays"]["kl"]["values"]) == (2, 2)
    assert described["arrays"]["map"]["values"] == result.data["map"][1].tolist()
    assert [described["coordinates"][dim] for dim in ("axis", "sample")] == [["x", "y"], result.coords["sample"]]


def test_a_difference_of_an_earlier_version_is_judged_by_its_interval(store: str) -> None:
    made = tsne(Selection(store, view="head"), QUICK).result
    kept = {name: value for name, value in made.data.items() if not name.endswith(("_p", "_resolved"))}
    for end, value in (("", 0.3), ("_low", 0.1), ("_high", 0.5)):
        kept[f"difference{end}"] = (("pair", "measure"), np.full_like(kept["difference"][1], value))
    pairs = [row for row in ENTRY.rows(replace(made, data=kept)) if row.kind == "difference" and row.n >= 30]
    assert {(row.verdict, row.p) for row in pairs} == {("resolved", None)}


def test_maps_and_too_few_samples_are_refused(store: str) -> None:
    with pytest.raises(UsageError, match="is a map per sample, a vector is needed"):
        tsne(Selection(store, view="maps"), QUICK)
    heard: list[Event] = []
    with pytest.raises(UsageError, match="perplexity 30 needs more than 91 samples, there are 38") as caught:
        tsne(Selection(store, view="head"), TsneOptions(backend="sklearn"), heard.append)
    assert "--perplexity 12 or less" in str(caught.value)
    assert heard == [], "refused before anything is said to start"
    assert list_results(FeatureStore.open(store)) == []


def result_of(classes: int, n: int) -> Result:
    """Two layers of points without any t-SNE."""
    rng = np.random.default_rng(0)
    names = ("trustworthiness_10", "purity_map_10", "purity_features_10", "silhouette_map")
    points = [rng.normal(size=(n, 2)) * (1, 3), rng.normal(size=(n, 2))]
    found = [Mapped([Embedding(y, 1.0, 1000, (50, 50))], [dict.fromkeys(names, np.ones(n))], {}) for y in points]
    samples = Samples("pets/all", np.arange(n), rng.integers(0, classes, n))
    options = {"backend": "sklearn", "backend_version": "1", "perplexity": 30.0, "samples": n, "samples_of": n}
    more = {"measured_samples": n, "repeats": 1, "confidence": 0.95}
    layers = [Layer("vit", "head"), Layer("convnext", "head")]
    return tsne_result(layers, found, samples, samples.labels, {**options, **more}, IntervalOptions(resamples=10))


@pytest.mark.parametrize(("classes", "n"), [(10, 200), (30, 200), (3, 50_001)], ids=["legend", "many", "dense"])
def test_a_figure_has_the_same_bytes_every_time(classes: int, n: int, tmp_path: Path) -> None:
    entry = replace(ENTRY, points=lambda result: [{"sample": 0}])
    result = result_of(classes, n)
    first, second = (draw(entry, result, [], tmp_path / name) for name in ("a", "b"))
    assert [path.suffix for path in first] == [".svg", ".png", ".csv"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert first[0].stat().st_size < 3_000_000, "the points are a picture in the SVG"


def test_a_caption_has_the_numbers_with_their_intervals_and_k(tmp_path: Path) -> None:
    from cvbench.jobs.figures.tsne import _caption

    result = result_of(10, 200)
    for end, value in (("", 0.91234), ("_low", 0.85), ("_high", 1.0)):
        result.data[f"measures{end}"][1][0, 0] = value
    lines = _caption(result, 0).splitlines()
    assert lines[0] == "trustworthiness (k = 10) 0.912 [0.850, 1.000]"
    assert lines[-1] == "KL divergence 1.000 nat"


def test_the_density_is_the_mean_colour_where_there_are_points() -> None:
    points = np.array([[0.0, 0.0], [0.0, 0.0], [10.0, 5.0]])
    colours = np.array([[1.0, 0, 0], [0, 0, 1.0]])
    picture, extent = density(points, np.array([0, 0, 1]), colours)
    assert picture.shape == (CELLS, CELLS, 3)
    assert (picture == 1).all(axis=2).sum() == CELLS**2 - 2
    assert extent[1] - extent[0] == pytest.approx(extent[3] - extent[2])
    red, blue = (np.argwhere((picture[..., c] == 1) & (picture[..., 2 - c] < 1))[0] for c in (0, 2))
    assert red[0] < blue[0]
    assert red[1] < blue[1]
