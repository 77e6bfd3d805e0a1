"""What every data set must hold to. A reader's test class inherits `DatasetTests` and says how to make its files."""

from __future__ import annotations

import io
import json
import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cvbench.engine.pictures.decode import decode
from cvbench.storage.datasets import Dataset, dataset_info, open_dataset
from cvbench.storage.datasets.formats.files import FileDataset
from cvbench.storage.datasets.left_out import LeftOut


def jpeg(seed: int, size: tuple[int, int] = (24, 16), mode: str = "RGB") -> bytes:
    """A small real JPEG; `size` is (width, height). Each seed gives other bytes."""
    rng = np.random.default_rng(seed)
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8), mode).save(buffer, "JPEG")
    return buffer.getvalue()


class DatasetTests:
    """Inherit, set `spec` and `splits`, and override `make` and `change` where files are involved."""

    spec: str
    splits: tuple[str, ...]
    default_split: str | None = None  # if it depends on the files

    def make(self, root: Path) -> None:
        """Write the data set's files below `root`."""

    def change(self, root: Path, what: str) -> None:
        """Change one label (`what` = "label") or one file's contents ("file") of the default split."""
        pytest.skip("these files cannot change")

    def open(self, root: Path, split: str | None = None) -> Dataset:
        return open_dataset(self.spec, data_root=root, split=split)

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        self.make(tmp_path)
        return tmp_path

    def test_every_attribute_has_one_entry_for_each_sample(self, root: Path) -> None:
        for split in self.splits:
            dataset = self.open(root, split)
            n = len(dataset)
            assert dataset.split == split
            assert n > 0
            assert len(dataset.ids) == n
            assert len(set(dataset.ids)) == n
            assert dataset.labels.shape == (n,)
            assert dataset.labels.dtype == np.int64
            for name, values in dataset.factors.items():
                assert len(values) == n, name
                assert values.dtype.kind in "iufbU", name

    def test_samples_without_a_label_are_said(self, root: Path) -> None:
        for split in self.splits:
            dataset = self.open(root, split)
            said = sum(entry.count for entry in dataset.left_out if entry.kind == "label")
            assert said == (dataset.labels == -1).sum()

    def test_what_is_left_out_is_plain_and_no_part_of_the_digest(self, root: Path) -> None:
        dataset = self.open(root)
        assert json.loads(json.dumps([entry.as_dict() for entry in dataset.left_out])) is not None
        if isinstance(dataset, FileDataset):
            more = (*dataset.left_out, LeftOut("link", 1, ("x",)))
            assert replace(dataset, left_out=more).digest == dataset.digest

    def test_labels_are_indices_into_the_class_names(self, root: Path) -> None:
        dataset = self.open(root)
        assert dataset.labels.min() >= -1
        assert dataset.labels.max() < len(dataset.classes)

    def test_name_can_be_a_key_in_a_store(self, root: Path) -> None:
        assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*", self.open(root).name)

    def test_the_default_split_is_used_when_none_is_given(self, root: Path) -> None:
        assert self.open(root).split == (self.default_split or dataset_info(self.spec).default_split)

    def test_every_sample_can_be_decoded(self, root: Path) -> None:
        dataset = self.open(root)
        for index in range(min(len(dataset), 20)):
            image = decode(dataset.read(index))
            assert image.dtype == np.uint8
            assert image.ndim == 3
            assert image.shape[2] == 3

    def test_reading_twice_gives_the_same(self, root: Path) -> None:
        dataset = self.open(root)
        assert _same(dataset.read(1), dataset.read(1))

    def test_digest_is_the_same_when_opened_again(self, root: Path) -> None:
        first, second = self.open(root), self.open(root)
        assert re.fullmatch("[0-9a-f]{64}", first.digest)
        assert first.digest == second.digest

    def test_splits_have_different_digests(self, root: Path) -> None:
        assert len({self.open(root, split).digest for split in self.splits}) == len(self.splits)

    @pytest.mark.parametrize("what", ["label", "file"])
    def test_digest_changes_with(self, root: Path, what: str) -> None:
        before = self.open(root).digest
        self.change(root, what)
        assert self.open(root).digest != before

    def test_survives_pickling(self, root: Path) -> None:
        dataset = self.open(root)
        copy: Dataset = pickle.loads(pickle.dumps(dataset))  # noqa: S301
        self.assert_equal(copy, dataset)

    def test_opens_again_by_its_own_spec(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        dataset = self.open(root)
        monkeypatch.chdir("/")
        self.assert_equal(open_dataset(dataset.spec, data_root=root, split=dataset.split), dataset)

    def assert_equal(self, a: Dataset, b: Dataset) -> None:
        assert (a.name, a.split, a.spec, a.classes, tuple(a.ids)) == (b.name, b.split, b.spec, b.classes, tuple(b.ids))
        assert np.array_equal(a.labels, b.labels)
        assert a.digest == b.digest
        assert _same(a.read(0), b.read(0))


def _same(a: bytes | NDArray[Any], b: bytes | NDArray[Any]) -> bool:
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b


def said(dataset: Dataset) -> dict[str, LeftOut]:
    """What is left out of a data set, by its kind."""
    return {entry.kind: entry for entry in dataset.left_out}
