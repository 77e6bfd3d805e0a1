"""A job asks a store once for what it reads: counted at the objects, and alike for two layers as for twenty."""

from __future__ import annotations

import pickle
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvbench.engine.analyses.silhouette.options import SilhouetteOptions
from cvbench.engine.analyses.tsne.options import TsneOptions
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.jobs.analyses.cka import CkaOptions, cka
from cvbench.jobs.analyses.maps import maps
from cvbench.jobs.analyses.options import MapsOptions
from cvbench.jobs.analyses.silhouette import silhouette
from cvbench.jobs.analyses.similarity import similarity
from cvbench.jobs.analyses.spectra import spectra
from cvbench.jobs.analyses.tsne import tsne
from cvbench.jobs.evaluation.accuracy import accuracy
from cvbench.jobs.evaluation.options import AccuracyOptions
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.reading.options import Selection
from cvbench.jobs.reading.reading import read
from cvbench.storage.features import FeatureStore
from cvbench.storage.objects.local import LocalObjects
from tests.jobs.images import write_folder
from tests.jobs.logits_store import noisy_logits, write_logits
from tests.jobs.maps_store import LOOP, options

FEW = IntervalOptions(resamples=20)
PETS, BIRDS = "folder-pets", "birds"
JOBS: dict[str, Callable[[str, tuple[str, ...]], Any]] = {
    "cka": lambda store, taps: cka(Selection(store, PETS, view="maps", taps=taps), CkaOptions(batch=8), LOOP),
    "spectra": lambda store, taps: spectra(Selection(store, PETS, taps=taps), FEW, LOOP),
    "similarity": lambda store, taps: similarity(Selection(store, PETS, taps=taps), FEW, LOOP),
    "maps": lambda store, taps: maps(Selection(store, PETS, taps=taps), MapsOptions(intervals=FEW), LOOP),
    "silhouette": lambda store, taps: silhouette([Selection(store, PETS, taps=taps)], SilhouetteOptions()),
    "tsne": lambda store, taps: tsne(Selection(store, PETS, taps=taps), TsneOptions(perplexity=3, iterations=250)),
    "accuracy": lambda store, taps: accuracy([Selection(store, BIRDS)], AccuracyOptions()),
}
FEW_LAYERS = ("blocks.0", "stages.0.blocks.0")
GROUPS = 2  # that each job reads: one of each backbone
UNITS = 4  # of each


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Maps and pooled features of 32 images of three classes, and logits of 64."""
    folder = tmp_path_factory.mktemp("reading")
    write_folder(folder / "pets", 32, 2, broken=(9,))
    extract(options(folder, ("maps", "pooled"), 64), LOOP)
    labels = np.arange(64) % 4
    logits = {name: noisy_logits(labels, 4, 3.0, seed) for seed, name in enumerate(("one", "two"))}
    write_logits(folder / "store.zarr", logits, labels, [f"class-{i}" for i in range(4)])
    return folder / "store.zarr"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often local objects were listed, and of which sort the records were that were read."""
    found: Counter[str] = Counter()
    get, listing = LocalObjects.get, LocalObjects.list

    def counted_get(self: LocalObjects, key: str) -> bytes | None:
        kind = next((part for part in ("fingerprint.json", "/commits/", "/partials/") if part in key), None)
        found["root" if key == "zarr.json" else kind or "other"] += 1
        return get(self, key)

    def counted_list(self: LocalObjects, prefix: str = "") -> Any:
        found["list"] += 1
        return listing(self, prefix)

    monkeypatch.setattr(LocalObjects, "get", counted_get)
    monkeypatch.setattr(LocalObjects, "list", counted_list)
    return found


@pytest.mark.parametrize("name", JOBS)
def test_a_job_opens_a_store_once_and_reads_each_record_once(
    made: Path, tmp_path: Path, asked: Counter[str], name: str
) -> None:
    store = str(shutil.copytree(made, tmp_path / "store.zarr"))
    JOBS[name](store, ())
    assert asked["root"] == 1
    assert asked["fingerprint.json"] == GROUPS
    assert asked["/commits/"] == GROUPS * UNITS
    assert asked["list"] <= 6  # groups, results kept before, partials; each twice at most; and logs of runs
    assert asked["/partials/"] <= UNITS


@pytest.mark.parametrize("name", sorted(JOBS.keys() - {"accuracy"}))
def test_more_layers_cost_no_more_listings(made: Path, tmp_path: Path, asked: Counter[str], name: str) -> None:
    found = []
    for taps in (FEW_LAYERS, ()):
        store = str(shutil.copytree(made, tmp_path / f"{len(taps)}.zarr"))
        asked.clear()
        JOBS[name](store, taps)
        found.append({key: asked[key] for key in ("root", "list", "fingerprint.json", "/commits/")})
    assert found[0] == found[1]


def test_a_reading_is_of_its_moment_and_travels_as_a_place(made: Path, tmp_path: Path, asked: Counter[str]) -> None:
    store = str(shutil.copytree(made, tmp_path / "store.zarr"))
    group = next(group for group in FeatureStore.open(store).groups() if group.view == "maps")
    later = list(Path(store, group.commits).glob("00000[23]-*"))
    for commit in later:
        commit.rename(tmp_path / commit.name)
    reading = read(Selection(store, PETS, view="maps", backbones=(group.backbone,)))
    for commit in later:
        (tmp_path / commit.name).rename(commit)
    assert len(reading.selected.units) == 2
    assert {len(layer.units) for layer in reading.layers.values()} == {2}
    assert set(reading.rows.tolist()) <= set(range(16))
    asked.clear()
    there: Any = pickle.loads(pickle.dumps(reading))  # noqa: S301 - our own bytes
    assert not asked  # an actor asks when it has a task, whose error a lost store then is
    assert there.selected == reading.selected
    assert len(pickle.dumps(reading)) < 4096
    np.testing.assert_array_equal(there.rows, reading.rows)
    for layer in reading.selected.layers:
        np.testing.assert_array_equal(there.take(layer, [3]), reading.take(layer, [3]))
