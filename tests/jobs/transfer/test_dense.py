"""Dense probes of a store: what is kept and shown, that it is the fit of the stored positions, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from cvbench.cli.app import app
from cvbench.engine.analyses.base import Layer
from cvbench.engine.pictures.masks import object_cells
from cvbench.engine.probe.dense import fit_positions, predict_cells
from cvbench.engine.probe.options import ProbeOptions
from cvbench.engine.probe.overlap import image_counts, overlaps
from cvbench.engine.probe.parts import Part
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.errors import DataUnavailableError, IntegrityError, UnknownNameError, UsageError
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.figures.draw import draw
from cvbench.jobs.reading.options import Selection
from cvbench.jobs.reading.reading import read
from cvbench.jobs.report import report
from cvbench.jobs.results.row import DIFFERENCE, REFERENCE, VALUE, plain
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.transfer.dense import ENTRY, DenseOptions, DenseRequest, dense
from cvbench.jobs.transfer.dense_maps import LabelledMaps
from cvbench.jobs.transfer.dense_rows import CLASS, NAMES
from cvbench.storage.datasets import open_dataset
from cvbench.storage.features import FeatureStore
from cvbench.storage.results.outcomes import list_results, load_result

LOOP = Cluster(address="none")
TRAIN, TEST = 96, 64
QUICK = DenseOptions(16, hold_out=0.0, intervals=IntervalOptions(resamples=100))
LAST = {"test_vit@64": "blocks.5", "test_convnext@64": "stages.3.blocks.1"}
"""Grids of 4x4 and 2x2; convnext has 4x4 at `stages.2.blocks.*`."""
TAPS = ("blocks.0", "blocks.5", "stages.2.blocks.3", "stages.3.blocks.1")


def extracted(path: Path, dataset: str, split: str, count: int, view: str = "maps", size: int = 64) -> None:
    extract(
        ExtractOptions(
            dataset=dataset,
            split=split,
            backbones=("test_vit", "test_convnext"),
            store=str(path),
            weights=("random",),
            taps=TAPS,
            views=(view,),
            maps=count,
            limit=count,
            image_size=size,
            unit=32,
        ),
        LOOP,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with maps of two splits of scenes."""
    path = tmp_path_factory.mktemp("dense") / "store.zarr"
    for split, count in (("train", TRAIN), ("test", TEST)):
        extracted(path, "scenes:96", split, count)
    return path


@pytest.fixture
def store(made: Path, tmp_path: Path) -> str:
    return str(shutil.copytree(made, tmp_path / "store.zarr"))


def scenes(store: str, split: str, side: int) -> tuple[Part, NDArray[np.int64], NDArray[np.float32]]:
    """The positions of the last layer of the ViT, the labels at a side of cells, and the maps, by samples' ids."""
    opened = FeatureStore.open(store)
    reading = read(Selection(store, "scenes-96", split, ("test_vit",), "maps", (LAST["test_vit@64"],)))
    layer = reading.selected.layers[0]
    maps = reading.layers[layer].numpy().astype(np.float32)
    images = open_dataset("scenes:96", split=split)
    geometry = reading.geometries[layer.backbone]
    at = {name: i for i, name in enumerate(images.ids)}
    own = [at[name] for name in opened.samples("scenes-96", split)["id"][reading.rows]]
    labels = []
    for cells in (4, side):
        shown = np.stack([object_cells(images.mask(i), geometry, (cells, cells)) for i in own])  # type: ignore[attr-defined]
        labels.append(np.where(shown, images.labels[own][:, None, None] + 1, 0))
    return Part(maps.reshape(-1, maps.shape[-1]), labels[0].ravel()), labels[1], maps


def test_it_is_the_fit_of_the_stored_positions(store: str) -> None:
    (found,) = dense(DenseRequest(store, ("scenes:96",)), QUICK)
    train, _, _ = scenes(store, "train", 16)
    _, true, maps = scenes(store, "test", 16)
    probe = fit_positions(train, None, ProbeOptions("clip_lbfgs"), "cpu")
    predicted = predict_cells(probe, maps, 16)
    expected = overlaps(image_counts(predicted, true, 11).sum(axis=0)[None])[0]
    rows = ENTRY.rows_of(found.named)
    own = [row for row in rows if row.backbone == "test_vit@64" and row.layer == "blocks.5" and row.kind == VALUE]
    values = {row.metric: row.value for row in own if row.metric in NAMES.values()}
    assert [values[name] for name in NAMES.values()] == expected[:3].tolist()
    of_classes = [np.nan if row.value is None else row.value for row in own if row.metric == CLASS]
    np.testing.assert_array_equal(of_classes, expected[3:])
    assert all(row.n == TEST for row in own if row.metric in NAMES.values())
    nothing = [row.value for row in rows if row.factor == "background everywhere"][:3]
    alone = overlaps(image_counts(np.zeros_like(true), true, 11).sum(axis=0)[None])[0]
    assert nothing == alone[:3].tolist()
    assert (values[NAMES["foreground"]] or 0) > 0.1, "with random weights"
    drawn = found.result.data["predicted_3"][1]
    np.testing.assert_array_equal(drawn, predicted[:4])
    np.testing.assert_array_equal(found.result.data["true_0"][1], true[:4])


def number(value: float | None) -> float:
    """The number of a row that must have one."""
    assert value is not None
    return value


def test_backbones_are_compared_by_their_last_layers_and_on_a_grid_that_both_have(store: str) -> None:
    (found,) = dense(DenseRequest(store, ("scenes:96",)), QUICK)
    every = ENTRY.rows_of(found.named)
    rows = [row for row in every if row.kind == DIFFERENCE]
    assert [(row.layer, row.layer_b, row.metric) for row in rows] == [
        (first, "blocks.5", name) for first in ("stages.3.blocks.1", "stages.2.blocks.3") for name in NAMES.values()
    ]
    values = {(row.layer, row.metric): number(row.value) for row in every if row.kind == VALUE and row.metric != CLASS}
    for row in rows:
        expected = values[row.layer, row.metric] - values["blocks.5", row.metric]
        assert number(row.value) == pytest.approx(expected, abs=1e-15)
        assert number(row.low) < number(row.value) < number(row.high)
        assert row.verdict
    references = [row for row in every if row.kind == REFERENCE and row.metric == NAMES["miou"]]
    perfect = {row.layer: number(row.value) for row in references if "grid" in row.factor}
    assert perfect["stages.3.blocks.1"] < perfect["blocks.5"] == perfect["stages.2.blocks.3"] < 1


def test_the_command_the_result_and_the_report(store: str, tmp_path: Path) -> None:
    words = ["transfer", "dense", "--dataset", "scenes:96", "--store", store, "--resolution", "16"]
    words += ["--taps", "blocks.5", "--taps", "stages.3.blocks.1", "--resamples", "100"]
    outcome = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "figures")])
    assert outcome.exit_code == 0, outcome.output
    for text in (
        "dense probe, mean IoU",
        "labels of the 2x2 grid",
        "background everywhere",
        "compared at 16x16 cells",
        f"fitted on {TRAIN * 16:,} of {TRAIN * 16:,} positions of a 4x4 grid",
        "drawn at random: the others are not used",
        "results/scenes-96/test/dense",
    ):
        assert text in outcome.stdout, text
    assert (tmp_path / "figures" / "dense-scenes-96-test.svg").is_file()
    opened = FeatureStore.open(store)
    (key,) = list_results(opened)
    kept = load_result(opened, key)
    assert kept is not None
    assert kept.attrs["layers"][0]["tried"], "the penalty was chosen"
    done = report(store, str(tmp_path / "report"))
    page = done.page.read_text()
    assert "Transfer: linear probe of positions" in page
    assert "predictions at 16x16 cells" not in page, "the figure is a file beside it, its text is in paths"
    assert list((tmp_path / "report").rglob("*dense*.svg"))


def test_its_own_words_make_the_same_result(store: str, tmp_path: Path) -> None:
    ids = FeatureStore.open(store).samples("scenes-96", "test")["id"][[5, 2]].tolist()
    request = DenseRequest(store, ("scenes:96",), images=tuple(ids))
    (found,) = dense(request, replace(QUICK, positions=700))
    words = ENTRY.command(found.named)
    again = CliRunner().invoke(app, [*words, "--store", store, "--format", "json"])
    assert again.exit_code == 0, again.output
    written = json.loads(again.stdout)
    (described,) = written["results"]
    assert described["run"] == found.path
    assert written["schema_version"] == 2
    assert written["rows"] == [plain(row) for row in ENTRY.rows_of(found.named)]
    assert described["coordinates"]["image"] == ids
    files = [path for name in "ab" for path in draw(ENTRY, found.named, ENTRY.rows_of(found.named), tmp_path / name)]
    assert files[0].read_bytes() == files[3].read_bytes()


def test_the_same_number_of_positions_is_drawn_of_every_image(store: str) -> None:
    selection = Selection(store, "scenes-96", "train", ("test_vit",), "maps", ("blocks.5",))
    reading = read(selection)
    images = open_dataset("scenes:96", split="train")
    labelled = LabelledMaps.read(reading, images)
    layer = Layer("test_vit@64", "blocks.5")
    whole, some = (labelled.positions(layer, most, 0) for most in (10**6, 5 * TRAIN))
    assert (len(whole), len(some)) == (16 * TRAIN, 5 * TRAIN)
    of_image = whole.features.reshape(TRAIN, 16, -1)
    classes = whole.labels.reshape(TRAIN, 16)
    for image, drawn in enumerate(some.features.reshape(TRAIN, 5, -1)):
        places = [int(np.flatnonzero((of_image[image] == one).all(axis=1))[0]) for one in drawn]
        assert len(set(places)) == 5
        np.testing.assert_array_equal(classes[image, places], some.labels.reshape(TRAIN, 5)[image])
    same, other = (labelled.positions(layer, 5 * TRAIN, seed) for seed in (0, 1))
    np.testing.assert_array_equal(same.features, some.features)
    assert (other.features != some.features).any()
    few = LabelledMaps.read(reading, images, most=40)
    assert len(few.positions(layer, 40, 0)) == 40


def test_what_is_not_there_is_named(store: str, tmp_path: Path) -> None:
    for request, error, said in (
        (DenseRequest(store, ("scenes:96",), test="val"), DataUnavailableError, "--split val"),
        (DenseRequest(store, ("scenes:96",), train="test"), UsageError, "both fitted on and tested on"),
        (DenseRequest(store, ("scenes",)), DataUnavailableError, "extract --dataset scenes --split train"),
        (DenseRequest(store, ("scenes:96",), images=("bird/1",)), UnknownNameError, "bird/1"),
        (DenseRequest(store, ("scenes:96",), taps=("blocks.7",)), UnknownNameError, "blocks.7"),
    ):
        with pytest.raises(error) as caught:
            dense(request, QUICK)
        assert said in str(caught.value)
    pooled = tmp_path / "pooled.zarr"
    for split in ("train", "test"):
        extracted(pooled, "digits", split, 32, "pooled", 32)
    with pytest.raises(DataUnavailableError, match="no maps features of digits/train") as lacking:
        dense(DenseRequest(str(pooled), ("digits",)), QUICK)
    assert "--view maps" in str(lacking.value.fix)
    for split in ("train", "test"):
        extracted(pooled, "digits", split, 32, "maps", 32)
    with pytest.raises(DataUnavailableError, match="digits/train has no masks") as without:
        dense(DenseRequest(str(pooled), ("digits",)), QUICK)
    assert "table:FILE" in str(without.value.fix)
    assert list_results(FeatureStore.open(str(pooled))) == []


def write_table(root: Path, count: int, wrong: int | None = None, without: tuple[int, ...] = ()) -> Path:
    """Pictures of a bright rectangle of the class's colour, and masks that say where it is."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True)
    lines = ["path,label,split,mask"]
    for i in range(count):
        height, width = rng.integers(40, 80, 2).tolist()
        top, left = int(rng.integers(0, height // 2)), int(rng.integers(0, width // 2))
        mask = np.zeros((height, width), dtype=np.uint8)
        mask[top : top + height // 2, left : left + width // 2] = 255
        image = rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
        image[mask > 0, i % 2] = 250
        Image.fromarray(image).save(root / f"{i}.png")
        Image.fromarray(mask[1:] if i == wrong else mask).save(root / f"{i}-mask.png")
        named = "" if i in without else f"{i}-mask.png"
        lines.append(f"{i}.png,{'red' if i % 2 == 0 else 'green'},{'test' if i % 4 > 1 else 'train'},{named}")
    (root / "birds.csv").write_text("\n".join(lines) + "\n")
    return root / "birds.csv"


def test_masks_of_a_table(tmp_path: Path) -> None:
    table = write_table(tmp_path / "birds", 80, without=(0, 1, 2))
    store = tmp_path / "store.zarr"
    for split in ("train", "test"):
        extracted(store, f"table:{table}", split, 64)
    (found,) = dense(DenseRequest(str(store), ("table-birds",), ("test_vit",), source=f"table:{table}"), QUICK)
    rows = ENTRY.rows_of(found.named)
    best = max(row.value or 0 for row in rows if row.metric == NAMES["miou"] and row.kind == VALUE)
    assert best > 0.6, "colours are found by the first block of a random network"
    assert any(
        note == "2 samples of table-birds/train have no mask and are left out" for note in found.result.attrs["notes"]
    )
    assert {row.n for row in rows if row.metric == NAMES["miou"]} == {39}
    assert {row.n_failed for row in rows} == {1}


def test_a_mask_that_is_not_as_large_as_its_image_is_named(tmp_path: Path) -> None:
    table = write_table(tmp_path / "birds", 80, wrong=9)
    store = tmp_path / "store.zarr"
    for split in ("train", "test"):
        extracted(store, f"table:{table}", split, 64)
    with pytest.raises(IntegrityError, match=r"a mask has \d+ x \d+ pixels, its image") as caught:
        dense(DenseRequest(str(store), ("table-birds",), ("test_vit",), source=f"table:{table}"), QUICK)
    assert "9.png" in str(caught.value.where)
