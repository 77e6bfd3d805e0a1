"""What fine-tuning trains, validates and tests on: counts, unreadable samples, and the share that validates."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvbench.engine.finetune.recipes import recipe
from cvbench.errors import IncompleteError, UsageError
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.transfer.finetune import FinetuneOptions, finetune, finetune_rows, make_task
from cvbench.jobs.transfer.finetune_data import ReadOutcome
from cvbench.jobs.transfer.finetune_report import variant
from cvbench.jobs.transfer.finetune_samples import rows_of
from cvbench.jobs.transfer.finetune_task import FinetuneTask
from cvbench.storage.datasets import open_dataset
from tests.jobs.images import write_folder
from tests.storage.datasets import transfer_trees as trees

HERE = Cluster(address="none", device="cpu", threads=1)


def options(dataset: str, out: Path, root: Path | None = None, **changes: Any) -> FinetuneOptions:
    given: dict[str, Any] = {"weights": "random", "epochs": 1, "image_size": 32, "batch_size": 8, **changes}
    return FinetuneOptions(dataset, "test_convnext", str(out), data_root=None if root is None else str(root), **given)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small trees in the forms of their archives."""
    path = tmp_path_factory.mktemp("data")
    trees.write_eurosat(path / "eurosat" / "2750")
    trees.write_pets(path / "oxford-iiit-pet")
    trees.write_caltech(path / "caltech101", {"Faces": 32, "airplanes": 34, "accordion": 31})
    return path


def test_a_data_set_that_is_not_whole_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(IncompleteError, match="eurosat/train has 60 samples, published are 16,200") as caught:
        make_task(options("eurosat", tmp_path, root), HERE)
    assert "or --partial" in str(caught.value)
    assert str(root / "eurosat" / "2750") in str(caught.value)
    task = make_task(options("eurosat", tmp_path, root, partial=True), HERE)
    assert [note.split()[0] for note in task.notes] == ["eurosat/train", "eurosat/val", "eurosat/test"]
    assert "60, 20 and 20 % of each class by SHA-256" in variant(task)
    assert "eurosat/test has 20 samples, published are 5,400" in variant(task)


@pytest.mark.parametrize("cache", [10**9, 0])
def test_unreadable_samples_are_refused_or_counted(tmp_path: Path, cache: int) -> None:
    write_folder(tmp_path / "own" / "train", 40, 2, broken=(3, 8))
    write_folder(tmp_path / "own" / "test", 20, 2, broken=(5,))
    job: dict[str, Any] = {"cache": cache, "train": ("train",)}
    spec = f"folder:{tmp_path / 'own'}"
    with pytest.raises(IncompleteError, match="2 of 40 samples could not be read") as caught:
        finetune(options(spec, tmp_path / "out", **job), HERE)
    assert f"where: {spec}/train\n" in str(caught.value)
    assert "003.png" in str(caught.value)
    report = finetune(options(spec, tmp_path / "out", **job, partial=True), HERE)
    assert (report.failed, report.trained_on) == ({"train": 2, "test": 1}, 38)
    assert len(report.unreadable) == 3
    assert {(row.n, row.n_failed) for row in finetune_rows(report) if row.metric != "fine-tuned, top-5"} == {(19, 1)}
    with pytest.raises(IncompleteError, match="1 of 20") as caught:  # the same weights, and nothing is accepted
        finetune(options(spec, tmp_path / "out", **job), HERE)
    assert f"where: {spec}/test\nwhy: test/class-1/005.png" in str(caught.value)


def test_one_in_a_hundred_is_tolerated() -> None:
    ReadOutcome(100, ("a: cut",)).check("here")
    with pytest.raises(IncompleteError, match="2 of 100 samples"):
        ReadOutcome(50, ("a: cut",)).joined(ReadOutcome(50, ("b: cut",))).check("here")


def test_what_a_recipe_draws_is_what_is_said(tmp_path: Path) -> None:
    report = finetune(options("digits", tmp_path, recipe="vtab_1k", batch_size=64), HERE)
    assert report.trained_on == 1000
    assert "1,000 examples drawn by the seed (not VTAB's members)" in report.variant


def test_a_share_validates_where_no_split_does(root: Path, tmp_path: Path) -> None:
    report = finetune(options("caltech101", tmp_path, root, validate=True, partial=True), HERE)
    assert report.trained_on == 81
    assert report.curve[0]["val_accuracy"] is not None
    said = "trained on train but for the last 10% by SHA-256 of the id (VTAB's share, not its members), which validate"
    assert said in report.variant
    assert "VTAB has 102" in report.variant
    whole = make_task(options("caltech101", tmp_path / "whole", root, partial=True), HERE)
    assert whole.share == 0
    assert "trained on train, the last weights tested on test" in variant(whole)
    with pytest.raises(UsageError, match="no train and val"):
        make_task(options("pets", tmp_path, root, validate=True, partial=True, train=("trainval", "all")), HERE)


def test_pets_are_trained_on_trainval_and_a_fifth_of_it_validates(root: Path, tmp_path: Path) -> None:
    task = make_task(options("pets", tmp_path, root, validate=True, partial=True), HERE)
    assert (task.train, task.val, task.share) == (("trainval",), None, 0.2)
    pets = open_dataset("pets", data_root=root, split="trainval")
    rows = rows_of(task, [pets])
    last = sorted(pets.ids, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[-1]
    assert [pets.ids[row] for row in rows.held] == [last]
    assert sorted([*rows.train, *rows.held]) == [0, 1, 2, 3]


class Names:
    """A split of which only the names count."""

    def __init__(self, split: str, n: int) -> None:
        self.ids = [f"{split}/{i:05d}" for i in range(n)]

    def __len__(self) -> int:
        return len(self.ids)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(5, 60), min_size=1, max_size=2),
    share=st.sampled_from([0.0, 0.1, 0.2]),
    validate=st.booleans(),
    examples=st.none() | st.tuples(st.integers(1, 40), st.integers(1, 10)),
)
def test_rows_are_each_of_one_role(
    sizes: list[int], share: float, validate: bool, examples: tuple[int, int] | None
) -> None:
    chosen = recipe("modern") if examples is None else recipe("vtab_1k", examples=examples)
    task = object.__new__(FinetuneTask)
    for name, value in {"share": share, "validate": validate, "recipe": chosen, "seed": 0}.items():
        object.__setattr__(task, name, value)
    splits: Any = [Names(f"split {i}", n) for i, n in enumerate(sizes)]
    rows = rows_of(task, splits)
    held = round(share * sizes[0])
    assert len(rows.held) == (held if validate else 0)
    assert not set(rows.held) & set(rows.train)
    assert np.array_equal(rows.train, np.unique(rows.train))
    own, others = sizes[0] - held, sum(sizes[1:])
    if examples is None:
        assert len(rows.train) == sum(sizes) - len(rows.held)
    else:
        others += 0 if validate else held
        first, rest = examples if others else (sum(examples), 0)
        assert len(rows.train) == min(first, own) + min(rest, others)
    assert rows.train.max() < sum(sizes)
