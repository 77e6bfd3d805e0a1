"""`cvbench runs`: what a run leaves of itself in the store, and how it is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cvbench.jobs.catalogue.runs import read_run
from cvbench.storage.objects.open import open_objects
from cvbench.storage.runs.log import RUNS, runs
from tests.commands import run
from tests.jobs.images import write_folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An extraction that was done twice (so once), and an analysis of it."""
    folder = tmp_path_factory.mktemp("runs")
    write_folder(folder / "pets", 16, broken=(3,))
    place, here = str(folder / "s.zarr"), ["--address", "none"]
    made = ["--dataset", f"folder:{folder / 'pets'}", "--weights", "random", "--image-size", "64", "--unit", "8"]
    nets = ["--backbone", "test_vit", "--batch-size", "4", "--view", "pooled", "--max-unreadable", "0.5"]
    for words in (
        ["extract", *made, *nets, *here],
        ["extract", *made, *nets, *here],
        ["analyze", "cka", "--view", "pooled", "--cka-batch", "4", *here],
    ):
        done = run(*words, "--store", place)
        assert done.exit_code == 0, done.output
    return place


def test_a_run_that_did_something_is_listed(store: str) -> None:
    done = run("runs", "ls", "--store", store, "--format", "json")
    assert done.exit_code == 0, done.output
    listed = json.loads(done.output)["runs"]
    assert [one["job"] for one in listed] == ["analyze cka", "extract"]  # the second had nothing to do
    extracted = listed[1]
    assert (extracted["samples"], extracted["bad"], extracted["units"]) == (16, 1, 2)
    assert (extracted["outcome"], extracted["place"], extracted["device"]) == ("done", "none", "cpu")
    assert extracted["samples_per_second"] == pytest.approx(16 / extracted["seconds"])
    stages = extracted["stages"]
    waited = stages["decode_wait"] + stages["write_wait"]
    assert extracted["idle"] == pytest.approx(waited / (waited + stages["device"]))


def test_one_run_is_shown(store: str) -> None:
    shown = run("runs", "show", "--store", store).output
    assert "analyze cka" in shown  # the latest
    name = next(iter(runs(open_objects(store))))
    shown = run("runs", "show", "--store", store, "--run", name.partition("-")[2][:5]).output
    assert f"{name}: extract folder-pets/all, done" in shown
    assert "1 bad samples, 0 units redone, 0 failures" in shown
    assert "the device waited" in shown
    assert "torch " in shown
    failures = run("runs", "failures", "--store", store)
    assert "nothing failed" in failures.output
    missing = run("runs", "show", "--store", store, "--run", "zz")
    assert missing.exception is not None
    assert "unknown run" in str(missing.exception)


def test_an_error_is_its_end(store: str, tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", 16, broken=(3, 4, 5, 6))
    words = ["--dataset", f"folder:{tmp_path / 'pets'}", "--weights", "random", "--image-size", "64", "--unit", "8"]
    place = str(tmp_path / "s.zarr")
    done = run("extract", *words, "--backbone", "test_vit", "--batch-size", "4", "--address", "none", "--store", place)
    assert done.exit_code != 0
    (found,) = json.loads(run("runs", "ls", "--store", place, "--format", "json").output)["runs"]
    assert found["outcome"] == "failed"
    assert "4 of 16 samples are unreadable" in found["error"]


def test_a_log_of_another_shape_is_no_matter(store: str, tmp_path: Path) -> None:
    told: list[dict[str, Any]] = [
        {"event": "started", "job": ["x"], "total": "many", "versions": 3, "t": -1},
        {"event": "unit", "samples": float("inf"), "seconds": {"device": "long", "other": 2}},
        {"event": "failure", "lines": [1, "two"], "units": 2, "what": "lost", "t": 5},
        {"event": "repeated", "units": 1},
        {"event": "strange"},
    ]
    found = read_run("20260101T000000-00000000", told)
    assert (found.job, found.total, found.samples, found.redone, found.seconds) == ("", 0, 0, 3, 5)
    assert found.failures[0].lines == ("", "two")
    assert found.outcome == "no end"
    assert found.idle is None
    place = str(shutil.copytree(store, tmp_path / "s.zarr"))
    objects = open_objects(place)
    assert objects.create(
        f"{RUNS}/20200101T000000-00000000/0000.jsonl", b'{"event": "failure", "lines": ["\\u001b[2J"]}\n'
    )
    said = run("runs", "failures", "--store", place, "--run", "20200101")
    assert said.exit_code == 0
    assert "\x1b" not in said.output
