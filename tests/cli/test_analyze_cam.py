"""`cvbench analyze cam` as a user types it."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cvbench.cli.app import app
from cvbench.errors import CvbenchError
from cvbench.jobs.analyses.cam.cam import ENTRY
from cvbench.jobs.results.keep import stored_result
from cvbench.storage.features import FeatureStore
from cvbench.storage.results.outcomes import list_results
from tests.jobs.images import write_folder


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["analyze", "cam", *arguments])


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of a run over 12 images, whose maps are there."""
    folder = tmp_path_factory.mktemp("cli")
    write_folder(folder / "pets", 12)
    words = ["--dataset", f"folder:{folder / 'pets'}", "--store", str(folder / "s.zarr"), "--address", "none"]
    words += ["--backbone", "test_vit", "--backbone", "test_convnext", "--weights", "random", "--resamples", "50"]
    words += ["--image-size", "64", "--batch-size", "4", "--unit", "4"]
    result = run(*words)
    assert result.exit_code == 0, result.output
    return words


def test_the_table_has_every_backbone_grid_and_difference(asked: list[str], tmp_path: Path) -> None:
    result = run(*asked, "--out", str(tmp_path), "--examples", "1")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert re.split("  +", lines[0])[:7] == ["backbone", "maps", "cells", "measured on", "measure", "mean", "interval"]
    assert {tuple(re.split("  +", line)[1:4]) for line in lines if line.startswith("test_vit@64  ")} == {
        ("raw", "2x2", "common grid"),
        ("raw", "4x4", "own grid"),
        ("centred", "2x2", "common grid"),
    }
    assert sum(line.startswith("test_vit@64 vs test_convnext@64") for line in lines) == 18
    assert sum(line.endswith("  see centred") for line in lines) == 2  # the centroids; 2x2 is too small for the others
    assert any(line.endswith("  not measurable on a 2x2 grid: it needs 3x3") for line in lines)
    assert any("sums to zero over positions by construction" in line for line in lines)
    assert not any(line.endswith("  resolved") for line in lines)
    assert "maps: view cam.gradcam in the store" in result.stdout
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"cam-folder-pets-all-cam.gradcam.{kind}" for kind in ("csv", "png", "svg")]


def test_with_many_classes_there_are_two_intervals(tmp_path: Path) -> None:
    write_folder(tmp_path / "kinds", 60, classes=30)
    words = ["--dataset", f"folder:{tmp_path / 'kinds'}", "--store", str(tmp_path / "s.zarr"), "--address", "none"]
    words += ["--backbone", "test_vit", "--weights", "random", "--resamples", "50", "--image-size", "64"]
    found = run(*words, "--batch-size", "4", "--unit", "20", "--method", "xgradcam")
    assert found.exit_code == 0, found.output
    lines = [re.split("  +", line) for line in found.stdout.splitlines()]
    assert lines[0][6:8] == ["interval", "over classes"]
    assert all(re.fullmatch(r"\[0\.\d{4}, 0\.\d{4}\]", cell) for cell in lines[1][6:8])
    assert lines[1][6] != lines[1][7]
    assert "XGrad-CAM; 95 % intervals over images and over 30 classes; " in found.stdout


def test_json_and_csv_have_the_same_numbers(asked: list[str]) -> None:
    found = run(*asked, "--format", "json")
    assert found.exit_code == 0, found.output
    report = json.loads(found.stdout)
    assert (report["schema_version"], report["images"], report["method"]) == (1, 12, "gradcam")
    table = run(*asked, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(table.stdout)))
    for row, entry in zip(rows, report["measures"], strict=True):
        assert (float(row["value"]) if row["value"] else None) == entry["value"]


def test_the_command_that_a_result_names_makes_it_again(asked: list[str]) -> None:
    store = FeatureStore.open(asked[3])
    keys = [key for key in list_results(store) if key.analysis == "cam"]
    again = run(*ENTRY.command(stored_result(store, keys[0]))[2:], "--store", asked[3], "--address", "none")
    assert again.exit_code == 0, again.output
    assert [key for key in list_results(FeatureStore.open(asked[3])) if key.analysis == "cam"] == keys


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        (("--method", "gradcm"), 2, "gradcam"),
        (("--class", "1000"), 2, "no class 1000"),
        (("--class", "label"), 2, "does not know the labels"),
        (("--correct-only",), 2, "does not know the labels"),
        (("--target", "blocks.5.attn"), 2, "do not depend on the patches"),
        (("--image", "nothing.png"), 2, "unknown sample"),
        (("--precision", "bf16"), 4, "precision"),
        (("--examples", "-1"), 2, "--examples"),
        (("--format", "xml"), 2, "json"),
    ],
)
def test_bad_input_has_a_message_and_an_exit_code(
    asked: list[str], changed: tuple[str, ...], code: int, said: str
) -> None:
    result = run(*asked, *changed)
    if isinstance(result.exception, CvbenchError):
        assert result.exception.exit_code == code
        assert said in str(result.exception)
    else:
        assert result.exit_code == code, result.output
        assert said in result.output
    assert result.stdout == ""
