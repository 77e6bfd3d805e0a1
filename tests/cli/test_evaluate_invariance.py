"""`cvbench eval invariance`, and variants as `cvbench extract` takes them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from cvbench.errors import CvbenchError, DataUnavailableError, UsageError
from tests.commands import run
from tests.jobs.logits_store import noisy_logits, write_logits

LABELS = np.random.default_rng(1).integers(0, 4, 64)


def error(*arguments: str) -> CvbenchError:
    found = run(*arguments).exception
    assert isinstance(found, CvbenchError), found
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("cli") / "s.zarr"
    for name, strength in (("birds", 4.0), ("birds.scale-2", 2.0), ("birds.shift-0", 4.0), ("birds.shift-30", 1.0)):
        values = {"vit": noisy_logits(LABELS, 4, strength), "cnn": noisy_logits(LABELS, 4, strength + 1, seed=2)}
        write_logits(path, values, LABELS, tuple("abcd"), dataset=name)
    return str(path)


def test_three_forms_and_a_figure_for_each_transform(store: str, tmp_path: Path) -> None:
    table = run("eval", "invariance", "--store", store, "--out", str(tmp_path))
    assert table.exit_code == 0, table.output
    assert "scale=2" in table.stdout
    assert "change of top1: " in table.stdout
    names = {f"invariance-birds-all-{name}.{kind}" for name in ("scale", "shift") for kind in ("svg", "png", "csv")}
    assert {path.name for path in tmp_path.iterdir()} == names
    one = ("eval", "invariance", "--store", store, "--transform", "scale", "--backbone", "vit")
    report = json.loads(run(*one, "--format", "json").stdout)
    assert report["results"][0]["attributes"]["transform"] == "scale"
    rows = list(csv.DictReader(io.StringIO(run(*one, "--format", "csv").stdout)))
    assert [row["metric"] for row in rows] == [row["metric"] for row in report["rows"]]
    assert {row["backbone"] for row in rows} == {"vit"}


def test_a_folder_is_named_by_its_path_in_what_to_do(store: str) -> None:
    found = run("eval", "invariance", "--store", store, "--transform", "scale")
    assert "cvbench extract --dataset folder:PATH+scale=1.25 --dataset folder:PATH+scale=1.5" in found.stderr


def test_bad_input(store: str, tmp_path: Path) -> None:
    wrong = error("eval", "invariance", "--store", store, "--transform", "rotate")
    assert isinstance(wrong, UsageError)
    assert "transforms: scale, shift, shift-frame, resolution" in str(wrong)
    assert isinstance(error("eval", "invariance", "--store", store, "--grid", "2"), UsageError)
    absent = error("eval", "invariance", "--store", store, "--transform", "shift-frame")
    assert isinstance(absent, DataUnavailableError)
    assert "no logits of birds/all under shift-frame" in str(absent)
    assert isinstance(error("eval", "invariance", "--store", str(tmp_path / "none.zarr")), DataUnavailableError)


def test_plan_expands_the_grid(tmp_path: Path) -> None:
    words = ("--backbone", "test_vit", "--view", "logits", "--store", str(tmp_path / "s.zarr"), "--format", "json")
    found = run("plan", "--dataset", "digits+scale", *words)
    assert found.exit_code == 0, found.output
    for name in ("digits", "digits.scale-1.25", "digits.scale-1.5", "digits.scale-2", "digits.scale-3"):
        assert f'"dataset": "{name}"' in found.stdout
    assert "input size of the backbone" in str(error("plan", "--dataset", "digits+resolution", *words))
    assert "did you mean: shift" in str(error("plan", "--dataset", "digits+shft", *words))
