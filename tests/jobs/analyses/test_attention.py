"""`analyze attention` over a store: stored numbers are those of each image, the means theirs; resume; figure."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cvbench.engine.analyses.attention.capture import measure_attention
from cvbench.engine.analyses.attention.result import HEAD_TABLE, LAYER_TABLE, AttentionLayer, summarise_attention
from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.models.backbones import load_backbone, resolve_spec
from cvbench.engine.pictures.decode import decode, fit
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.errors import FingerprintMismatchError, UsageError
from cvbench.jobs.analyses.attention import DISTANCE, ENTRY, METRICS, attention
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.figures.draw import draw
from cvbench.jobs.results.keep import Analysed, stored_result
from cvbench.jobs.results.row import DIFFERENCE, REFERENCE, VALUE
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.progress import Event, Note
from cvbench.storage.features import FeatureStore
from cvbench.storage.results.outcomes import list_results
from tests.jobs.images import write_folder

LOOP = Cluster(address="none")
QUICK = IntervalOptions(resamples=50)
SIZE = 64


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images of 2 classes, one unreadable."""
    return write_folder(tmp_path_factory.mktemp("attention") / "pets", 40, broken=(9,)).parent


def options(pets: Path, store: Path, **changes: object) -> ExtractOptions:
    base = ExtractOptions(
        dataset=f"folder:{pets / 'pets'}",
        backbones=("test_vit", "test_vit2", "test_convnext"),
        store=str(store),
        weights=("random",),
        batch_size=4,
        unit=8,
        image_size=SIZE,
        max_unreadable=0.2,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made(pets: Path) -> Analysed:
    return attention(options(pets, pets / "store.zarr"), QUICK, LOOP)


def contents(store: Path) -> dict[str, str]:
    files = (path for path in sorted(store.rglob("*")) if path.is_file())
    return {str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_stored_numbers_are_those_of_each_image_alone(made: Analysed, pets: Path) -> None:
    store = FeatureStore.open(pets / "store.zarr")
    ids = store.samples("folder-pets", "all")["id"]
    bad = [row for row, name in enumerate(ids) if name.endswith("009.png")]
    for group in store.groups():
        assert group.view == "attention"
        backbone = load_backbone(resolve_spec(group.backbone.partition("@")[0], weights="random", image_size=SIZE))
        taps = {tap: store.layer(group, tap) for tap in store.taps(group)}
        heads = {tap: layer.shape[1] for tap, layer in taps.items()}
        for row in (0, 17, 39):
            image = fit(decode((pets / "pets" / ids[row]).read_bytes()), backbone.preprocess.geometry)
            found = measure_attention(backbone, torch.from_numpy(image)[None], heads)
            for tap, layer in taps.items():
                np.testing.assert_allclose(layer.read(row, row + 1)[0], found[tap][0], rtol=1e-4, atol=1e-7)
        for layer in taps.values():
            assert np.isnan(layer.read(bad[0], bad[0] + 1)).all()


def test_the_means_are_those_of_the_stored_numbers(made: Analysed, pets: Path) -> None:
    store, result = FeatureStore.open(pets / "store.zarr"), made.result
    assert (result.attrs["samples"], result.attrs["unreadable"], made.measured) == (39, 1, 40)
    means, of_layers = result.data["heads"][1], []
    start = 0
    for i, layer in enumerate(made.selected.layers):
        values = store.layer(made.selected.group(layer), layer.tap).read(0, 40).astype(np.float64)
        values = values[np.isfinite(values[:, 0, 0])]
        described = result.attrs["layers"][i]
        own = means[start : start + described["heads"]]
        there = np.array([described["class_token"] or m.name != "class_mass" for m in HEAD_TABLE])
        there &= [m.name != "register_mass" or not described["class_token"] for m in HEAD_TABLE]
        np.testing.assert_allclose(own[:, there], values.mean(axis=0)[:, there], rtol=1e-12)
        assert np.isnan(own[:, ~there]).all()
        start += described["heads"]
        spread = values[:, :, 0].max(axis=1) - values[:, :, 0].min(axis=1)
        relative = values[:, :, 0].mean(axis=1) / described["uniform_distance"]
        farthest = values[:, :, 0].max(axis=1) / described["uniform_distance"]
        of_layers.append([values[:, :, 0].mean(), relative.mean(), spread.mean(), farthest.mean()])
    names = [measure.name for measure in LAYER_TABLE]
    columns = [names.index(name) for name in ("distance", "relative", "range", "farthest")]
    np.testing.assert_allclose(result.data["layers"][1][:, columns], of_layers, rtol=1e-12)
    ends = result.attrs["pairs"]
    assert [[made.selected.layers[i].tap for i in pair] for pair in ends] == [
        ["blocks.5.attn", "blocks.0.attn"],
        ["blocks.7.attn", "blocks.0.attn"],
        ["blocks.5.attn", "blocks.7.attn"],
    ]
    difference = result.data["difference"][1][0, names.index("distance")]
    assert difference == pytest.approx(of_layers[5][0] - of_layers[0][0])


def test_uniform_attention_is_the_mean_distance_of_two_patches() -> None:
    layer = AttentionLayer(Layer("a", "b"), 1, (3, 4), 1, True, (10.0, 20.0))
    places = [(10.0 * y, 20.0 * x) for y in range(3) for x in range(4)]
    expected = np.mean([np.hypot(a[0] - b[0], a[1] - b[1]) for a in places for b in places])
    assert layer.uniform_distance == pytest.approx(expected, rel=1e-12)
    assert layer.uniform_entropy == pytest.approx(np.log(13))


def test_the_same_command_computes_nothing_and_more_images_only_themselves(made: Analysed, pets: Path) -> None:
    before = contents(pets / "store.zarr")
    again = attention(options(pets, pets / "store.zarr"), QUICK, LOOP)
    assert (again.measured, again.path) == (0, made.path)
    assert contents(pets / "store.zarr") == before
    part = attention(options(pets, pets / "part.zarr", limit=16), QUICK, LOOP)
    assert part.measured == 16
    assert attention(options(pets, pets / "part.zarr"), QUICK, LOOP).measured == 24
    kept, grown = FeatureStore.open(pets / "store.zarr"), FeatureStore.open(pets / "part.zarr")
    for group in kept.groups():
        for tap in kept.taps(group):
            np.testing.assert_array_equal(grown.layer(group, tap).read(0, 40), kept.layer(group, tap).read(0, 40))


def test_backbones_and_weights_are_those_of_the_store(pets: Path, tmp_path: Path) -> None:
    store = tmp_path / "s.zarr"
    extract(options(pets, store, backbones=("test_vit",), limit=8), LOOP)
    found = attention(options(pets, store, backbones=(), weights=(), image_size=None, limit=8), QUICK, LOOP)
    assert {layer.backbone for layer in found.selected.layers} == {"test_vit@64"}
    changed = options(pets, store, backbones=("test_vit",), limit=8, precision="bf16")
    with pytest.raises(FingerprintMismatchError):
        attention(changed, QUICK, LOOP)


def test_a_network_without_attention_is_named_and_alone_refused(pets: Path, tmp_path: Path) -> None:
    heard: list[Event] = []
    attention(options(pets, tmp_path / "a.zarr", limit=8), QUICK, LOOP, heard.append)
    notes = [event.text for event in heard if isinstance(event, Note)]
    assert any("left out: test_convnext@64 has no attention" in note for note in notes)
    with pytest.raises(UsageError, match="no attention of all positions"):
        attention(options(pets, tmp_path / "b.zarr", backbones=("test_convnext",)), QUICK, LOOP)
    assert not (tmp_path / "b.zarr").exists()


def test_rows_headline_and_figure(made: Analysed, pets: Path, tmp_path: Path) -> None:
    store = FeatureStore.open(pets / "store.zarr")
    (key,) = (key for key in list_results(store) if key.path == made.path)
    result = stored_result(store, key)
    rows = ENTRY.rows_of(result)
    heads = [row for row in rows if row.metric == DISTANCE and row.kind == VALUE and row.factor]
    assert len(heads) == 6 * 2 + 8 * 2 == len(result.attrs["heads"])
    assert all(row.low is not None and row.value is not None and row.low < row.value for row in heads)
    assert {row.metric for row in rows if row.kind == REFERENCE} == {METRICS["distance"], METRICS["entropy"]}
    judged = [row for row in rows if row.kind == DIFFERENCE]
    assert judged
    assert all(row.verdict and row.n == 39 and row.n_failed == 1 for row in judged)
    assert {row.backbone_b for row in judged if row.metric == METRICS["relative"]} == {"test_vit@64", "test_vit2@64"}
    registers = [row for row in rows if row.metric == METRICS["register_mass"]]
    assert {row.backbone for row in registers} == {"test_vit2@64"}
    main = ENTRY.main_rows(result, rows)
    assert {row.layer for row in main} == {"blocks.0.attn", "blocks.5.attn", "blocks.7.attn"}
    assert ENTRY.command(result)[:2] == ["analyze", "attention"]
    files = [draw(ENTRY, result, rows, tmp_path / name / "attention") for name in ("one", "two")]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]
    assert ENTRY.chart is not None
    chart = ENTRY.chart(result, rows)
    assert chart is not None
    assert sum(panel["rows"] for panel in chart.as_dict()["panels"]) > len(heads)


def test_too_few_images_have_no_interval() -> None:
    layer = AttentionLayer(Layer("a", "b"), 2, (2, 2), 0, False, (8.0, 8.0))
    table = {layer.layer: np.random.default_rng(0).random((5, 2, 5))}
    result: Result = summarise_attention([layer], [table], QUICK)
    assert np.isnan(result.data["layers_low"][1]).all()
    assert any("n too small" in note for note in result.attrs["notes"])


def test_a_limit_that_covers_whole_units_is_said_with_the_result(pets: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    made = attention(
        options(pets, tmp_path / "s.zarr", limit=5, backbones=("test_vit",)), QUICK, LOOP, events.append
    ).result
    said = "--limit 5 covers 8 samples: whole units of 8"
    assert (made.attrs["samples"], made.attrs["notes"].count(said), events.count(Note(said))) == (8, 1, 1)
    exact = attention(options(pets, tmp_path / "t.zarr", limit=16, backbones=("test_vit",)), QUICK, LOOP).result
    assert not [note for note in exact.attrs["notes"] if "--limit" in note]
