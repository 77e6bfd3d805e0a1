"""The example in docs/ runs on a store as it stands, and is right, without cvbench."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import NearestCentroid

from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.running.cluster import Cluster
from cvbench.storage.features import FeatureStore
from tests.jobs.images import write_folder

SCRIPT = Path(__file__).parents[1] / "docs/downstream.py"


def test_it_does_not_import_cvbench() -> None:
    tree = ast.parse(SCRIPT.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any(name.partition(".")[0] == "cvbench" for name in names)
    assert {"xarray", "dask"} <= names


def test_the_example_that_it_shows_is_the_one_that_the_page_of_the_store_runs() -> None:
    (line,) = re.findall(r"^    (python docs/.+)$", SCRIPT.read_text(), flags=re.MULTILINE)
    assert f"<!-- run -->\n```sh\n{line}\n```" in SCRIPT.with_name("store.md").read_text()


def test_its_numbers_are_those_of_the_rows(tmp_path: Path) -> None:
    """Of 32 samples 24 are extracted and one of these is unreadable: both kinds of NaN rows are left out."""
    write_folder(tmp_path / "pets", 32, 2, broken=(6,))
    options = ExtractOptions(
        dataset=f"folder:{tmp_path / 'pets'}",
        backbones=("test_vit",),
        store=str(tmp_path / "s.zarr"),
        weights=("random",),
        views=("head",),
        batch_size=8,
        unit=8,
        limit=24,
        image_size=64,
        max_unreadable=0.1,
    )
    extract(options, Cluster(address="none"))
    store = FeatureStore.open(str(tmp_path / "s.zarr"))
    (info,) = store.tree()
    place = (str(tmp_path / "s.zarr"), "folder-pets/all", info.group.backbone, "head", info.tap)
    done = subprocess.run([sys.executable, str(SCRIPT), *place], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    layer = store.layer(info.group, info.tap)
    x = layer.numpy().astype(np.float64)
    labels = store.samples("folder-pets", "all")["label"][layer.rows]
    half = len(x) // 2
    expected = (NearestCentroid().fit(x[:half], labels[:half]).predict(x[half:]) == labels[half:]).mean()
    assert (found["samples"], found["classes"]) == (len(x), 2)
    assert len(x) in (23, 24), "the broken image may lie beyond the 24"
    assert found["nearest_centroid_accuracy"] == pytest.approx(expected)
    size = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    assert found["variance_of_first_components"] == pytest.approx((size**2 / (size**2).sum())[:2].tolist())
    assert found["sd_of_first_components"] == pytest.approx((size / np.sqrt(len(x)))[:2].tolist())
