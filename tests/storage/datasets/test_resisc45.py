"""resisc45: class folders, split 60, 20 and 20 % by class."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets import dataset_info, locate, open_dataset
from tests.storage.datasets.dataset_suite import DatasetTests, jpeg

NAMES = sorted(
    ["airplane", "baseball_diamond", "beach", "cloud", "railway_station", *(f"other_{k}" for k in range(40))]
)


def write(folder: Path, images: int = 5) -> None:
    for k, name in enumerate(NAMES):
        (folder / name).mkdir(parents=True)
        for number in range(1, images + 1):
            (folder / name / f"{name}_{number:03d}.jpg").write_bytes(jpeg(100 * k + number))


class TestResisc45(DatasetTests):
    spec = "resisc45"
    splits = ("train", "val", "test", "all")

    def make(self, root: Path) -> None:
        write(root / "resisc45/NWPU-RESISC45")

    def change(self, root: Path, what: str) -> None:
        first = root / "resisc45/NWPU-RESISC45" / open_dataset("resisc45", data_root=root).ids[0]
        if what == "label":
            first.rename(first.parents[1] / NAMES[-1] / first.name)
        else:
            first.write_bytes(jpeg(1, size=(70, 70)))


def test_splits_are_disjoint_whole_and_by_the_rule(tmp_path: Path) -> None:
    write(tmp_path / "NWPU-RESISC45", 10)
    found = {
        split: open_dataset("resisc45", data_root=tmp_path, split=split) for split in ("train", "val", "test", "all")
    }
    for split, count in {"train": 6, "val": 2, "test": 2, "all": 10}.items():
        assert np.bincount(found[split].labels).tolist() == [count] * 45
    parts = [name for split in ("train", "val", "test") for name in found[split].ids]
    assert sorted(parts) == sorted(found["all"].ids)
    own = [name for name in found["all"].ids if name.startswith("beach/")]
    order = sorted(own, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert {name for name in found["val"].ids if name.startswith("beach/")} == set(order[6:8])
    info = dataset_info("resisc45")
    assert info.counts == {"train": 45 * 420, "val": 45 * 140, "test": 45 * 140, "all": 45 * 700}


def test_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    assert locate("resisc45", data_root=tmp_path) == tmp_path
    (tmp_path / "a46th").mkdir()
    with pytest.raises(IntegrityError, match="46 class folders, 45 were published"):
        open_dataset("resisc45", data_root=tmp_path)
    with pytest.raises(DataUnavailableError):
        open_dataset("resisc45", data_root=tmp_path / "beach")
