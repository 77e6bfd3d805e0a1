"""Two tasks at once on one worker, as an actor runs them, give the bits of the plain loop: every job with a worker."""

from __future__ import annotations

import itertools
import random
import shutil
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import cvbench.jobs
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.registry import ENTRIES, entry_of, find_live, forms_of
from cvbench.jobs.results.keep import Analysed
from cvbench.jobs.running.cluster import Cluster, WorkerRecipe
from cvbench.jobs.running.progress import silent
from cvbench.options import Field, Form, form_of
from cvbench.storage.features import FeatureStore
from tests.jobs.extraction.test_extract import contents
from tests.storage.datasets.cub_tree import write_cub_of

LOOP = Cluster(address="none")
UNITS, UNIT = 24, 4
JOBS = str(Path(cvbench.jobs.__file__).parent)


def two_at_once(
    recipe: WorkerRecipe[Any, Any], tasks: Sequence[Any], cluster: Cluster, on_done: Any = None, listen: Any = None
) -> None:
    """In place of `run_tasks`: one worker, two threads, in an order of their own."""
    if not tasks:
        return
    worker = recipe.build()
    order = random.Random(0).sample(list(tasks), len(tasks))
    with ThreadPoolExecutor(2, initializer=_change_places_often) as pool:
        for task, receipt in zip(order, pool.map(worker.run, order), strict=True):
            if on_done is not None:
                on_done(task, receipt)


def _change_places_often() -> None:
    """Let the other thread go on at every fifth call into a job, so that no order of steps is a matter of luck."""
    calls = itertools.count()

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and JOBS in frame.f_code.co_filename and next(calls) % 5 == 0:
            time.sleep(0.001)

    sys.setprofile(profile)


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run their tasks by `two_at_once`."""
    monkeypatch.setattr("cvbench.jobs.analyses.measure.run_tasks", two_at_once)
    monkeypatch.setattr("cvbench.jobs.extraction.job.run_tasks", two_at_once)


CROSSED = {"test_vit": "vit,a", "test_convnext": "convnext,a", "one": "vit,b", "other": "convnext,b"}
"""Backbone -> its levels, of what crosses two factors."""


def options(folder: Path, store: Path, **changes: Any) -> ExtractOptions:
    chosen = ExtractOptions(
        dataset="cub200",
        split="all",
        data_root=str(folder / "data"),
        backbones=("test_vit", "test_convnext"),
        store=str(store),
        weights=("random",),
        views=("maps",),
        maps=None,
        batch_size=UNIT,
        unit=UNIT,
        image_size=64,
    )
    return replace(chosen, **changes)


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Maps of 96 birds, each with a box of its own, in 24 units."""
    folder = tmp_path_factory.mktemp("shared")
    write_cub_of(folder / "data" / "CUB_200_2011", UNITS * UNIT)
    extract(options(folder, folder / "store.zarr"), LOOP)
    named = tuple(f"{name}=test_{model}" for name, model in (("one", "vit"), ("other", "convnext")))
    extract(options(folder, folder / "store.zarr", backbones=named), LOOP)
    return folder


def fields_of(name: str) -> list[tuple[Form, list[Field]]]:
    """The forms of an entry, each with its options."""
    return [(form_of(one), list(form_of(one).fields())) for one in forms_of(name)]


WITH_WORKERS = [
    name
    for name, place in ENTRIES.items()
    if place.group and any(field.key == "gpus" for _, fields in fields_of(name) for field in fields)
]
"""Every entry whose units go to actors; the others are done in one process."""


def test_the_registry_names_those_with_workers() -> None:
    assert WITH_WORKERS == [
        "cka",
        "similarity",
        "spectra",
        "maps",
        "cam",
        "faithfulness",
        "randomisation",
        "norms",
        "attention",
        "residual",
        "receptive-field",
        "two-way",
    ]


def measured(name: str, birds: Path, store: Path) -> Analysed:
    """Run an entry as its command does, with these options of those that it has."""
    typed: dict[str, Any] = {"store": str(store), "data_root": str(birds / "data"), "dataset": "cub200", "split": "all"}
    typed |= {"backbone": ["test_vit", "test_convnext"], "weights": ["random"], "image_size": 64, "unit": UNIT}
    typed |= {"address": "none", "resamples": 50, "view": "maps", "batch_size": str(UNIT), "cka_batch": str(UNIT)}
    typed |= {"cells": 4, "steps": 2}
    typed |= {"cell": [f"{key}@64={levels}" for key, levels in CROSSED.items()]}
    made = [
        form.made({field.key: typed.get(field.key, field.default) for field in fields})
        for form, fields in fields_of(name)
    ]
    entry = entry_of(name)
    assert entry is not None
    assert entry.run is not None
    (found,) = entry.run(*made, silent)
    assert isinstance(found, Analysed)
    return found


@pytest.mark.parametrize("name", WITH_WORKERS)
def test_an_analysis(birds: Path, tmp_path: Path, request: pytest.FixtureRequest, name: str) -> None:
    found = {}
    for way in ("loop", "shared"):
        store = Path(shutil.copytree(birds / "store.zarr", tmp_path / f"{way}.zarr"))
        if way == "shared":
            request.getfixturevalue("shared")
        found[way] = measured(name, birds, store), contents(str(store))
    (loop, loop_files), (both, both_files) = found["loop"], found["shared"]
    assert loop.measured == both.measured > 0
    for variable, (_, values) in loop.result.data.items():
        np.testing.assert_array_equal(both.result.data[variable][1], values, err_msg=variable)
    assert both_files == loop_files  # partials too: a wrong one would stay


def test_extraction_and_live_analyses(birds: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    found = []
    for way in ("loop", "shared"):
        if way == "shared":
            request.getfixturevalue("shared")
        store = tmp_path / f"{way}.zarr"
        live = options(birds, store, views=("pooled", "head", "logits"), analyses=("cka", "spectra", "similarity"))
        extract(live, LOOP, live=find_live(live.analyses))
        assert len(FeatureStore.open(store).layer(FeatureStore.open(store).groups()[0], "head").units) == UNITS
        found.append(contents(str(store)))
    assert found[0] == found[1]
