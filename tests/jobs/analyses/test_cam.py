"""Heat maps of a store: computed once, the same anywhere, measured as defined; and the figure."""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cvbench.engine.analyses.cam.choice import CHOICE
from cvbench.engine.analyses.cam.graph import class_map
from cvbench.engine.analyses.cam.measures import MAP_MEASURES, map_measures
from cvbench.engine.models.backbones import load_backbone, resolve_spec
from cvbench.engine.pictures.decode import decode, fit
from cvbench.errors import DataUnavailableError, FingerprintMismatchError, UnknownNameError, UsageError
from cvbench.jobs.analyses.cam.cam import ENTRY, cam
from cvbench.jobs.analyses.cam.options import MapOptions
from cvbench.jobs.analyses.cam.rows import UNJUDGED
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.figures.draw import draw
from cvbench.jobs.results.document import document
from cvbench.jobs.results.keep import Analysed, stored_result
from cvbench.jobs.results.row import DIFFERENCE
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.progress import Event, Note
from cvbench.storage.features import FeatureStore, GroupKey
from cvbench.storage.results.outcomes import list_results
from tests.jobs.analyses.pets import LOOP, QUICK, SIZE, TARGETS, options, vit
from tests.jobs.travel import travelling


@pytest.fixture(scope="module")
def made(pets: Path) -> Analysed:
    return cam(options(pets, pets / "store.zarr"), QUICK, LOOP)


def contents(store: Path) -> dict[str, str]:
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.rglob("*"))
        if path.is_file() and "_runs" not in path.parts  # the logs of runs say when
    }


def stored(store: str | Path, backbone: str, view: str = "cam.gradcam", suffix: str = "") -> NDArray[Any]:
    (group,) = (g for g in FeatureStore.open(store).groups() if g.view == view and g.backbone.startswith(backbone))
    return FeatureStore.open(store).layer(group, TARGETS[backbone] + suffix).read(0, 24)


def test_the_stored_maps_are_those_of_each_image_alone(made: Analysed, pets: Path) -> None:
    ids = FeatureStore.open(pets / "store.zarr").samples("folder-pets", "all")["id"]
    bad = [row for row, name in enumerate(ids) if name.endswith("009.png")]
    for model, target in TARGETS.items():
        backbone = load_backbone(resolve_spec(model, weights=str(pets / f"{model}.safetensors"), image_size=SIZE))
        raw, choice = stored(pets / "store.zarr", model), stored(pets / "store.zarr", model, suffix="@class")
        assert raw.dtype == np.float32
        for row in (0, 11, 23):
            image = fit(decode((pets / "pets" / ids[row]).read_bytes()), backbone.preprocess.geometry)
            found = class_map(backbone, target, "gradcam", torch.from_numpy(image)[None])
            # batch mates and threads change the order of float32 sums
            np.testing.assert_allclose(raw[row], found.raw[0], rtol=0, atol=1e-5 * float(found.raw.abs().max()))
            np.testing.assert_allclose(choice[row], found.choice[0], rtol=1e-4, atol=1e-5)
        assert np.isnan(raw[bad]).all()
        assert np.isnan(choice[bad]).all()
        assert np.isfinite(np.delete(raw, bad, axis=0)).all()


def test_the_numbers_are_the_means_of_the_stored_maps(made: Analysed, pets: Path) -> None:
    result = made.result
    assert result.attrs["images"] == 23
    assert result.attrs["unreadable"] == 1
    described = [(row["backbone"], tuple(row["grid"]), row["common"], row["version"]) for row in result.attrs["rows"]]
    vit, convnext = "test_vit@96", "test_convnext@96"
    assert described == [
        (vit, (3, 3), True, "raw"),
        (vit, (6, 6), False, "raw"),
        (vit, (3, 3), True, "centred"),
        (convnext, (3, 3), True, "raw"),
        (convnext, (3, 3), True, "centred"),
    ]
    raw = {model: stored(pets / "store.zarr", model) for model in TARGETS}
    ok = np.isfinite(raw["test_vit"][:, 0, 0])
    pooled = np.maximum(raw["test_vit"][ok], 0).astype(np.float64).reshape(-1, 3, 2, 3, 2).mean((2, 4))
    assert result.attrs["pooled"] == "L"
    coarse = raw["test_vit"][ok].astype(np.float64).reshape(-1, 3, 2, 3, 2).mean((2, 4)), raw["test_convnext"][ok]
    centred = [maps - maps.mean(axis=(1, 2), keepdims=True, dtype=np.float64) for maps in coarse]
    maps = (pooled, raw["test_vit"][ok], centred[0], raw["test_convnext"][ok], centred[1])
    tables = [map_measures(one) for one in maps]
    fits = MAP_MEASURES.index("gaussian_r2")  # seven numbers are fitted: nine cells are too few
    for at, (found, table) in enumerate(zip(result.data["value"][1], tables, strict=True)):
        expected = np.nanmean(table, axis=0)
        expected[fits] = expected[fits] if at == 1 else np.nan
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    for found, (one, two) in zip(result.data["difference"][1], ((0, 3), (2, 4)), strict=True):
        expected = np.nanmean(tables[one] - tables[two], axis=0)
        expected[fits] = np.nan
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert result.coords["pair"] == [f"{vit} - {convnext}", f"{vit} - {convnext} centred"]


def test_a_second_run_computes_and_writes_nothing(made: Analysed, pets: Path) -> None:
    before = contents(pets / "store.zarr")
    again = cam(options(pets, pets / "store.zarr"), QUICK, LOOP)
    assert (made.measured, again.measured, again.path) == (24, 0, made.path)
    assert contents(pets / "store.zarr") == before


def test_more_samples_and_another_target_add_to_what_is_there(made: Analysed, pets: Path, tmp_path: Path) -> None:
    job = vit(pets, tmp_path / "s.zarr", limit=8)
    assert cam(job, QUICK, LOOP).measured == 8
    before = contents(tmp_path / "s.zarr")
    assert cam(replace(job, limit=None, batch_size=None, unit=None), QUICK, LOOP).measured == 16
    np.testing.assert_array_equal(stored(tmp_path / "s.zarr", "test_vit"), stored(pets / "store.zarr", "test_vit"))
    other = replace(QUICK, maps=MapOptions(targets=("blocks.4.norm1",)))
    result = cam(replace(job, limit=None), other, LOOP)
    assert result.measured == 24
    assert [layer.tap for layer in result.selected.layers] == ["blocks.4.norm1"]
    after = contents(tmp_path / "s.zarr")
    assert {key: after[key] for key in before} == before


def same_store(pets: Path, tmp_path: Path, way: AbstractContextManager[None], cluster: Cluster) -> None:
    """As the plain loop leaves it, this way too."""
    cam(vit(pets, tmp_path / "loop.zarr"), QUICK, LOOP)
    with way:
        cam(vit(pets, tmp_path / "other.zarr"), QUICK, cluster)
    assert contents(tmp_path / "other.zarr") == contents(tmp_path / "loop.zarr")


@pytest.mark.ray
@pytest.mark.usefixtures("ray_here")
def test_two_actors_give_the_same_store_as_a_plain_loop(pets: Path, tmp_path: Path) -> None:
    same_store(pets, tmp_path, nullcontext(), Cluster(address="local", actors=2))


def test_what_has_travelled_gives_the_same_store(pets: Path, tmp_path: Path) -> None:
    same_store(pets, tmp_path, travelling(), LOOP)


def test_the_order_of_a_split_that_is_there_is_kept(made: Analysed, pets: Path, tmp_path: Path) -> None:
    """An extraction with another seed came first: unit, batch and order are its."""
    first = vit(pets, tmp_path / "s.zarr", seed=3, unit=12, batch_size=6, taps=("blocks.0",))
    extract(first, LOOP)
    cam(vit(pets, tmp_path / "s.zarr", unit=None, batch_size=None), QUICK, LOOP)
    tables = [
        FeatureStore.open(path).samples("folder-pets", "all")["id"] for path in (pets / "store.zarr", first.store)
    ]
    assert list(tables[0]) != list(tables[1])
    rows = [int(np.flatnonzero(tables[1] == name)[0]) for name in tables[0]]
    theirs, ours = stored(first.store, "test_vit")[rows], stored(pets / "store.zarr", "test_vit")
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-5 * float(np.nanmax(np.abs(ours))))


def test_the_label_and_a_fixed_class_are_views_of_their_own(made: Analysed, pets: Path) -> None:
    store = pets / "store.zarr"
    labels = FeatureStore.open(store).samples("folder-pets", "all")["label"]
    assert cam(vit(pets, store), replace(QUICK, maps=MapOptions(choice="label")), LOOP).measured == 24
    assert cam(vit(pets, store), replace(QUICK, maps=MapOptions(choice="01")), LOOP).measured == 24
    own, by_label, fixed = (
        stored(store, "test_vit", view, "@class") for view in ("cam.gradcam", "cam.gradcam.label", "cam.gradcam.1")
    )
    ok = np.isfinite(own[:, 0])
    assert by_label[ok, 0].tolist() == labels[ok].tolist()
    assert (fixed[ok, 0] == 1).all()
    for other in (by_label, fixed):
        np.testing.assert_array_equal(other[:, 1], own[:, 1])
    same = ok & (own[:, 0] == labels)
    assert same.any()
    assert not same[ok].all()
    np.testing.assert_array_equal(stored(store, "test_vit", "cam.gradcam.label")[same], stored(store, "test_vit")[same])


def test_only_images_that_all_get_right(made: Analysed, pets: Path) -> None:
    labels = FeatureStore.open(pets / "store.zarr").samples("folder-pets", "all")["label"]
    predicted = [stored(pets / "store.zarr", model, suffix="@class")[:, CHOICE.index("predicted")] for model in TARGETS]
    right = np.logical_and.reduce([top == labels for top in predicted])
    result = cam(options(pets, pets / "store.zarr"), replace(QUICK, correct_only=True), LOOP).result
    assert 0 < result.attrs["images"] == right.sum() < 23


def test_eigencam_needs_no_class_and_says_so(pets: Path, tmp_path: Path) -> None:
    job = options(pets, tmp_path / "s.zarr", backbones=("test_vit",), weights=("random",), limit=8)
    result = cam(job, replace(QUICK, maps=MapOptions("eigencam")), LOOP).result
    assert any("knows no class" in note for note in result.attrs["notes"])
    assert result.attrs["pairs"] == []


@pytest.mark.parametrize(("method", "knows"), [("rollout", False), ("legrad", True)])
def test_maps_of_attention_are_those_of_each_image_alone(pets: Path, tmp_path: Path, method: str, knows: bool) -> None:
    job = vit(pets, tmp_path / "s.zarr")
    found = cam(job, replace(QUICK, maps=MapOptions(method)), LOOP)
    assert found.measured == 24
    assert any("what the head's tokens attend to" in note for note in found.result.attrs["notes"]) is not knows
    key = GroupKey("folder-pets", "all", "test_vit@96", f"cam.{method}")
    maps = FeatureStore.open(tmp_path / "s.zarr").layer(key, "blocks.5").read(0, 24)
    ids = FeatureStore.open(tmp_path / "s.zarr").samples("folder-pets", "all")["id"]
    backbone = load_backbone(resolve_spec("test_vit", weights=str(pets / "test_vit.safetensors"), image_size=SIZE))
    for row in (0, 11, 23):
        image = fit(decode((pets / "pets" / ids[row]).read_bytes()), backbone.preprocess.geometry)
        raw = class_map(backbone, "blocks.5", method, torch.from_numpy(image)[None]).raw[0]
        np.testing.assert_allclose(maps[row], raw, rtol=0, atol=1e-4 * float(raw.max()))
    assert cam(job, replace(QUICK, maps=MapOptions(method)), LOOP).measured == 0


def test_maps_made_in_another_way_are_refused(made: Analysed, pets: Path) -> None:
    before = contents(pets / "store.zarr")
    with pytest.raises(FingerprintMismatchError, match="precision"):
        cam(options(pets, pets / "store.zarr", precision="bf16"), QUICK, LOOP)
    with pytest.raises(FingerprintMismatchError, match="weights_digest"):
        cam(options(pets, pets / "store.zarr", weights=("random",)), QUICK, LOOP)
    assert contents(pets / "store.zarr") == before


def test_examples_by_id(made: Analysed, pets: Path) -> None:
    ids = [str(name) for name in FeatureStore.open(pets / "store.zarr").samples("folder-pets", "all")["id"]]
    wanted = tuple(name for name in (ids[20], ids[3], ids[7]) if "009" not in name)
    found = cam(vit(pets, pets / "store.zarr"), replace(QUICK, images=wanted), LOOP)
    assert found.result.coords["example"] == list(wanted)
    assert found.path != made.path
    with pytest.raises(UnknownNameError) as caught:
        cam(vit(pets, pets / "store.zarr"), replace(QUICK, images=("class-0/000.jpg",)), LOOP)
    assert "class-0/000.png" in caught.value.did_you_mean
    with pytest.raises(DataUnavailableError, match="has no cam") as beyond:
        cam(vit(pets, pets / "store.zarr", limit=8), replace(QUICK, images=(ids[20],)), LOOP)
    assert "limit" in (beyond.value.fix or "")


def test_the_kept_result_tells_and_draws_the_same(made: Analysed, pets: Path, tmp_path: Path) -> None:
    store = FeatureStore.open(pets / "store.zarr")
    (key,) = (key for key in list_results(store) if key.path == made.path)
    again = stored_result(store, key)
    rows = ENTRY.rows_of(again)
    assert rows == ENTRY.rows_of(made.named)
    both = (("a", made.named), ("b", again))
    one, two = (draw(ENTRY, result, rows, tmp_path / name / "cam") for name, result in both)
    assert [path.name for path in one] == ["cam.svg", "cam.png", "cam.csv"]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    written = list(csv.DictReader(one[-1].read_text().splitlines()))
    means = [row for row in written if not row["sample"]]
    assert [float(row["value"]) if row["value"] else None for row in means] == [row.value for row in rows]
    sample = [row for row in written if row["sample"] == made.result.coords["example"][1]]
    cells = [row for row in sample if row["factor"] == "own grid 3x3"]
    assert [(row["cell_row"], row["cell_column"]) for row in cells] == [(i, j) for i in "012" for j in "012"]
    assert {(row["backbone"], row["metric"]) for row in cells} == {("test_convnext@96", "raw map")}
    np.testing.assert_array_equal([float(row["value"]) for row in cells], made.result.data["map_1"][1][1].ravel())
    with pytest.raises(UsageError, match="unknown figure format"):
        draw(ENTRY, made.named, rows, tmp_path / "c", ["gif"])
    assert len(ENTRY.main_rows(again, rows)) < len(rows)
    assert ENTRY.command(again)[:2] == ["analyze", "cam"]


def test_rows_say_which_differences_are_not_resolved(made: Analysed) -> None:
    rows = ENTRY.rows_of(made.named)
    apart = [row for row in rows if row.kind == DIFFERENCE]
    assert len(apart) == 2 * len(MAP_MEASURES)
    sides = {(row.backbone, row.layer, row.backbone_b, row.layer_b) for row in apart}
    assert sides == {("test_vit@96", TARGETS["test_vit"], "test_convnext@96", TARGETS["test_convnext"])}
    factors = [row.factor for row in apart]
    assert factors == ["common grid 3x3"] * len(MAP_MEASURES) + ["common grid 3x3, centred maps"] * len(MAP_MEASURES)
    for row in apart:  # 23 images: too few to call a difference resolved; raw ones are not judged at all
        if row.factor == "common grid 3x3":
            assert (row.verdict, row.p) == ("", None)
            assert row.note in {UNJUDGED, "not measurable on a 3x3 grid: it needs 4x4"}
        elif row.value is not None and row.p is not None:
            assert row.verdict == ("too few images to resolve" if row.p <= 0.05 else "not resolved")
    assert {row.factor for row in rows if row.kind != DIFFERENCE and row.layer == TARGETS["test_vit"]} == {
        "common grid 3x3",
        "own grid 6x6",
        "common grid 3x3, centred maps",
    }
    (told,) = document([(made.named, ENTRY.arrays)], rows)["results"]
    assert {one["backbone"] for one in told["attributes"]["backbones"]} == {"test_vit@96", "test_convnext@96"}
    assert told["coordinates"] == {"example": made.result.coords["example"]}


def test_whole_units_are_covered_and_it_is_said(pets: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    made = cam(
        options(pets, tmp_path / "s.zarr", limit=5, backbones=("test_vit",), weights=("random",)),
        QUICK,
        LOOP,
        events.append,
    )
    said = "--limit 5 covers 8 samples: whole units of 8"
    assert events.count(Note(said)) == 1
    assert said in made.result.attrs["notes"]


def test_importing_the_figure_imports_neither_torch_nor_matplotlib() -> None:
    code = "import sys, cvbench.jobs.figures.cam; sys.exit('matplotlib' in sys.modules or 'torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
