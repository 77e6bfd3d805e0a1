"""`cvbench analyze silhouette` as a user types it."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from cvbench.errors import CvbenchError
from tests.commands import check_refused, run
from tests.jobs.images import write_folder


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
    for place in ("folder-pets/all", "folder-birds/all"):
        at = lines.index(f"silhouette, mean over samples, {place}")
        ways = [re.findall(r"(?:cosine|euclidean), features standardised", line) for line in lines[at + 2 : at + 6]]
        assert ways == [["cosine, features standardised"], ["euclidean, features standardised"]] * 2
        assert f"difference of silhouette, mean of class means, {place}" in lines
    assert "intervals: given the classes: jackknife over 10 groups of samples" in result.stdout
    cells = re.findall(r"-?\d\.\d{4} +\[-?\d\.\d{4}, -?\d\.\d{4}\]", result.stdout)
    assert len(cells) == 2 * (3 * 4 + 2 * 2), (
        "three numbers and two differences by both metrics, each with its interval"
    )
    assert sum(line.startswith("result: results/folder-") for line in lines) == 2
    long = run("analyze", "silhouette", "--store", store, *BOTH, "--long").stdout
    assert "Davies-Bouldin index (less is better), folder-pets/all" in long
    assert "silhouette of a class, folder-birds/all" in long


def test_json_and_csv_have_the_same_numbers(store: str) -> None:
    found = run("analyze", "silhouette", "--store", store, *BOTH, "--space", "features", "--format", "json")
    assert found.exit_code == 0, found.output
    report = json.loads(found.stdout)
    assert report["schema_version"] == 2
    assert len({one["run"] for one in report["results"]}) == 2
    for row in report["rows"]:
        assert row["low"] is None or row["low"] <= row["value"] <= row["high"]
        if row["kind"] == "reference":
            assert (row["factor"], row["value"]) == ("chance", 0.0)
            continue
        assert row["factor"].split(":")[0] == "euclidean, features"
    for one, classes in zip(report["results"], (2, 4), strict=True):
        assert one["arrays"]["members"]["values"] == [24 // classes] * classes
        own = [row for row in report["rows"] if row["run"] == one["run"] and row["metric"] == "silhouette of a class"]
        assert [row["factor"].partition(": ")[2] for row in own] == 2 * one["coordinates"]["class"]
    table = run("analyze", "silhouette", "--store", store, *BOTH, "--space", "features", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(table.stdout)))
    assert [row["value"] for row in rows] == [repr(row["value"]) for row in report["rows"]]


def test_every_space_and_the_paired_differences(store: str) -> None:
    spaces = ("--space", "standardised", "--space", "pca50")
    result = run("analyze", "silhouette", "--store", store, *BOTH, *spaces, "--format", "json")
    assert result.exit_code == 0, result.output
    assert "samples per class differ (folder-pets 12, folder-birds 6, medians)" in result.stderr
    report = json.loads(result.stdout)
    assert [one["attributes"]["space_option"] for one in report["results"]] == ["standardised", "pca50"] * 2
    pairs = [row for row in report["rows"] if row["kind"] == "difference"]
    assert len(pairs) == 2 * 2 * 5
    values = {(*keys(row), row["backbone"]): row["value"] for row in report["rows"] if row["kind"] == "value"}
    for row in pairs:
        within = row["low"] <= 0 <= row["high"]
        assert row["verdict"] == ("not resolved" if within else "too few images to resolve"), "24 samples"
        apart = values[(*keys(row), row["backbone"])] - values[(*keys(row), row["backbone_b"])]
        assert row["value"] == pytest.approx(apart, abs=1e-12)
        if row["metric"] == "silhouette, mean of class means":
            assert row["class_verdict"] in ("resolved", "not resolved")
    table = run("analyze", "silhouette", "--store", store, *BOTH).stdout
    assert " less " in table
    assert "over classes" in table
    main = [row for row in pairs if row["metric"].startswith("silhouette, mean") and "PCA" not in row["factor"]]
    assert {row["verdict"] for row in main} <= {word for word in VERDICTS if word in table}


VERDICTS = ("not resolved", "too few images to resolve")


def keys(row: dict[str, object]) -> tuple[object, ...]:
    return tuple(row[key] for key in ("run", "metric", "factor"))


def test_a_sample_is_scored_against_all(store: str) -> None:
    result = run("analyze", "silhouette", "--store", store, *BOTH, "--sample", "8", "--seed", "3", "--format", "json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    means = [
        row for row in report["rows"] if row["metric"] == "silhouette, mean over samples" and row["kind"] == "value"
    ]
    assert {row["n"] for row in means} == {8}
    assert {one["attributes"]["samples"] for one in report["results"]} == {24}


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        (("--metric", "manhattan"), 2, "euclidean"),
        (("--space", "pca"), 2, "--space features, standardised"),
        (("--space", "tsne"), 2, "`analyze tsne --perplexity 7` with the same layers"),
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
    check_refused(result, code, said)
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
    stems = [*(f"silhouette-folder-{name}-all-head-standardised" for name in ("pets", "birds")), "silhouette"]
    files = [tmp_path / "figures" / f"{stem}.{suffix}" for stem in stems for suffix in ("svg", "png", "csv")]
    assert [line for line in result.stderr.splitlines() if line.startswith("figure: ")] == [
        f"figure: {f}" for f in files
    ]
    whole, *parts = (list(csv.DictReader(files[at].read_text().splitlines())) for at in (-1, 2, 5))
    assert whole == [row for part in parts for row in part], "both beside each other"
    one = run("analyze", "silhouette", "--store", store, *BOTH[2:], "--out", str(tmp_path / "one"))
    assert one.exit_code == 0, one.output
    assert {path.stem for path in (tmp_path / "one").iterdir()} == {stems[1]}
