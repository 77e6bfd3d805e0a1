"""Receptive fields, faithfulness and norms over a store: stored numbers, means, resume, tables and figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cvbench.engine.analyses.cam.faithfulness import probability_curves
from cvbench.engine.analyses.cam.graph import class_map
from cvbench.engine.analyses.cam.randomised import randomised_correlations, shuffled_backbones
from cvbench.engine.analyses.receptive.gradient import measure_fields
from cvbench.engine.analyses.residual.sums import measure_residual
from cvbench.engine.models.backbones import load_backbone, resolve_spec
from cvbench.engine.pictures.decode import decode, fit
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.errors import UnknownNameError, UsageError
from cvbench.jobs.analyses import faithfulness as of_maps
from cvbench.jobs.analyses import norms as of_tokens
from cvbench.jobs.analyses import randomisation as of_shuffled
from cvbench.jobs.analyses import receptive_field as of_gradients
from cvbench.jobs.analyses import residual as of_branches
from cvbench.jobs.analyses.options import FaithfulnessOptions, NormsOptions, RandomisationOptions, ReceptiveOptions
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.figures.draw import draw
from cvbench.jobs.reading.options import Selection
from cvbench.jobs.registry import find_live
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.keep import Analysed
from cvbench.jobs.results.row import DIFFERENCE
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.running.progress import silent
from cvbench.storage.features import FeatureStore
from tests.jobs.images import write_folder

LOOP = Cluster(address="none")
QUICK = IntervalOptions(resamples=20)
SIZE = 64
FIELDS = ReceptiveOptions(intervals=QUICK)
SHUFFLED = RandomisationOptions("layercam", steps=2, intervals=replace(QUICK, seed=7))
CURVES = FaithfulnessOptions(cells=4, steps=2, intervals=QUICK)
TAPS = ("blocks.0", "blocks.5", "stages.0.blocks.0", "stages.3.blocks.1")


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 images of 2 classes, one unreadable."""
    return write_folder(tmp_path_factory.mktemp("passes") / "pets", 12, broken=(5,)).parent


def options(pets: Path, store: Path, **changes: object) -> ExtractOptions:
    base = ExtractOptions(
        dataset=f"folder:{pets / 'pets'}",
        backbones=("test_vit", "test_convnext"),
        store=str(store),
        weights=("random",),
        taps=TAPS,
        batch_size=4,
        unit=4,
        image_size=SIZE,
        max_unreadable=0.2,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def checked(entry: Entry, found: Analysed, tmp_path: Path) -> list[Any]:
    """The rows, after figure, chart and command were made of the result."""
    result = found.named
    rows = entry.rows_of(result)
    files = [draw(entry, result, rows, tmp_path / name / "x", ["svg"]) for name in ("one", "two")]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]
    assert entry.chart is not None
    chart = entry.chart(result, rows)
    assert chart is not None
    assert chart.as_dict()["panels"]
    assert entry.command(result)[:2] == ["analyze", entry.name]
    assert entry.main_rows(result, rows)
    assert all(row.verdict for row in rows if row.kind == DIFFERENCE)
    return rows


def image_of(pets: Path, store: FeatureStore, row: int, geometry: Any) -> torch.Tensor:
    name = store.samples("folder-pets", "all")["id"][row]
    return torch.from_numpy(fit(decode((pets / "pets" / name).read_bytes()), geometry))[None]


def test_receptive_fields(pets: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    found = of_gradients.receptive_field(options(pets, path), FIELDS, LOOP)
    assert found.measured == 12
    store = FeatureStore.open(path)
    values = {}
    for layer in found.selected.layers:
        model = layer.backbone.partition("@")[0]
        backbone = load_backbone(resolve_spec(model, weights="random", image_size=SIZE))
        stored = store.layer(found.selected.group(layer), layer.tap)
        row = int(stored.rows[7])
        shown = image_of(pets, store, row, backbone.preprocess.geometry)
        expected = measure_fields(backbone, shown, [layer.tap], "sum")[layer.tap][0]
        np.testing.assert_allclose(stored.read(row, row + 1)[0], expected, rtol=1e-3)
        values[layer] = stored.numpy().astype(np.float64)
    means = found.result.data["layers"][1]
    np.testing.assert_allclose(means[:, :4], [one[:, :4].mean(axis=0) for one in values.values()], rtol=1e-12)
    np.testing.assert_array_equal(found.result.data["box"][1], [one[:, 4:6].max(axis=0) for one in values.values()])
    rows = checked(of_gradients.ENTRY, found, tmp_path)
    assert {row.n for row in rows if row.metric == of_gradients.HALF and not row.factor} == {11}
    assert of_gradients.receptive_field(options(pets, path), FIELDS, LOOP).measured == 0
    signs = of_gradients.receptive_field(options(pets, path), replace(FIELDS, output="signs"), LOOP)
    assert (signs.measured, signs.selected.view) == (12, "receptive-field.signs")
    for backbones, taps, said in ((("test_vit",), ("head",), "lies on a grid"), (("test_vit",), TAPS, "unknown tap")):
        asked = options(pets, tmp_path / "t.zarr", backbones=backbones, taps=taps)
        with pytest.raises(UsageError, match=said):
            of_gradients.receptive_field(asked, FIELDS, LOOP)


def test_residual_sums(pets: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    found = of_branches.residual(options(pets, path), QUICK, LOOP)
    assert found.measured == 12
    store = FeatureStore.open(path)
    for i, layer in enumerate(found.selected.layers):
        backbone = load_backbone(resolve_spec(layer.backbone.partition("@")[0], weights="random", image_size=SIZE))
        stored = store.layer(found.selected.group(layer), layer.tap)
        row = int(stored.rows[7])
        shown = image_of(pets, store, row, backbone.preprocess.geometry)
        block, _, part = layer.tap.rpartition(".")
        place = (block, ("attn", "mlp").index(part)) if part in ("attn", "mlp") else (layer.tap, 0)
        expected = measure_residual(backbone, shown, {layer.tap: place})[layer.tap][0]
        np.testing.assert_allclose(stored.read(row, row + 1)[0], expected, rtol=1e-4)
        values = stored.numpy().astype(np.float64)
        own = [of_branches.NAMES.index(name) for name in found.result.attrs["layers"][i]["measures"]]
        np.testing.assert_allclose(found.result.data["layers"][1][i, own], values.mean(axis=0), rtol=1e-12)
    rows = checked(of_branches.ENTRY, found, tmp_path)
    assert {row.factor for row in rows} == {"", "all branches", "all branches attn", "all branches mlp"}
    assert {row.n for row in rows if row.kind != DIFFERENCE} == {11}
    convnext = [row.metric for row in rows if row.backbone.startswith("test_convnext")]
    assert set(convnext) == {of_branches.METRICS[name] for name in ("patches", "high_frequency", "variance")}
    assert of_branches.residual(options(pets, path), QUICK, LOOP).measured == 0


def test_faithfulness(pets: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    found = of_maps.faithfulness(options(pets, path), CURVES, LOOP)
    assert found.measured == 12
    store = FeatureStore.open(path)
    for i, layer in enumerate(found.selected.layers):
        backbone = load_backbone(resolve_spec(layer.backbone.partition("@")[0], weights="random", image_size=SIZE))
        stored = store.layer(found.selected.group(layer), layer.tap)
        row = int(stored.rows[3])
        shown = image_of(pets, store, row, backbone.preprocess.geometry)
        maps = class_map(backbone, layer.tap, "gradcam", shown)
        expected = probability_curves(backbone, shown, maps.raw, maps.choice[:, 0].long(), 4, 2)[0]
        np.testing.assert_allclose(stored.read(row, row + 1)[0], expected, rtol=1e-3)
        curves = stored.numpy().astype(np.float64)
        areas = curves[..., 0] / 4 + curves[..., 1] / 2 + curves[..., 2] / 4  # trapezoids of two steps
        np.testing.assert_allclose(found.result.data["layers"][1][i, :4], areas.mean(axis=0), rtol=1e-12)
    rows = checked(of_maps.ENTRY, found, tmp_path)
    assert {row.backbone_b for row in rows if row.kind == DIFFERENCE} == {"test_convnext@64"}
    assert of_maps.faithfulness(options(pets, path), CURVES, LOOP).measured == 0
    with pytest.raises(UnknownNameError, match="method"):
        of_maps.faithfulness(options(pets, path), replace(CURVES, method="gradcamm"), LOOP)
    with pytest.raises(UsageError, match="parts a side"):
        of_maps.faithfulness(options(pets, tmp_path / "t.zarr", image_size=32), replace(CURVES, cells=64), LOOP)


def test_randomisation(pets: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    found = of_shuffled.randomisation(options(pets, path), SHUFFLED, LOOP)
    assert found.measured == 12
    store = FeatureStore.open(path)
    for i, layer in enumerate(found.selected.layers):
        backbone = load_backbone(resolve_spec(layer.backbone.partition("@")[0], weights="random", image_size=SIZE))
        stored = store.layer(found.selected.group(layer), layer.tap)
        row = int(stored.rows[3])
        shown = image_of(pets, store, row, backbone.preprocess.geometry)
        others = shuffled_backbones(backbone, 2, 7)
        expected = randomised_correlations(backbone, others, layer.tap, "layercam", shown)[0]
        # Values that nearly tie may change places with the batch that they are computed in.
        np.testing.assert_allclose(stored.read(row, row + 1)[0], expected, rtol=0, atol=0.05)
        left = np.nanmean(stored.numpy()[..., -1].astype(np.float64), axis=0)  # a map may have no positive part
        np.testing.assert_allclose(found.result.data["layers"][1][i], left, rtol=1e-12)
    rows = checked(of_shuffled.ENTRY, found, tmp_path)
    assert sorted({row.at for row in rows if row.at is not None}) == [0.5, 1.0]
    assert {row.backbone_b for row in rows if row.kind == DIFFERENCE} == {"test_convnext@64"}
    assert of_shuffled.randomisation(options(pets, path), SHUFFLED, LOOP).measured == 0
    other = replace(SHUFFLED, intervals=replace(QUICK, seed=8))
    assert of_shuffled.randomisation(options(pets, path), other, LOOP).measured == 12  # another shuffling


def test_norms_from_maps_and_live(pets: Path, tmp_path: Path) -> None:
    on = Hardware(address="none", device="cpu")
    assert of_tokens.ENTRY.run is not None
    found = {}
    for way, changes in (("maps", {"views": ("maps",)}), ("live", {"views": ("pooled",), "analyses": ("norms",)})):
        path = tmp_path / f"{way}.zarr"
        extract(options(pets, path, **changes), LOOP, live=find_live(("norms",)))
        (found[way],) = of_tokens.ENTRY.run(Selection(str(path)), NormsOptions(None, QUICK), on, silent)
    stored, live = (one.result for one in found.values())
    for name in ("layers", "histogram", "where_0"):
        np.testing.assert_allclose(live.data[name][1], stored.data[name][1], rtol=1e-12, err_msg=name)
    assert stored.attrs["samples"] == 11
    assert isinstance(found["maps"], Analysed)
    checked(of_tokens.ENTRY, found["maps"], tmp_path)
