"""A store is checked, tidied, exported and emptied from Python as from the command line, and with the same outcome."""

from __future__ import annotations

import csv
import inspect
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import cvbench
from cvbench.cli import store as commands
from cvbench.cli.app import app
from cvbench.errors import CvbenchError, UnknownNameError

METHODS = {"info": "to_pandas", "verify": "verify", "repair": "repair", "gc": "gc", "rm": "rm", "export": "export"}
"""Command of `cvbench store` -> method of `Store`."""
GROUP = "digits/test/test_vit@32/pooled"


@pytest.fixture
def store(tmp_path: Path) -> cvbench.Store:
    """32 digits through two blocks, and one result."""
    done = cvbench.extract(
        "digits",
        backbones=["test_vit"],
        weights=["random"],
        split="test",
        limit=32,
        unit=32,
        batch_size=8,
        image_size=32,
        taps=["blocks.[01]"],
        views=["pooled"],
        threads=1,
        store=tmp_path / "a.zarr",
    )
    cvbench.analyze.cka(done.store, batch=8)
    return done.store


def outcome(*words: str) -> dict[str, object]:
    done = CliRunner().invoke(app, [*words, "--format", "json"])
    assert done.exit_code == 0, (done.output, done.exception)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_each_command_of_a_store_is_a_method() -> None:
    assert set(METHODS) == set(commands.PLACES)
    assert all(inspect.isfunction(getattr(cvbench.Store, name)) for name in METHODS.values())


def test_export_writes_the_features(store: cvbench.Store, tmp_path: Path) -> None:
    written = store.export(GROUP, tmp_path / "out", taps=["blocks.1"])
    (path,) = (file.path for file in written if file.path.endswith(".npy"))
    kept = store.layer("digits/test", "test_vit@32", "blocks.1")
    np.testing.assert_array_equal(np.load(path), kept.to_numpy())
    with (tmp_path / "out" / "samples.csv").open(newline="") as lines:
        assert [row["id"] for row in csv.DictReader(lines)] == list(kept.ids)
    with pytest.raises(UnknownNameError):
        store.export(GROUP, tmp_path / "none", taps=["blocks.9"])


def test_rm_takes_a_layer_and_what_is_known_of_it_goes(store: cvbench.Store) -> None:
    place = f"{GROUP}/blocks.1"
    would = store.rm(place, dry_run=True)
    assert would.dry_run
    assert outcome("store", "rm", place, "--store", store.url, "--dry-run")["layers"] == [place]
    assert store.layers() == ["blocks.0", "blocks.1"]
    assert len(store.results()) == 1
    assert store.rm(place).layers == would.layers == (place,)
    assert store.layers() == ["blocks.0"]
    assert store.results() == []
    with pytest.raises(CvbenchError):
        store.rm(place)


def test_rm_results_takes_the_result_and_leaves_the_features(store: cvbench.Store) -> None:
    (result,) = store.results()
    (path,) = store.rm_results(*result.paths).results
    assert path == result.paths[0]
    assert store.results() == []
    assert store.layers() == ["blocks.0", "blocks.1"]


def test_repair_forgets_what_is_damaged(store: cvbench.Store) -> None:
    assert store.verify(deep=True).ok
    assert store.gc().removed == ()
    chunk = min(Path(store.url).glob("**/pooled/*/c.*"))
    chunk.write_bytes(chunk.read_bytes()[:-1])
    assert not store.verify().ok
    would = store.repair(dry_run=True)
    assert would.forgotten
    assert not store.verify().ok
    assert outcome("store", "repair", "--store", store.url, "--dry-run")["forgotten"] == list(would.forgotten)
    assert store.repair().forgotten == would.forgotten
    assert store.verify(deep=True).ok
