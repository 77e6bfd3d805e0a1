"""svhn: the three .mat files, against torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
from numpy.typing import NDArray
from scipy.io import savemat

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.jobs.catalogue.datasets import verify
from cvbench.storage.datasets import dataset_info, every_split, locate, open_dataset
from tests.storage.datasets.dataset_suite import DatasetTests

SIZES = {"train": 23, "test": 12, "extra": 31}


def content(split: str) -> dict[str, NDArray[Any]]:
    """X and y as the published files have them; 10 is the digit 0."""
    rng, n = np.random.default_rng(len(split)), SIZES[split]
    return {
        "X": rng.integers(0, 256, (32, 32, 3, n), dtype=np.uint8),
        "y": (np.arange(n, dtype=np.uint8) % 10 + 1)[:, None],
    }


def write(folder: Path, *splits: str, **other: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for split in splits or SIZES:
        savemat(folder / f"{split}_32x32.mat", {**content(split), **other}, do_compression=True)


class TestSvhn(DatasetTests):
    spec = "svhn"
    splits = ("train", "test", "extra")

    def make(self, root: Path) -> None:
        write(root / "svhn")

    def change(self, root: Path, what: str) -> None:
        other = content("test")
        if what == "label":
            other["y"][2] = 10
        else:
            other["X"][5, 6, 1, 3] ^= 1
        write(root / "svhn", "test", **other)


@pytest.mark.parametrize("split", SIZES)
def test_agrees_with_torchvision(tmp_path: Path, split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    monkeypatch.setattr("torchvision.datasets.svhn.check_integrity", lambda *_: True)  # md5s of the real files
    theirs = torchvision.datasets.SVHN(str(tmp_path), split=split)
    ours = open_dataset("svhn", data_root=tmp_path, split=split)
    assert ours.labels.tolist() == theirs.labels.tolist()
    assert len(ours) == SIZES[split]
    for i in range(len(ours)):
        assert np.array_equal(ours.read(i), np.moveaxis(theirs.data[i], 0, 2))


def test_ten_is_the_digit_0_and_ids_count_from_0(tmp_path: Path) -> None:
    write(tmp_path)
    ours = open_dataset("svhn", data_root=tmp_path)
    assert ours.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2]
    assert (ours.ids[0], ours.ids[11]) == ("test/000000", "test/000011")
    assert ours.classes[0] == "0"
    image = ours.read(4)
    assert isinstance(image, np.ndarray)
    assert image[9, 20].tolist() == content("test")["X"][9, 20, :, 4].tolist()


def test_verify_counts_what_is_there(tmp_path: Path) -> None:
    write(tmp_path, "train", "test")
    report = verify("svhn", tmp_path, deep=True)
    assert [problem.message for problem in report.problems] == [
        "23 images, 73,257 were published",
        "12 images, 26,032 were published",
    ]
    assert report.splits[1].bytes == 12 * 3 * 32 * 32
    assert every_split("svhn", data_root=tmp_path) == ("train", "test")
    write(tmp_path, "extra")
    assert every_split("svhn", data_root=tmp_path) == ("train", "test", "extra")
    assert dataset_info("svhn").counts == {"train": 73_257, "test": 26_032, "extra": 531_131}


def test_a_split_whose_file_is_missing_is_named(tmp_path: Path) -> None:
    assert locate("svhn", data_root=tmp_path) is None
    write(tmp_path / "SVHN", "train")
    assert locate("svhn", data_root=tmp_path) == tmp_path / "SVHN"
    with pytest.raises(DataUnavailableError, match=r"svhn lacks test_32x32\.mat") as caught:
        open_dataset("svhn", data_root=tmp_path)
    assert "ufldl.stanford.edu" in str(caught.value)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"y": np.full((12, 1), 11)}, r"y\[0\] is 11, not a whole number from 1 to 10"),
        ({"y": np.r_[np.ones(11), 0.0][:, None]}, r"y\[11\] is 0"),
        ({"y": np.r_[np.ones(11), 2.5][:, None]}, r"y\[11\] is 2.5"),
        ({"y": np.r_[np.ones(11), np.nan][:, None]}, r"y\[11\] is nan"),
        ({"y": np.ones((11, 1))}, "12 images but 11 labels"),
        ({"X": np.zeros((32, 32, 12), np.uint8)}, "X is no array 32 x 32 x 3 x N of uint8"),
        ({"X": np.zeros((32, 32, 3, 12))}, "X is no array"),
        ({"X": np.zeros((3, 32, 32, 12), np.uint8)}, "X is no array"),
        ({"y": "digits"}, "y is no array"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, other: dict[str, Any], message: str) -> None:
    write(tmp_path, "test", **other)
    with pytest.raises(IntegrityError, match=message) as caught:
        open_dataset("svhn", data_root=tmp_path)
    assert "test_32x32.mat" in str(caught.value)
