"""A data set of a package installed beside cvbench: listed, extracted, analysed, reported; and where it cannot be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cvbench.cli.app import app
from cvbench.errors import UsageError
from cvbench.plugins import plugins
from cvbench.storage.datasets import dataset_names, open_dataset, spec_of_key
from tests.forks import Start
from tests.plugins.package import command, install

SOURCE = Path(__file__).with_name("stripes.py")
NAMES = {"stripes": "own_stripes", "other": "own_stripes", "broken": "nothing", "cub200": "own_stripes"}
POINTS = "\n".join(["[cvbench.datasets]", *(f"{name} = {module}:READER" for name, module in NAMES.items()), ""])
SIZES = ("--weights", "random", "--image-size", "32", "--batch-size", "16", "--unit", "32", "--address", "none")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return install(tmp_path / "site", "own-stripes", {"own_stripes.py": SOURCE.read_text()}, POINTS)


@pytest.fixture
def installed(package: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package, for commands in this process."""
    monkeypatch.syspath_prepend(package)
    plugins.cache_clear()
    yield package
    plugins.cache_clear()


def test_the_file_is_short() -> None:
    assert len(SOURCE.read_text().splitlines()) < 50


def test_extract_analyze_and_report_find_it(start: Start, package: Path, tmp_path: Path) -> None:
    store, out = str(tmp_path / "s.zarr"), str(tmp_path / "report")
    made = ("-d", "stripes", "-m", "test_vit", "--view", "head", "--store", store)
    done = command(start, package, "extract", *made, *SIZES)
    assert done.returncode == 0, done.stderr
    done = command(start, package, "analyze", "silhouette", "--store", store, "-d", "stripes", "--format", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {row["dataset"] for row in found["rows"]} == {"stripes"}
    assert all(any(name in row["factor"] for row in found["rows"]) for name in ("across", "down", "falling"))
    done = command(start, package, "report", "--store", store, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "cvbench extract --dataset stripes" in (Path(out) / "report.html").read_text().replace("<span>", "")


@pytest.mark.usefixtures("installed")
def test_it_is_listed_and_what_cannot_be_used_is_said() -> None:
    done = CliRunner().invoke(app, ["datasets", "ls"])
    assert done.exit_code == 0, done.output
    assert "Stripes in three directions" in done.stdout
    assert "cifar10" in done.stdout
    assert "warning: a package adds a data set 'cub200', which cvbench has" in done.stderr
    assert "warning: 'broken' of cvbench.datasets cannot be imported" in done.stderr
    assert "warning: the plugin's data set 'other' cannot be used" in done.stderr
    assert {"stripes", "broken", "cub200"} <= set(dataset_names())
    assert spec_of_key("stripes.scale-2") == "stripes+scale=2"
    assert [spec_of_key(name) for name in ("broken-x", "other-x", "dtd-2")] == ["broken-x", "other-x", "dtd:2"]
    dataset = open_dataset("stripes")
    assert (len(dataset), np.bincount(dataset.labels).tolist()) == (60, [20, 20, 20])
    with pytest.raises(UsageError, match="it calls itself 'stripes'") as caught:
        open_dataset("other")
    assert "own_stripes:READER" in str(caught.value)
