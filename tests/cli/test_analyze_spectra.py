"""`cvbench analyze spectra` as a user types it."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from typer.testing import Result

from cvbench.errors import CvbenchError
from cvbench.jobs.results.row import COLUMNS
from tests.commands import run
from tests.jobs.images import write_folder


def analyze(store: Path, *arguments: str) -> Result:
    return run("analyze", "spectra", "--store", str(store), "--address", "none", "--resamples", "50", *arguments)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Maps of 16 images through the small ViT; only pooled features of the small ConvNeXt."""
    folder = tmp_path_factory.mktemp("cli-spectra")
    pets = write_folder(folder / "pets", 16)
    common = ("extract", "--dataset", f"folder:{pets}", "--store", str(folder / "store.zarr"), "--address", "none")
    sizes = ("--weights", "random", "--image-size", "64", "--batch-size", "8", "--unit", "8")
    for view in (("--backbone", "test_vit", "--view", "maps"), ("--backbone", "test_convnext", "--view", "pooled")):
        result = run(*common, *sizes, *view)
        assert result.exit_code == 0, result.output
    return folder / "store.zarr"


def test_json(store: Path) -> None:
    result = analyze(store, "--format", "json", "--dataset", "folder-pets", "--backbone", "test_vit")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert list(found) == ["schema_version", "rows", "results"]
    assert found["schema_version"] == 2
    assert list(found["rows"][0]) == list(COLUMNS)
    (about,) = found["results"]
    assert (about["analysis"], about["dataset"], about["attributes"]["samples"]) == ("spectra", "folder-pets", 16)
    assert about["attributes"]["layers"][0] == {
        "backbone": "test_vit@64",
        "tap": "blocks.0",
        "grid": [4, 4],
        "channels": 64,
    }
    assert {row["run"] for row in found["rows"]} == {about["run"]}
    profile = [row for row in found["rows"] if row["layer"] == "blocks.0" and "common axis" in row["metric"]]
    assert [row["at"] for row in profile] == [0, 0.5, 1]


def test_csv_table_and_figure(store: Path, tmp_path: Path) -> None:
    result = analyze(store, "--format", "csv", "--taps", "blocks.1")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert tuple(rows[0]) == COLUMNS
    assert {row["layer"] for row in rows} == {"blocks.1"}
    assert {"curve", "value", "reference"} == {row["kind"] for row in rows}
    result = analyze(store, "--out", str(tmp_path / "figures"))
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "energy share above 0.5 π, folder-pets/all"
    assert lines[1].split() == ["of", "value", "interval", "n"]
    assert re.fullmatch(r"test_vit@64/blocks\.0  0\.\d{4}  \[0\.\d{4}, 0\.\d{4}\]  16", lines[2])
    assert "with fewer than 30 the intervals of very skewed numbers are too narrow" in result.stdout
    assert len(analyze(store, "--long").stdout.splitlines()) > 2 * len(lines)
    names = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert names == [f"spectra-folder-pets-all.{suffix}" for suffix in ("csv", "png", "svg")]


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        (("--format", "xml"), 2, "json"),
        (("--backbone", "test_convnext"), 2, "the store holds test_vit"),
        (("--dataset", "folder-pet"), 2, "did you mean: folder-pets"),
        (("--taps", "stem"), 2, "unknown tap in this store: 'stem'"),
    ],
)
def test_bad_input(store: Path, changed: tuple[str, ...], code: int, said: str) -> None:
    result = analyze(store, *changed)
    assert isinstance(result.exception, CvbenchError)
    assert result.exception.exit_code == code
    assert said in str(result.exception)
