"""smallnorb: NORB's binary matrices, packed and not."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.jobs.catalogue.datasets import verify
from cvbench.storage.datasets import dataset_info, key_of_spec, locate, open_dataset, spec_of_key
from tests.storage.datasets.dataset_suite import DatasetTests

STEMS = {"training": "smallnorb-5x46789x9x18x6x2x96x96-training", "testing": "smallnorb-5x01235x9x18x6x2x96x96-testing"}
PAIRS = {"training": 9, "testing": 11}


def pairs(kind: str) -> NDArray[np.uint8]:
    rng = np.random.default_rng(len(kind))
    return rng.integers(0, 256, (PAIRS[kind], 2, 96, 96), dtype=np.uint8)


def columns(kind: str) -> NDArray[np.int32]:
    """Instance, elevation, azimuth, lighting."""
    i = np.arange(PAIRS[kind])
    return np.stack([i % 10, (2 * i + 1) % 9, 2 * ((5 * i + 3) % 18), i % 6], axis=1).astype(np.int32)


def categories(kind: str) -> NDArray[np.int32]:
    return (np.arange(PAIRS[kind]) % 5).astype(np.int32)


def matrix(values: NDArray[np.generic]) -> bytes:
    """As the authors describe it: 0x1E3D4C55 a byte matrix, 0x1E3D4C54 an integer matrix, three sizes at least."""
    magic = 0x1E3D4C55 if values.dtype == np.uint8 else 0x1E3D4C54
    sizes = [*values.shape, 1, 1, 1][: max(3, values.ndim)]
    return struct.pack("<II", magic, values.ndim) + struct.pack(f"<{len(sizes)}I", *sizes) + values.tobytes()


def put(folder: Path, kind: str, part: str, content: bytes, packed: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{STEMS[kind]}-{part}.mat{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    return path


def write(folder: Path, packed: bool = False) -> None:
    for kind in STEMS:
        put(folder, kind, "dat", matrix(pairs(kind)), packed)
        put(folder, kind, "cat", matrix(categories(kind)), packed)
        put(folder, kind, "info", matrix(columns(kind)), packed)


class TestAzimuth(DatasetTests):
    spec = "smallnorb"
    splits = ("train", "val", "test")
    packed = False

    def make(self, root: Path) -> None:
        write(root / "smallnorb", self.packed)

    def change(self, root: Path, what: str) -> None:
        row = int(open_dataset("smallnorb", data_root=root).ids[0].rpartition("/")[2])
        info, images = columns("testing"), pairs("testing")
        if what == "label":
            info[row, 1:3] = 0, 34
            put(root / "smallnorb", "testing", "info", matrix(info), self.packed)
        else:
            images[row, 0, 5, 7] ^= 1
            put(root / "smallnorb", "testing", "dat", matrix(images), self.packed)


class TestElevation(TestAzimuth):
    spec = "smallnorb:elevation"
    packed = True


@pytest.mark.parametrize("packed", [False, True])
def test_labels_pixels_and_factors_of_the_training_file(tmp_path: Path, packed: bool) -> None:
    write(tmp_path, packed)
    azimuth = open_dataset("smallnorb", data_root=tmp_path, split="train")
    elevation = open_dataset("smallnorb:elevation", data_root=tmp_path, split="train")
    assert azimuth.ids == elevation.ids == tuple(f"training/{i:05d}" for i in range(9))
    assert azimuth.labels.tolist() == (columns("training")[:, 2] // 2).tolist()
    assert elevation.labels.tolist() == columns("training")[:, 1].tolist()
    assert (len(azimuth.classes), azimuth.classes[1], azimuth.classes[-1]) == (18, "20 degrees", "340 degrees")
    assert (len(elevation.classes), elevation.classes[0], elevation.classes[-1]) == (9, "30 degrees", "70 degrees")
    assert azimuth.factors["azimuth"].tolist() == (10 * columns("training")[:, 2]).tolist()
    assert azimuth.factors["elevation"].tolist() == (30 + 5 * columns("training")[:, 1]).tolist()
    assert azimuth.factors["category"][:2].tolist() == ["four-legged animals", "human figures"]
    assert azimuth.factors["instance"].tolist() == columns("training")[:, 0].tolist()
    assert azimuth.factors["lighting"].tolist() == columns("training")[:, 3].tolist()
    for i, pair in enumerate(pairs("training")):
        assert np.array_equal(azimuth.read(i), pair[0])


def test_val_and_test_are_halves_of_the_testing_file_by_sha256(tmp_path: Path) -> None:
    write(tmp_path)
    val, test = (open_dataset("smallnorb", data_root=tmp_path, split=split) for split in ("val", "test"))
    ids = [f"testing/{i:05d}" for i in range(11)]
    order = sorted(ids, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert val.ids == tuple(sorted(order[:5]))
    assert test.ids == tuple(sorted(order[5:]))
    for dataset in (val, test):
        rows = [int(name[-5:]) for name in dataset.ids]
        assert dataset.labels.tolist() == (columns("testing")[rows, 2] // 2).tolist()
        for i, row in enumerate(rows):
            assert np.array_equal(dataset.read(i), pairs("testing")[row, 0])
    assert dataset_info("smallnorb").counts == {"train": 24_300, "val": 12_150, "test": 12_150}
    assert (dataset_info("smallnorb").classes, dataset_info("smallnorb:elevation").classes) == (18, 9)


def test_packed_and_unpacked_files_are_one_data_set(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b", packed=True)
    for split in ("train", "val", "test"):
        one, other = (open_dataset("smallnorb", data_root=tmp_path / name, split=split) for name in "ab")
        assert one.digest == other.digest


def test_forms_have_names_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "norb-v1.0-small")
    assert locate("smallnorb:elevation", data_root=tmp_path) == tmp_path / "norb-v1.0-small"
    assert open_dataset("smallnorb:elevation", data_root=tmp_path).name == "smallnorb-elevation"
    assert open_dataset("smallnorb:azimuth", data_root=tmp_path).spec == "smallnorb"
    assert spec_of_key("smallnorb-elevation") == "smallnorb:elevation"
    assert key_of_spec("smallnorb:elevation") == "smallnorb-elevation"


def test_verify(tmp_path: Path) -> None:
    write(tmp_path)
    report = verify("smallnorb", tmp_path, deep=True)
    assert [split.images for split in report.splits] == [9, 5, 6]
    assert [split.bytes for split in report.splits] == [n * 96 * 96 for n in (9, 5, 6)]
    assert report.problems[0].message == "9 images, 24,300 were published"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / f"{STEMS['testing']}-info.mat").unlink()
    with pytest.raises(DataUnavailableError, match=r"lacks smallnorb-5x01235.*testing-info\.mat"):
        open_dataset("smallnorb", data_root=tmp_path)
    assert len(open_dataset("smallnorb", data_root=tmp_path, split="train")) == 9


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    write(tmp_path)
    dataset = open_dataset("smallnorb", data_root=tmp_path, split="train")
    path = tmp_path / f"{STEMS['training']}-dat.mat"
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(IntegrityError, match="changed after the data set was opened"):
        dataset.read(0)
    path.unlink()
    with pytest.raises(DataUnavailableError, match="cannot read"):
        dataset.read(0)


@pytest.mark.parametrize(
    ("part", "column", "value", "message"),
    [
        ("cat", None, 5, "the category of pair 3 is 5"),
        ("cat", None, -1, "the category of pair 3 is -1"),
        ("info", 0, 10, "the instance of pair 3 is 10"),
        ("info", 1, 9, "the elevation of pair 3 is 9"),
        ("info", 2, 7, "the azimuth of pair 3 is 7"),
        ("info", 2, 36, "the azimuth of pair 3 is 36"),
        ("info", 3, -1, "the lighting of pair 3 is -1"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_numbers_that_mean_nothing_are_refused(
    tmp_path: Path, part: str, column: int | None, value: int, message: str, packed: bool
) -> None:
    write(tmp_path, packed)
    values = categories("training") if column is None else columns("training")
    values[3 if column is None else (3, column)] = value
    path = put(tmp_path, "training", part, matrix(values), packed)
    with pytest.raises(IntegrityError, match=message) as caught:
        open_dataset("smallnorb", data_root=tmp_path, split="train")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("part", "content", "message"),
    [
        ("dat", b"", "magic number"),
        ("dat", b"<!DOCTYPE html>", "magic number"),
        ("dat", matrix(pairs("training"))[:-1], "damaged"),
        ("dat", matrix(pairs("training")) + b"x", "damaged"),
        ("dat", matrix(pairs("training"))[:12], "ends early"),
        ("dat", matrix(pairs("training")[:, 0]), r"expected N x 2 x 96 x 96 of uint8.*found shape \(9, 96, 96\)"),
        ("dat", matrix(pairs("training").astype(np.int32)), "of int32"),
        ("dat", struct.pack("<6I", 0x1E3D4C55, 4, 2**31 - 1, 2, 96, 96), "N up to 24,300"),
        ("dat", struct.pack("<6i", 0x1E3D4C55, 4, -1, 2, 96, 96), "found shape"),
        ("dat", struct.pack("<2I", 0x1E3D4C55, 200), "200 dimensions"),
        ("dat", struct.pack("<2I", 0x1E3D4C53, 4), "0x1e3d4c53"),
        ("cat", matrix(categories("training")[:-1]), "8 rows"),
        ("info", matrix(columns("training")[:, :3]), "expected N x 4"),
        ("info", matrix(columns("training")[:-1]), "8 rows"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_files_that_are_damaged_are_refused(
    tmp_path: Path, part: str, content: bytes, message: str, packed: bool
) -> None:
    write(tmp_path, packed)
    path = put(tmp_path, "training", part, content, packed)
    with pytest.raises(IntegrityError, match=message) as caught:
        open_dataset("smallnorb", data_root=tmp_path, split="train")
    assert path.name in str(caught.value)


@pytest.mark.parametrize(
    "cut", [lambda data: data[:-20], lambda data: data[:-6] + b"\0" + data[-5:], lambda data: b"x"]
)
def test_a_packed_file_that_is_damaged(tmp_path: Path, cut: object) -> None:
    write(tmp_path, packed=True)
    path = tmp_path / f"{STEMS['training']}-dat.mat.gz"
    path.write_bytes(cut(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(IntegrityError, match="damaged") as caught:
        open_dataset("smallnorb", data_root=tmp_path, split="train")
    assert str(path) in str(caught.value)
