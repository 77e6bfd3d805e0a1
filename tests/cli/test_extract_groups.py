"""`cvbench extract --dataset @group`: every member, in the group's order, with its factors in the store."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from cvbench.errors import UnknownNameError
from cvbench.storage.datasets import open_dataset
from cvbench.storage.datasets.groups import GROUPS
from tests.commands import run
from tests.storage.datasets.imagenet_trees import write_a, write_r, write_sketch, write_v2

SMALL = ("--backbone", "test_vit", "--weights", "random", "--image-size", "64", "--batch-size", "8", "--unit", "8")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("groups")
    write_v2(folder / "imagenetv2" / "imagenetv2-matched-frequency-format-val")
    write_a(folder / "imagenet-a")
    write_r(folder / "imagenet-r")
    write_sketch(folder / "imagenet-sketch" / "sketch")
    return folder


def test_a_group_extracts_all_its_members(root: Path) -> None:
    store = root / "store.zarr"
    result = run(
        *("extract", "--dataset", "@robustness", "--data-root", str(root), "--store", str(store)),
        *("--address", "none", "--view", "head", *SMALL),
    )
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stdout.splitlines() if "samples computed" in line]
    assert [line.partition("/")[0] for line in lines] == list(GROUPS["@robustness"])
    samples = zarr.open_group(store, mode="r")["imagenet-r/test/samples"]
    assert isinstance(samples, zarr.Group)
    table = {name: np.asarray(samples[name][:]) for name in ("id", "label", "rendition")}  # type: ignore[index]
    dataset = open_dataset("imagenet-r", data_root=root)
    order = [list(dataset.ids).index(name) for name in table["id"]]
    assert table["label"].tolist() == dataset.labels[order].tolist()
    assert table["rendition"].tolist() == dataset.factors["rendition"][order].tolist()


def test_a_plan_of_a_group_has_a_part_for_each_member_once(root: Path) -> None:
    result = run(
        *("plan", "--dataset", "imagenet-r", "--dataset", "@robustness", "--data-root", str(root)),
        *("--store", str(root / "none.zarr"), *SMALL),
    )
    assert result.exit_code == 0, result.output
    found = [line.partition("/")[0] for line in result.stdout.splitlines() if line.endswith(" samples")]
    assert found == ["imagenet-r", "imagenetv2-matched-frequency", "imagenet-a", "imagenet-sketch"]


def test_an_unknown_group_names_its_neighbour(root: Path) -> None:
    result = run("extract", "--dataset", "@robust", "--data-root", str(root), "--address", "none", *SMALL)
    assert isinstance(result.exception, UnknownNameError)
    assert result.exception.did_you_mean[0] == "@robustness"
    assert not (root / "cvbench.zarr").exists()


def test_groups_are_listed_with_the_data_sets() -> None:
    content = json.loads(run("datasets", "ls", "--format", "json").stdout)
    assert content["groups"] == {name: list(members) for name, members in GROUPS.items()}
