"""`cvbench analyze silhouette` as a user types it."""

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


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two data sets: 24 images of 2 classes, and 24 of 4."""
    folder = tmp_path_factory.mktemp("cli")
    for name, classes in (("pets", 2), ("birds", 4)):
        write_folder(folder / name, 24, classes)
        result = run(
            *("extract", "--dataset", f"folder:{folder / name}", "--store", str(folder / "s.zarr"), "--view", "head"),
            *("--backbone", "test_vit", "--backbone", "test_convnext", "--weights", "random", "--address", "none"),
            *("--image-size", "64", "--batch-size", "8", "--unit", "16"),
        )
        assert result.exit_code == 0, result.output
    return str(folder / "s.zarr")


BOTH = ("--dataset", "folder-pets", "--dataset", "folder-birds", "--resamples", "100")


def test_the_table_has_every_data_set_backbone_and_metric(store: str) -> None:
    result = run("analyze", "silhouette", "--store", store, *BOTH, "--metric", "cosine", "--metric", "euclidean")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split()[:4] == ["dataset", "backbone", "tap", "space"]
    assert [line.split()[0] for line in lines[1:9]] == ["folder-pets"] * 4 + ["folder-birds"] * 4
    assert [line.split()[5] for line in lines[1:9]] == ["cosine", "euclidean"] * 4
    assert all(" features standardised  " in line for line in lines[1:9])
    assert "[]: 95 % interval, given the classes: jackknife over 10 groups of samples" in result.stdout
    cells = re.findall(r"-?\d\.\d{4} \[-?\d\.\d{4}, -?\d\.\d{4}\]", "\n".join(lines[1:9]))
    assert len(cells) == 8 * 3, "silhouette, class mean and share < 0, each with its interval"
    at = next(i for i, line in enumerate(lines) if "Davies-Bouldin" in line)
    assert lines[at].split("  ")[-1] == "samples"
    assert [line.split()[0] for line in lines[at + 1 : at + 5]] == ["folder-pets"] * 2 + ["folder-birds"] * 2
    assert sum(line.startswith("result: results/folder-") for line in lines) == 2


def test_json_and_csv_have_the_same_numbers(store: str) -> None:
    found = run("analyze", "silhouette", "--store", store, *BOTH, "--space", "features", "--format", "json")
    assert found.exit_code == 0, found.output
    report = json.loads(found.stdout)
    assert report["schema_version"] == 1
    assert len(report["stored"]) == 2
    for row in report["results"]:
        assert row["micro_low"] <= row["micro"] <= row["micro_high"]
        assert row["space"] == "features"
        assert len(row["per_class"]) == row["classes"]
    table = run("analyze", "silhouette", "--store", store, *BOTH, "--space", "features", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(table.stdout)))
    assert [float(row["micro"]) for row in rows] == [row["micro"] for row in report["results"]]


def test_every_space_and_the_paired_differences(store: str) -> None:
    spaces = ("--space", "standardised", "--space", "pca50")
    result = run("analyze", "silhouette", "--store", store, *BOTH, *spaces, "--format", "json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [row["space"] for row in report["results"]] == [
        *["features standardised"] * 2,
        *["features standardised, PCA-50"] * 2,
    ] * 2
    assert len(report["differences"]) == 2 * 2 * 6
    for row in report["differences"]:
        within = row["low"] <= 0 <= row["high"]
        few = row["interval"] != "resampling of classes"  # 24 samples do not resolve
        assert row["resolved"] is (False if within else None if few else True)
        means = {r["backbone"]: r[row["mean"]] for r in report["results"] if keys(r) == keys(row)}
        assert row["difference"] == pytest.approx(means[row["a"]] - means[row["b"]], abs=1e-12)
    table = run("analyze", "silhouette", "--store", store, *BOTH).stdout
    assert "minus" in table
    assert "resampling of classes" in table
    assert any(row["resolved"] is False for row in report["differences"]) == ("(not resolved)" in table)
    assert any(row["resolved"] is None for row in report["differences"]) == ("(too few images to resolve)" in table)


def keys(row: dict[str, object]) -> list[object]:
    return [row[key] for key in ("dataset", "space", "metric")]


def test_a_sample_is_scored_against_all(store: str) -> None:
    result = run("analyze", "silhouette", "--store", store, *BOTH, "--sample", "8", "--seed", "3", "--format", "json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["results"]
    assert {(row["scored"], row["samples"]) for row in rows} == {(8, 24)}


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        (("--metric", "manhattan"), 2, "euclidean"),
        (("--space", "pca"), 2, "--space features, standardised"),
        (("--space", "tsne"), 2, "cvbench analyze tsne --perplexity 7 with the same layers"),
        (("--space", "tsne", "--map", "nosuch"), 2, "the store holds none"),
        (("--view", "pooled"), 3, "--view pooled"),
        (("--dataset", "folder-pet"), 2, "folder-pets"),
        (("--sample", "3"), 2, "--sample 8 or more"),
        (("--sample", "none"), 2, "positive"),
        (("--format", "xml"), 2, "json"),
        (("--backbone", "test_vitt"), 2, "the store holds"),
    ],
)
def test_bad_input_has_a_message_and_an_exit_code(store: str, changed: tuple[str, ...], code: int, said: str) -> None:
    result = run("analyze", "silhouette", "--store", store, "--dataset", "folder-birds", *changed)
    if isinstance(result.exception, CvbenchError):
        assert result.exception.exit_code == code
        assert said in str(result.exception)
    else:
        assert result.exit_code == code, result.output
        assert said in result.output
    assert result.stdout == ""


def test_without_a_data_set_the_only_one_is_meant(store: str, tmp_path: Path) -> None:
    result = run("analyze", "silhouette", "--store", store)
    assert isinstance(result.exception, CvbenchError)
    assert "--dataset" in str(result.exception)
    missing = run("analyze", "silhouette", "--store", str(tmp_path / "none.zarr"))
    assert isinstance(missing.exception, CvbenchError)
    assert missing.exception.exit_code == 3


def test_the_figure_is_written_beside_its_numbers(store: str, tmp_path: Path) -> None:
    result = run("analyze", "silhouette", "--store", store, *BOTH, "--out", str(tmp_path / "figures"))
    assert result.exit_code == 0, result.output
    files = [tmp_path / "figures" / f"silhouette-head.{suffix}" for suffix in ("svg", "png", "csv")]
    assert [line for line in result.stderr.splitlines() if line.startswith("figure: ")] == [
        f"figure: {f}" for f in files
    ]
    rows = list(csv.DictReader(files[-1].read_text().splitlines()))
    assert [(row["dataset"], row["backbone"]) for row in rows[::2]] == [
        ("folder-pets", rows[0]["backbone"]),
        ("folder-birds", rows[0]["backbone"]),
    ]
    one = run("analyze", "silhouette", "--store", store, *BOTH[2:], "--out", str(tmp_path / "one"))
    assert one.exit_code == 0, one.output
    assert sorted(path.name for path in (tmp_path / "one").iterdir())[0] == "silhouette-folder-birds-all-head.csv"
