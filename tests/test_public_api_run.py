"""The public API at work: digits through two networks, and what comes back, compared with the command line's."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import xarray

import cvbench
from cvbench.errors import DataUnavailableError, IncompleteError, ResourceError, UnknownNameError, UsageError
from cvbench.jobs.results.row import COLUMNS, DIFFERENCE
from tests.commands import cli
from tests.jobs.digit_heads import write_heads
from tests.markup import HOSTILE, Tags, check_markup

MODELS = ("test_vit", "test_convnext")
TAPS = ["blocks.?", "stages.[012].blocks.0"]
"""Layers with a grid of 2 x 2 at least, at 32 pixels."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def made(folder: Path) -> Any:
    """96 digits of the test split, and 32 of val."""
    weights = write_heads(folder / "heads", MODELS, 32)
    every: dict[str, Any] = {"weights": weights, "backbones": MODELS, "store": folder / "a.zarr", "threads": 1}
    every |= {"views": ["pooled", "maps", "head", "logits"], "taps": TAPS, "image_size": 32}
    every |= {"batch_size": 8, "unit": 32}
    cvbench.extract("digits", split="val", limit=32, **every)
    return cvbench.extract("digits", split="test", limit=90, **every)


@pytest.fixture(scope="module")
def store(made: Any) -> cvbench.Store:
    found: cvbench.Store = made.store
    return found


def test_extract_says_what_it_did_and_does_it_once(made: Any, folder: Path) -> None:
    assert (made.computed, made.store.url) == (96, str(folder / "a.zarr"))
    assert made.notes == ("--limit 90 covers 96 samples: whole units of 32",)
    again = made.command + " --address none --format json"
    assert json.loads(cli(again))["computed"] == 0


def test_the_features_are_those_of_the_command_line(made: Any, store: cvbench.Store, folder: Path) -> None:
    other = made.command.replace("a.zarr", "b.zarr")
    cli(other, "--address", "none", "--threads", "1")
    beside = cvbench.open_store(folder / "b.zarr")
    for name in store.layers("digits/test", "test_vit@32", view="maps"):
        ours = store.layer("digits/test", "test_vit", name, view="maps")
        theirs = beside.layer("digits", "test_vit", name, view="maps")
        np.testing.assert_array_equal(ours.to_numpy(), theirs.to_numpy())
        np.testing.assert_array_equal(ours.ids, theirs.ids)


def test_a_plan_is_that_of_the_command_line(made: Any, folder: Path) -> None:
    options: dict[str, Any] = {"backbones": MODELS, "weights": "random", "store": folder / "c.zarr", "views": "head"}
    plan = cvbench.plan(["digits", "digits+scale=2"], split="test", **options)
    assert "0.0 min" not in repr(plan) + plan._repr_html_()
    (first, second) = json.loads(cli(plan.command, "--plan", "--format", "json"))
    assert plan.bytes == first["bytes_total"] + second["bytes_total"]
    assert plan.hours == pytest.approx(first["hours_expected"] + second["hours_expected"])
    assert (plan.fits, plan.advice, plan.samples) == (True, (), first["samples"] + second["samples"])
    assert list(plan.to_pandas()["bytes"]) == [one["bytes"] for one in first["layers"] + second["layers"]]
    assert not (folder / "c.zarr").exists()
    small = cvbench.plan("digits", split="test", max_bytes=10, **options)
    assert not small.fits
    assert repr(small).endswith("no room)")
    assert small.advice[0] in small._repr_html_()


def test_a_store_lists_what_it_holds(store: cvbench.Store) -> None:
    assert store.datasets() == ["digits/test", "digits/val"]
    assert store.backbones("digits/test") == ["test_convnext@32", "test_vit@32"]
    assert {"pooled", "maps", "head", "logits"} <= {*store.views("digits/val", "test_vit@32")}
    assert store.layers("digits/test", "test_vit") == [f"blocks.{i}" for i in range(6)]
    assert store.layers("digits/test", "test_vit", view="head") == ["head"]
    frame = store.to_pandas()
    assert {*frame["dataset"]} == {"digits/test", "digits/val"}
    assert frame.loc[frame["dataset"] == "digits/val", "samples"].tolist() == [32] * (len(frame) // 2)
    samples = store.samples("digits/test")
    assert samples["class"].tolist() == samples["label"].astype(str).tolist()
    assert store.verify(deep=True).ok
    assert repr(store) == f"Store({store.url!r})"
    assert not hasattr(store, "groups")


def test_a_layer_has_its_labels_and_ids_beside_it(store: cvbench.Store) -> None:
    layer = store.layer("digits/test", "test_vit@32", "blocks.0", view="maps")
    values = layer.to_numpy()
    assert layer.shape == values.shape == np.asarray(layer).shape == (96, 2, 2, 64)
    assert len(layer) == 96
    named = layer.to_xarray()
    assert named.chunks is not None
    np.testing.assert_array_equal(named.values, values)
    np.testing.assert_array_equal(named["label"], layer.labels)
    np.testing.assert_array_equal(named["id"], layer.ids)
    table = store.samples("digits/test").set_index("id")
    assert table.loc[layer.ids, "label"].tolist() == layer.labels.tolist()
    assert (layer.dataset, layer.backbone, layer.view, layer.name) == ("digits/test", "test_vit@32", "maps", "blocks.0")
    assert layer.dims == named.dims
    assert layer.factors == {}
    assert repr(layer).startswith("Layer('blocks.0' of 'test_vit@32' on 'digits/test', view='maps', shape=(96, ")


@pytest.mark.parametrize(
    ("place", "view", "kind", "said"),
    [
        (("digits", "test_vit", "blocks.0"), "pooled", UsageError, "name one: digits/test, digits/val"),
        (("digit/test", "test_vit", "blocks.0"), "pooled", UnknownNameError, "did you mean: digits/test"),
        (("digits/test", "test_vitt", "blocks.0"), "pooled", UnknownNameError, "did you mean: test_vit@32"),
        (("digits/test", "test_vit", "block.0"), "pooled", UnknownNameError, "did you mean: blocks.0"),
        (("digits/test", "test_vit", "blocks.0"), "poled", UnknownNameError, "did you mean: pooled"),
        (("digits/test", "test_vit", "blocks.0"), "cam.gradcam", DataUnavailableError, "it holds "),
    ],
)
def test_a_misspelt_layer_names_its_neighbours(
    store: cvbench.Store, place: tuple[str, str, str], view: str, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind) as caught:
        store.layer(*place, view=view)
    assert said in str(caught.value)


RESULTS: dict[str, Callable[[Any], cvbench.Result]] = {
    "cka": lambda store: cvbench.analyze.cka(store, dataset="digits/test", batch=8),
    "spectra": lambda store: cvbench.analyze.spectra(store, dataset="digits", split="test", resamples=50),
    "silhouette": lambda store: cvbench.analyze.silhouette(
        store, dataset=["digits/test", "digits/val"], metrics=["euclidean", "cosine"], resamples=50
    ),
    "similarity": lambda store: cvbench.analyze.similarity(store, dataset="digits/test", resamples=50),
    "accuracy": lambda store: cvbench.evaluate.accuracy(store, dataset="digits/test", partial=True, per_class=True),
    "calibration": lambda store: cvbench.evaluate.calibration(
        store, dataset="digits/test", partial=True, masked=False, resamples=50
    ),
}


@pytest.fixture(scope="module")
def results(store: cvbench.Store) -> dict[str, cvbench.Result]:
    return {name: work(store) for name, work in RESULTS.items()}


@pytest.mark.parametrize("name", [name for name in RESULTS if name != "silhouette"])
def test_a_result_is_that_of_the_command_line(results: dict[str, cvbench.Result], name: str) -> None:
    """The very same document, by the command that the result itself names."""
    result = results[name]
    assert result.analysis == name
    place = [] if name in ("accuracy", "calibration") else ["--address", "none"]
    assert json.loads(cli(result.command, *place, "--format", "json")) == result.to_dict()
    assert len(result) == len(result.table) == len(result.to_dict()["rows"]) > 0


def test_a_result_of_several_data_sets_has_parts(results: dict[str, cvbench.Result]) -> None:
    result = results["silhouette"]
    assert [part.attrs["split"] for part in result.parts] == ["test", "val"]
    assert result.table == cvbench.Rows(row for part in result.parts for row in part.table)
    documents = [json.loads(cli(line, "--format", "json")) for line in result.command.split("\n")]
    assert [row for one in documents for row in one["rows"]] == result.to_dict()["rows"]
    with pytest.raises(UsageError, match="these are 2 results"):
        result.to_xarray()
    assert result.parts[1].to_xarray().attrs["split"] == "val"
    assert result.parts[0].figure().axes


def test_the_tables_are_tidy(results: dict[str, cvbench.Result]) -> None:
    for result in results.values():
        frame = result.to_pandas()
        assert tuple(frame.columns) == COLUMNS
        assert frame["value"].dtype == np.float64
        for row, value in zip(result.table, frame["value"], strict=True):
            assert value == row.value or (row.value is None and np.isnan(value))
        assert {*result.headline} <= {*result.table}
        assert all(row.verdict for row in result.verdicts)
        assert len(result.verdicts) == sum(bool(row.verdict) for row in result.table)
    assert any(row.kind == DIFFERENCE for row in results["accuracy"].verdicts)
    assert results["accuracy"].table[0] == results["accuracy"].table[0:1][0]
    assert cvbench.Rows([]).to_pandas().empty


def test_the_arrays_are_those_of_the_store(store: cvbench.Store, results: dict[str, cvbench.Result]) -> None:
    for name in ("cka", "spectra", "accuracy"):
        result = results[name]
        found = result.to_xarray()
        kept = xarray.open_zarr(store.url, group=result.paths[0], consolidated=False)
        for variable in kept.data_vars:
            np.testing.assert_array_equal(found[variable].values, kept[variable].values)
            assert found[variable].dims == kept[variable].dims
        assert {*found.coords} == {*kept.coords}
        assert found.attrs["versions"] == kept.attrs["versions"]
        assert (found.attrs["dataset"], found.attrs["split"], found.attrs["analysis"]) == ("digits", "test", name)
    cka = results["cka"].to_xarray()
    assert cka["cka"].sel(layer="test_vit@32/blocks.0", other="test_vit@32/blocks.0").item() == pytest.approx(1)
    assert cka.attrs["batch_size"] == 8


def test_figures_are_of_matplotlib_and_leave_its_settings_alone(results: dict[str, cvbench.Result]) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    before = dict(mpl.rcParams)
    for result in (results["cka"], results["spectra"], results["accuracy"]):
        figure = result.figure()
        assert isinstance(figure, Figure)
        assert figure.axes
        assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    assert dict(mpl.rcParams) == before


def test_a_table_is_saved_by_its_suffix(results: dict[str, cvbench.Result], tmp_path: Path) -> None:
    result = results["accuracy"]
    text = result.save(tmp_path / "new" / "a.csv").read_text()
    assert text == cli(result.command, "--format", "csv")
    assert len([*csv.DictReader(io.StringIO(text))]) == len(result)
    assert json.loads(result.save(tmp_path / "a.json").read_text()) == result.to_dict()
    parquet = pq.read_table(result.save(str(tmp_path / "a.parquet"))).to_pandas()
    pd.testing.assert_series_equal(parquet["value"], result.to_pandas()["value"])
    for name in ("a.xlsx", "a"):
        with pytest.raises(UsageError, match="a name that ends in"):
            result.save(tmp_path / name)
    with pytest.raises(ResourceError):
        result.save(tmp_path / "a.json" / "b.csv")


def test_kept_results_are_found_again(store: cvbench.Store, results: dict[str, cvbench.Result]) -> None:
    kept = cvbench.results(store)
    assert {path for one in kept for path in one.paths} >= {path for one in results.values() for path in one.paths}
    (cka,) = cvbench.results(store.url, analysis="cka")
    assert [row.value for row in cka.table] == [row.value for row in results["cka"].table]
    assert cka.command.startswith("cvbench analyze cka ")
    assert json.loads(cli(cka.command, "--address", "none", "--format", "json"))["rows"] == cka.to_dict()["rows"]
    assert cka.to_xarray().attrs["versions"] == results["cka"].to_xarray().attrs["versions"]
    assert {one.attrs["split"] for one in store.results("silhouette", "digits/val")} == {"val"}
    assert store.results("spectra", split="train") == store.results(dataset="dtd") == []
    assert cvbench.results(store, analysis="shape_bias") == []


def test_claims_are_those_of_the_command_line(store: cvbench.Store, results: dict[str, cvbench.Result]) -> None:
    claims = cvbench.claims(store)
    document = json.loads(cli(f"cvbench claims --store {shlex.quote(store.url)} --format json"))
    assert [one.as_dict() for one in claims.outcomes] == document["claims"]
    assert list(claims.to_pandas()["verdict"]) == [one["verdict"] for one in document["claims"]]
    assert len(claims) == len(document["claims"])
    assert f"{sum(one['verdict'] == 'not run' for one in document['claims'])} not run" in repr(claims)


def test_the_report_is_that_of_the_command_line(
    store: cvbench.Store, results: dict[str, cvbench.Result], tmp_path: Path
) -> None:
    made = cvbench.report(store, tmp_path / "a")
    assert made.results == len(cvbench.results(store)) >= sum(len(one.paths) for one in results.values())
    cli(f"cvbench report --store {shlex.quote(store.url)} --out {shlex.quote(str(tmp_path / 'b'))}")
    assert made.page.read_bytes() == (tmp_path / "b" / made.page.name).read_bytes()
    with pytest.raises(UsageError, match="no folder of this machine"):
        cvbench.report(store, "s3://bucket/report")


def test_nothing_is_printed_unless_it_is_asked_for(
    store: cvbench.Store, capsys: pytest.CaptureFixture[str], made: Any
) -> None:
    cvbench.analyze.spectra(store, dataset="digits/val", resamples=20)
    assert capsys.readouterr() == ("", "")
    cvbench.analyze.similarity(store, dataset="digits/val", resamples=20, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0] == "analyze similarity digits/val: 32 of 32 samples to do"
    assert re.fullmatch(r"analyze similarity digits/val: done in \d+\.\d s", err.splitlines()[-1])


def test_a_fix_names_the_parameter_beside_the_option(store: cvbench.Store) -> None:
    with pytest.raises(UsageError) as caught:
        cvbench.analyze.cka(store, dataset="digits/test", batch=64)
    assert caught.value.fix == "--cka-batch 32 or less; in Python: batch"
    with pytest.raises(UsageError) as caught:
        cvbench.analyze.cka(store)
    assert str(caught.value.fix).endswith("; in Python: dataset, split")
    with pytest.raises(IncompleteError) as incomplete:
        cvbench.evaluate.accuracy(store, dataset="digits/test")
    assert str(incomplete.value.fix).startswith("cvbench extract ")  # of a command to paste nothing is translated
    assert str(incomplete.value.fix).endswith("or --partial; in Python: partial")


def test_two_splits_at_once_are_refused(store: cvbench.Store) -> None:
    with pytest.raises(UsageError, match="are two splits"):
        cvbench.analyze.spectra(store, dataset="digits/test", split="val")


def test_a_fine_tuning_and_a_probe_give_results(store: cvbench.Store, tmp_path: Path) -> None:
    tuned = cvbench.transfer.finetune(
        "digits", "test_vit", str(tmp_path), weights="random", epochs=1, image_size=32, train="val"
    )
    (weights,) = tuned.paths
    assert Path(weights).exists()
    assert tuned.headline[0].metric == "fine-tuned, top-1"
    assert len(tuned.figure().axes) == 3
    assert json.loads(cli(tuned.command, "--address", "none", "--format", "json"))["rows"] == tuned.to_dict()["rows"]
    assert "Fine-tuning: test_vit@32 on digits" in tuned._repr_html_()
    probe = cvbench.transfer.probe(
        store, datasets="digits", train="val", recipe="clip_lbfgs", seeds=1, partial=True, hold_out=0.25
    )
    assert json.loads(cli(probe.command, "--format", "json")) == probe.to_dict()


def test_reprs_are_small_and_have_no_colours_of_their_own(
    made: Any, store: cvbench.Store, results: dict[str, cvbench.Result], folder: Path
) -> None:
    shown = [made, store, cvbench.claims(store), store.layer("digits/test", "test_vit", "blocks.0"), *results.values()]
    place = folder / HOSTILE.replace("/", "")
    shown.append(cvbench.plan("digits", split="test", backbones="test_vit", weights="random", store=place))
    for one in shown:
        page = one._repr_html_()
        check_markup(page)
        (style,) = re.findall(r"<style>(.*?)</style>", page)
        assert not re.search(r"(?<!-)color:|background", style)
        assert len(repr(one)) < 300
        assert "\n" not in repr(one)
    tags = Tags()
    tags.feed(store._repr_html_())
    assert "digits/test" in tags.text
    assert "test_vit@32" in tags.text
