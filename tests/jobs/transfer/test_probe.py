"""Probes of a store: which splits they are of, what is kept, and what is said when something is not there."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from cvbench.cli.app import app
from cvbench.engine.probe.logistic import fit_logistic, prepare
from cvbench.engine.probe.options import Schedule
from cvbench.errors import DataUnavailableError, UnknownNameError, UsageError
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.figures.draw import draw, draw_overview
from cvbench.jobs.results.row import COLUMNS, DIFFERENCE, REFERENCE, plain
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.transfer.probe import ENTRY, ProbeOptions, ProbeRequest, probe
from cvbench.jobs.transfer.probe_rows import NAMES
from cvbench.storage.features import FeatureStore, GroupKey
from cvbench.storage.results.outcomes import list_results, load_result
from tests.jobs.images import write_folder
from tests.jobs.transfer.digits import extract_digits

FAST = ProbeOptions("clip_lbfgs", seeds=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with head features of all three splits of digits, and pooled ones of the test split."""
    path = tmp_path_factory.mktemp("probe") / "store.zarr"
    extract_digits(path, "test_vit", "test_convnext")
    return path


@pytest.fixture
def store(made: Path, tmp_path: Path) -> str:
    return str(shutil.copytree(made, tmp_path / "store.zarr"))


def test_it_is_the_fit_of_the_stored_rows(store: str) -> None:
    (found,) = probe(ProbeRequest(store, ("digits",), ("test_convnext",)), FAST)
    opened = FeatureStore.open(store)
    data = {}
    for split in ("train", "val", "test"):
        layer = opened.layer(GroupKey("digits", split, "test_convnext@32", "head"), "head")
        data[split] = layer.numpy(), opened.samples("digits", split)["label"][layer.rows]
    assert [len(labels) for _, labels in data.values()] == [1200, 200, 397]
    x, y = (np.concatenate([data[split][i] for split in ("train", "val")]) for i in (0, 1))
    penalty = float(found.result.data["penalty"][1][0, 0])
    fit = fit_logistic(prepare(torch.from_numpy(x)), torch.from_numpy(y), 10, [penalty], tolerance=1e-5)
    expected = fit.logits(torch.from_numpy(data["test"][0]))[0].numpy().argmax(axis=1)
    predicted = found.result.data["predicted"][1][0, 0]
    assert (predicted == expected).mean() > 0.98  # both are converged, from other starts
    row = next(iter(ENTRY.rows(found.result)))
    assert row.value == (predicted == data["test"][1]).mean()
    assert row.factor == "clip_lbfgs; solver lbfgs; penalty chosen on val; fitted on train + val, tested on test"
    assert row.value is not None
    assert row.low is not None
    assert row.high is not None
    assert row.low < row.value < row.high
    assert row.value > 0.5  # of ten classes, with random weights


def test_the_result_is_kept_under_what_it_depends_on(store: str) -> None:
    request = ProbeRequest(store, ("digits",))
    first, *_ = probe(request, FAST)
    paths = {first.path}
    benchmark = ProbeOptions("clip_benchmark", seeds=1, schedule=Schedule(epochs=1))
    for its, options in ((request, ProbeOptions("clip_lbfgs", seeds=1, shots=5)), (request, benchmark)):
        paths.add(probe(its, options)[0].path)
    assert len(paths) == 3
    assert probe(request, FAST)[0].path == first.path
    opened = FeatureStore.open(store)
    kept = {key.path: load_result(opened, key) for key in list_results(opened)}
    assert kept.keys() == paths
    dataset = kept[first.path]
    assert dataset is not None
    np.testing.assert_array_equal(dataset["top1"].values, first.result.data["top1"][1])
    assert (dataset.attrs["dataset"], dataset.attrs["split"], dataset.attrs["recipe"]) == (
        "digits",
        "test",
        "clip_lbfgs",
    )


def test_the_section_rows_and_figure(store: str, tmp_path: Path) -> None:
    (found,) = probe(ProbeRequest(store, ("digits",)), FAST)
    result = found.named
    rows = ENTRY.rows_of(result)
    guessed = [row for row in rows if row.kind == REFERENCE]
    labels = FeatureStore.open(store).split("digits", "test").labels
    largest = float(np.bincount(labels).max() / len(labels))  # of the classes: who guesses it is right so often
    assert [(row.metric, row.value) for row in guessed] == [(NAMES["top1"], largest), (NAMES["mean_per_class"], 0.1)]
    assert len(rows) == 2 * (3 + 10) + 2 + len(guessed)
    assert [(row.backbone, row.backbone_b, row.metric) for row in rows if row.kind == DIFFERENCE] == [
        ("test_convnext@32", "test_vit@32", name) for name in (NAMES["top1"], NAMES["mean_per_class"])
    ]
    assert {row.metric for row in rows} >= {"linear probe, top-1", "linear probe, mean per class"}
    fitted = [row for row in rows if row.kind != REFERENCE]
    assert all(row.low is not None and row.value is not None and row.low <= row.value for row in fitted)
    words = ENTRY.command(result)
    again = CliRunner().invoke(app, [*words, "--store", store, "--format", "json"])
    assert again.exit_code == 0, again.output
    report = json.loads(again.stdout)
    (described,) = report["results"]
    assert described["run"] == found.path  # the command makes the same result
    assert report["rows"] == [plain(row) for row in rows]
    assert np.shape(described["arrays"]["seed_top1"]["values"]) == (2, 1)
    assert described["coordinates"]["class"] == result.coords["class"]
    tidy = CliRunner().invoke(app, [*words, "--store", store, "--format", "csv"])
    assert tidy.exit_code == 0, tidy.output
    header, first, *others = tidy.stdout.splitlines()
    assert header == ",".join(COLUMNS)
    assert first.startswith(f'{found.path},probe,digits,test,test_convnext@32,head,,,"linear probe, top-1",')
    assert len(others) == len(rows) - 1
    files = [path for name in "ab" for path in draw(ENTRY, result, rows, tmp_path / name, ("png",))]
    assert files[0].read_bytes() == files[2].read_bytes()
    assert len(files[1].read_text().splitlines()) == 1 + len(rows)
    other = replace(result, attrs={**result.attrs, "dataset": "elsewhere"})
    assert draw_overview(ENTRY, [result, result], rows, tmp_path / "c", ("png",)) == [], "one data set"
    assert draw_overview(ENTRY, [result, other], rows, tmp_path / "c", ("png",))[0].is_file()


def test_what_the_seeds_differ_by_is_said(store: str) -> None:
    options = ProbeOptions("clip_benchmark", seeds=2, schedule=Schedule(epochs=1))
    (found,) = probe(ProbeRequest(store, ("digits",)), options)
    spread = found.result.data["seed_top1"][1][0].std(ddof=1)
    said = next(iter(ENTRY.sentences(found.named, ENTRY.rows_of(found.named))))
    assert said.endswith(f"standard deviation of top-1 over seeds {spread:.4f}")


def test_the_command_prints_a_table(store: str, tmp_path: Path) -> None:
    words = ["transfer", "probe", "--dataset", "digits", "--store", store, "--recipe", "clip_lbfgs"]
    outcome = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "figures")])
    assert outcome.exit_code == 0, outcome.output
    for text in ("test_vit@32", "test_convnext@32", "mean per class", "penalty chosen on val", "results/digits/test"):
        assert text in outcome.stdout
    assert (tmp_path / "figures" / "probe-digits-test-clip_lbfgs.svg").is_file()


def test_images_that_are_one_split_need_others_first(tmp_path: Path) -> None:
    store = str(tmp_path / "pets.zarr")
    write_folder(tmp_path / "pets", 8, 2)
    extract(
        ExtractOptions(
            f"folder:{tmp_path}/pets", backbones=("test_vit",), store=store, weights=("random",), views=("head",)
        ),
        Cluster(address="none"),
    )
    with pytest.raises(DataUnavailableError, match="of folder-pets it holds all") as caught:
        probe(ProbeRequest(store, ("folder-pets",)), FAST)
    assert "folders train and test below it" in str(caught.value.fix)


def test_what_is_not_there_is_named(store: str, tmp_path: Path) -> None:
    for request, error, said in (
        (ProbeRequest(store, ("digits",), train="all"), DataUnavailableError, "extract --dataset digits --split all"),
        (
            ProbeRequest(store, ("digits",), view="pooled"),
            DataUnavailableError,
            "extract --dataset digits --split train",
        ),
        (ProbeRequest(store, ("cifar10",)), DataUnavailableError, "of cifar10 it holds nothing"),
        (ProbeRequest(store, ("@transfe",)), UnknownNameError, "@transfer"),
        (ProbeRequest(store, ("@transfer",)), DataUnavailableError, "eurosat"),
        (ProbeRequest(store, ("pets",)), DataUnavailableError, "extract --dataset pets --split trainval"),
        (ProbeRequest(store, ("dtd:2",)), DataUnavailableError, "extract --dataset dtd:2 --split train"),
        (ProbeRequest(store, ("digits",), ("test_vi",)), UnknownNameError, "test_vit"),
        (ProbeRequest(str(tmp_path / "none.zarr"), ("digits",)), DataUnavailableError, "cvbench extract"),
    ):
        with pytest.raises(error) as caught:
            probe(request, FAST)
        assert said in str(caught.value)
    with pytest.raises(UsageError, match="training samples, not 1000"):
        probe(ProbeRequest(store, ("digits",)), ProbeOptions("clip_lbfgs", shots=1000))
    assert not (tmp_path / "none.zarr").exists(), "a probe made a store"
    assert list_results(FeatureStore.open(store)) == []
