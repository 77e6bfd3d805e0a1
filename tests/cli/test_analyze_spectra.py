"""`cvbench analyze spectra` as a user types it."""

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
from tests.jobs.images import write_folder

INTERVAL = re.compile(r"-?\d+\.\d+ \[-?\d+\.\d+, -?\d+\.\d+\]")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


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
    assert found["schema_version"] == 1
    assert (found["dataset"], found["samples"]) == ("folder-pets", 16)
    assert [layer["tap"] for layer in found["layers"]] == [f"blocks.{i}" for i in range(len(found["layers"]))]
    assert found["layers"][0]["grid"] == [4, 4]
    assert found["frequency"] == [0, 0.5, 1]
    assert found["null_level"] == pytest.approx(0.3466, abs=1e-4)


def test_csv_table_and_figure(store: Path, tmp_path: Path) -> None:
    result = analyze(store, "--format", "csv", "--taps", "blocks.1")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert {row["tap"] for row in rows} == {"blocks.1"}
    assert {"radial", "diagonal", "profile", "share_above_0.5"} <= {row["quantity"] for row in rows}
    result = analyze(store, "--out", str(tmp_path / "figures"))
    assert result.exit_code == 0, result.output
    assert "16 images" in result.stdout
    assert "share above 0.5 pi" in result.stdout.splitlines()[0]
    first = re.split(r"  +", result.stdout.splitlines()[1])
    numbers = [cell for column, cell in enumerate(first[3:-1]) if column != 1]  # one is the level of white noise
    assert len(numbers) == 4
    assert all(INTERVAL.fullmatch(cell) for cell in numbers)
    assert "[]: 95% interval over images" in result.stdout
    assert "with fewer than 30 the intervals of very skewed numbers are too narrow" in result.stdout
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
