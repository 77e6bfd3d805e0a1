"""Every analysis of the registry that takes a device gives on the pretended card what the CPU gives."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvbench import analyze, transfer
from cvbench.api.result import Result
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.registry import ENTRIES, forms_of
from cvbench.jobs.running.cluster import Cluster
from cvbench.options import form_of
from tests.jobs.transfer.test_dense import write_table
from tests.standin.counters import COUNTERS, Counters
from tests.standin.plug import plugged

BACKBONES = ("test_vit", "test_convnext", "test_vit2", "test_convnext2")
TWO = {"split": "test", "backbones": [*BACKBONES[:2]]}
IMAGES = {"split": "test", "backbones": ["test_vit"], "weights": ["random"], "limit": 4, "threads": 1}
SOURCE = ("maps", "cam", "faithfulness", "randomisation", "attention", "residual", "receptive-field", "dense")
"""They read images: those of a table of our own."""
BACKWARD = ("cam", "faithfulness", "randomisation", "receptive-field", "probe", "dense")
"""They take gradients."""
GIVEN: dict[str, dict[str, Any]] = {
    "cka": {**TWO, "view": "maps", "batch": 8},
    "similarity": TWO,
    "spectra": TWO,
    "maps": TWO,
    "norms": TWO,
    "cam": IMAGES,
    "faithfulness": {**IMAGES, "cells": 2, "steps": 2},
    "randomisation": {**IMAGES, "steps": 1},
    "attention": IMAGES,
    "residual": IMAGES,
    "receptive-field": {**IMAGES, "taps": ["blocks.0"]},
    "two-way": {
        "split": "test",
        "of": "similarity",
        "taps": ["blocks.0", "stages.1.blocks.0"],
        "cells": [f"{name}={name[5:8]},{name[-1] == '2'}" for name in BACKBONES],
        "factors": ["network", "size"],
    },
    "tsne": {**TWO, "backbones": ["test_vit"], "perplexity": 5, "repeats": 1, "iterations": 260},
    "silhouette": TWO,
    "probe": {"datasets": ["table-birds"], "backbones": ["test_vit"], "epochs": 1, "seeds": 1},
    "dense": {
        "datasets": ["table-birds"],
        "backbones": ["test_vit"],
        "taps": ["blocks.0"],
        "resolution": 8,
        "hold_out": 0.0,
    },
}
"""What each is run with, small."""


def with_device() -> list[str]:
    """The entries whose command takes a device."""
    return [
        name
        for name in ENTRIES
        if any(one.key == "device" for form in forms_of(name) for one in form_of(form).fields())
    ]


def test_all_of_them_are_here() -> None:
    assert sorted(GIVEN) == sorted(with_device())


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images of two classes in each of two splits, with masks."""
    return write_table(tmp_path_factory.mktemp("registry") / "birds", 48)


@pytest.fixture(scope="module")
def stored(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("registry") / "store.zarr"
    made = ExtractOptions(
        dataset=f"table:{table}",
        backbones=BACKBONES,
        store=str(where),
        weights=("random",),
        views=("maps", "head"),
        maps=None,
        taps=("blocks.0", "stages.1.blocks.0"),
        batch_size=4,
        unit=8,
        image_size=32,
    )
    for split in ("train", "test"):
        extract(ExtractOptions(**{**vars(made), "split": split}), Cluster(address="none", threads=1))
    return where


@contextlib.contextmanager
def place(device: str, *, backward: bool) -> Iterator[None]:
    with plugged(autograd=backward) if device == "cuda" else contextlib.nullcontext():
        yield


@pytest.mark.parametrize("name", GIVEN)
def test_it_gives_what_the_cpu_gives(table: Path, stored: Path, tmp_path: Path, name: str) -> None:
    function = name.replace("-", "_")
    call = getattr(analyze if ENTRIES[name].group == "analyze" else transfer, function)
    given = dict(GIVEN[name])
    if name in SOURCE:
        given["dataset" if given.get("weights") else "source"] = f"table:{table}"
    found, counted = list[Result](), list[Counters]()
    for device in ("cpu", "cuda"):
        store = shutil.copytree(stored, tmp_path / f"{device}.zarr")
        with place(device, backward=name in BACKWARD):
            before = COUNTERS.copy()
            found.append(call(str(store), device=device, **given))
            counted.append(COUNTERS.copy() - before)
    cpu, card = (one.launches + one.torch_launches for one in counted)
    assert (cpu, card > 0) == (0, True)
    for expected, result in zip(found[0].parts, found[1].parts, strict=True):
        check_same(expected, result)


def check_same(expected: Result, result: Result) -> None:
    rows, others = expected.table, result.table
    assert len(rows) == len(others) > 0
    for one, other in zip(rows, others, strict=True):
        assert (one.metric, one.layer, one.n) == (other.metric, other.layer, other.n)
        np.testing.assert_allclose(
            [np.nan if other.value is None else other.value],
            [np.nan if one.value is None else one.value],
            rtol=2e-3,
            atol=2e-3,
            err_msg=f"{one.backbone} {one.layer} {one.metric}",
        )
