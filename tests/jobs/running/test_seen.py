"""A worker on a node that has another disk than the driver: named, and nothing is made there."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cvbench.engine.analyses.cka.measure import MinibatchCka
from cvbench.errors import ClusterError
from cvbench.jobs.analyses.measure import MeasureRecipe, measure_units
from cvbench.jobs.extraction.extract import extract, prepare
from cvbench.jobs.reading.options import Selection
from cvbench.jobs.reading.reading import read
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.progress import silent
from cvbench.jobs.running.seen import check_seen, seen_store
from cvbench.storage.features import FeatureStore
from tests.jobs.extraction.test_extract import contents, options
from tests.jobs.images import write_folder

HERE = Cluster("none")


def test_an_extraction(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", 16)
    job = prepare(options(tmp_path), HERE)
    there = tmp_path / "other" / "store.zarr"
    with pytest.raises(ClusterError, match="this node does not see the driver's store") as caught:
        replace(job.recipe, store=str(there)).build()
    assert str(there) in str(caught.value.where)
    assert caught.value.why == "there is no store"
    assert "s3://" in str(caught.value.fix)
    assert not there.parent.exists()
    FeatureStore.open(there, mode="a").make()  # as an earlier run of something else has left one
    with pytest.raises(ClusterError, match="does not see") as caught:
        replace(job.recipe, store=str(there)).build()
    assert caught.value.why == "the store there has no folder-pets/all"
    job.recipe.build()


def test_an_analysis(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", 16)
    extract(options(tmp_path), HERE)
    store = FeatureStore.open(tmp_path / "store.zarr")
    check_seen(store, "folder-pets", "all")
    assert seen_store(store.url, "folder-pets", "all").mode == "r+"
    shutil.rmtree(tmp_path / "store.zarr")
    with pytest.raises(ClusterError, match="does not see"):
        seen_store(store.url, "folder-pets", "all")


TRAVELLED = """
import pickle, sys
from pathlib import Path
from cvbench.errors import ClusterError
recipe = pickle.loads(Path(sys.argv[1]).read_bytes())
try:
    worker = recipe.build()
except ClusterError as error:
    print(error.what, error.where, error.why, error.fix, sep="|")
else:
    print("built", worker.run(recipe.reading.selected.units[0]))
"""


def test_an_analysis_that_has_travelled(tmp_path: Path) -> None:
    """Its recipe is pickled by the place of its store; on another node there is none at that place, or another."""
    write_folder(tmp_path / "pets", 16)
    extract(options(tmp_path), HERE)
    place = tmp_path / "store.zarr"
    recipes: list[MeasureRecipe] = []

    def kept(*fields: Any) -> MeasureRecipe:
        recipes.append(MeasureRecipe(*fields))
        return recipes[0]

    reading = read(Selection(store=str(place)), FeatureStore.open(place, mode="r+"))
    measure_units(MinibatchCka(batch=8), reading, HERE, silent, kept)
    (tmp_path / "recipe").write_bytes(pickle.dumps(recipes[0]))

    def there() -> list[str]:
        """What a process of another node says, which has this place on a disk of its own."""
        words = [sys.executable, "-c", TRAVELLED, str(tmp_path / "recipe")]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip().split("|")

    (said,) = there()
    assert said.startswith("built ")
    assert int(said.split()[1]) > 0, "it measures where the store is seen"
    place.rename(tmp_path / "elsewhere")
    what, where, _, fix = there()
    assert what == "this node does not see the driver's store"
    assert where.startswith(f"{place} on ")
    assert "every node mounts at the same path" in fix
    assert not place.exists(), "nothing is made there"
    FeatureStore.open(place, mode="a")  # as an earlier run of something else has left one
    before = contents(place)
    assert there()[2] == "the store there has no folder-pets/all"
    assert contents(place) == before
