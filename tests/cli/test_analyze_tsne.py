"""`cvbench analyze tsne` as a user types it."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from typer.testing import Result

from cvbench.errors import CvbenchError
from tests.commands import run
from tests.jobs.images import write_folder


def analyze(store: str, *arguments: str) -> Result:
    quick = {"--perplexity": "4", "--iterations": "250", "--repeats": "2", "--resamples": "50", "--backend": "sklearn"}
    words = [word for option, value in quick.items() if option not in arguments for word in (option, value)]
    return run("analyze", "tsne", "--store", store, *words, *arguments)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """24 images of 2 classes through both small backbones."""
    folder = tmp_path_factory.mktemp("cli-tsne")
    write_folder(folder / "pets", 24, 2)
    result = run(
        *("extract", "--dataset", f"folder:{folder / 'pets'}", "--store", str(folder / "s.zarr"), "--view", "head"),
        *("--backbone", "test_vit", "--backbone", "test_convnext", "--weights", "random", "--address", "none"),
        *("--image-size", "64", "--batch-size", "8", "--unit", "8"),
    )
    assert result.exit_code == 0, result.output
    return str(folder / "s.zarr")


def test_table_csv_json_and_figure(store: str, tmp_path: Path) -> None:
    result = analyze(store, "--out", str(tmp_path / "figures"))
    assert result.exit_code == 0, result.output
    assert "sklearn" in result.stdout
    assert "perplexity 4, 250 iterations, 2 runs" in result.stdout
    assert "trustworthiness of the map, folder-pets/all" in result.stdout
    assert re.search(r"k = 10  \d\.\d{4}  \[\d\.\d{4}, \d\.\d{4}\]", result.stdout)
    assert "difference of kNN purity, features, folder-pets/all" in result.stdout
    assert re.search(r"test_\S+/head less test_\S+/head  k = 10 +-?\d", result.stdout)
    assert "intervals: jackknife over groups of samples" in result.stdout
    assert "carry no claim by themselves" in result.stdout
    names = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert names == [f"tsne-folder-pets-all.{suffix}" for suffix in ("csv", "png", "svg")]
    report = json.loads(analyze(store, "--format", "json").stdout)
    (described,) = report["results"]
    assert (report["schema_version"], described["dataset"]) == (2, "folder-pets")
    assert described["attributes"]["backend"] == "sklearn"
    assert [len(runs) for runs in described["arrays"]["kl"]["values"]] == [2, 2]
    rows = list(csv.DictReader(io.StringIO(analyze(store, "--format", "csv").stdout)))
    assert [row["value"] for row in rows] == [
        "" if one["value"] is None else repr(one["value"]) for one in report["rows"]
    ]


def test_it_takes_the_options_of_the_other_analyses(store: str) -> None:
    """A loop over all of them gives each the same address and device."""
    here = analyze(store, "--address", "none", "--device", "cpu", "--format", "json")
    assert here.exit_code == 0, here.output
    there = analyze(store, "--address", "local", "--device", "cpu", "--threads", "1", "--format", "json")
    assert json.loads(there.stdout) == json.loads(here.stdout)


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        (("--perplexity", "30"), 2, "--perplexity 7 or less"),
        (("--backend", "umap"), 2, "--backend auto, sklearn"),
        (("--backend", "cuml"), 6, "cvbench[tsne]"),
        (("--preprocess", "whiten"), 2, "--preprocess standardise"),
        (("--sample", "3"), 2, "--sample 4 or more"),
        (("--view", "pooled"), 3, "--view pooled"),
        (("--format", "xml"), 2, "json"),
        (("--iterations", "20"), 2, "--iterations 250 or more"),
        (("--device", "tpu"), 2, "cuda"),
    ],
)
def test_bad_input(store: str, changed: tuple[str, ...], code: int, said: str) -> None:
    result = analyze(store, *changed)
    assert isinstance(result.exception, CvbenchError)
    assert result.exception.exit_code == code
    assert said in str(result.exception)
    assert result.stdout == ""
