"""cifar10, cifar100, and the unpickler that runs nothing."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets import locate, open_dataset
from cvbench.storage.datasets.formats import safe_pickle
from cvbench.storage.datasets.formats.safe_pickle import load_plain
from tests.storage.datasets.cifar_tree import (
    COARSE,
    FINE,
    NAMES,
    PER_FILE,
    fine_labels,
    images,
    labels,
    python2_pickle,
    write_batch,
    write_batch100,
    write_cifar,
    write_cifar100,
)
from tests.storage.datasets.dataset_suite import DatasetTests

FOLDER = "cifar-10-batches-py"
FOLDER_100 = "cifar-100-python"


class TestCifar(DatasetTests):
    spec = "cifar10"
    splits = ("train", "test")

    def make(self, root: Path) -> None:
        write_cifar(root / FOLDER)

    def change(self, root: Path, what: str) -> None:
        data, classes = images("test_batch"), labels("test_batch")
        if what == "label":
            classes[2] = (classes[2] + 1) % 10
        else:
            data[3, 17] ^= 1  # one bit of one pixel; the file's size stays
        write_batch(root / FOLDER / "test_batch", data, classes)


class TestCifar100(DatasetTests):
    spec = "cifar100"
    splits = ("train", "test")

    def make(self, root: Path) -> None:
        write_cifar100(root / FOLDER_100)

    def change(self, root: Path, what: str) -> None:
        data, classes = images("test"), fine_labels("test")
        if what == "label":
            classes[2] = (classes[2] + 1) % 100
        else:
            data[3, 17] ^= 1
        write_batch100(root / FOLDER_100 / "test", data, classes)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write_cifar(tmp_path / FOLDER)
    return tmp_path


def test_test_split_is_the_test_batch(tree: Path) -> None:
    dataset = open_dataset("cifar10", data_root=tree)
    assert dataset.ids[2] == "test/00002"
    assert dataset.labels.tolist() == labels("test_batch")
    assert list(dataset.classes) == NAMES


def test_train_split_is_the_five_batches_in_order(tree: Path) -> None:
    dataset = open_dataset("cifar10", data_root=tree, split="train")
    assert len(dataset) == 5 * PER_FILE
    assert dataset.ids[-1] == f"train/{5 * PER_FILE - 1:05d}"
    assert dataset.labels.tolist() == [label for i in range(1, 6) for label in labels(f"data_batch_{i}")]


def test_planes_become_rgb_pixels(tree: Path) -> None:
    image = open_dataset("cifar10", data_root=tree).read(4)
    assert isinstance(image, np.ndarray)
    assert image.shape == (32, 32, 3)
    row = images("test_batch")[4]
    for y, x in ((0, 0), (0, 31), (7, 13), (31, 30)):
        assert image[y, x].tolist() == [row[c * 1024 + y * 32 + x] for c in range(3)]


@pytest.mark.parametrize("place", ["", FOLDER, "cifar10", f"cifar10/{FOLDER}"])
def test_found_under_the_data_root_as(tmp_path: Path, place: str) -> None:
    write_cifar(tmp_path / place)
    assert len(open_dataset("cifar10", data_root=tmp_path)) == PER_FILE


def test_a_missing_tree_names_the_files_and_the_source(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError) as caught:
        open_dataset("cifar10", data_root=tmp_path)
    assert "data_batch_1" in str(caught.value)
    assert "an empty folder" in str(caught.value)
    assert "cs.toronto.edu" in str(caught.value)


def test_a_missing_batch_is_named(tree: Path) -> None:
    (tree / FOLDER / "data_batch_3").unlink()
    with pytest.raises(DataUnavailableError, match="lacks data_batch_3"):
        open_dataset("cifar10", data_root=tree, split="train")
    assert len(open_dataset("cifar10", data_root=tree, split="test")) == PER_FILE


def test_the_classes_of_cifar100_are_the_fine_ones_and_the_coarse_ones_a_factor(tmp_path: Path) -> None:
    write_cifar100(tmp_path / FOLDER_100)
    dataset = open_dataset("cifar100", data_root=tmp_path, split="train")
    assert list(dataset.classes) == FINE
    assert dataset.labels.tolist() == fine_labels("train")
    assert dataset.factors["coarse"].tolist() == [COARSE[label // 5] for label in fine_labels("train")]


@pytest.mark.parametrize("place", ["", FOLDER_100, "cifar100", f"cifar100/{FOLDER_100}"])
def test_cifar100_is_found_under_the_data_root_as(tmp_path: Path, place: str) -> None:
    write_cifar100(tmp_path / place)
    assert len(open_dataset("cifar100", data_root=tmp_path)) == PER_FILE
    assert locate("cifar10", data_root=tmp_path) is None


def test_a_file_called_train_in_the_data_root_is_not_cifar100(tmp_path: Path) -> None:
    (tmp_path / "train").write_text("a list of something")
    assert locate("cifar100", data_root=tmp_path) is None
    with pytest.raises(DataUnavailableError, match="not under the data root"):
        open_dataset("cifar100", data_root=tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_agrees_with_torchvision(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(tmp_path / FOLDER)
    write_cifar100(tmp_path / FOLDER_100)
    loader = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}[name]
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)  # md5s of the real files
    for split in ("train", "test"):
        theirs = loader(str(tmp_path), train=split == "train")
        ours = open_dataset(name, data_root=tmp_path, split=split)
        assert list(ours.classes) == theirs.classes
        assert ours.labels.tolist() == theirs.targets
        assert all(np.array_equal(ours.read(i), theirs.data[i]) for i in range(len(theirs)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"labels": [1]}, "no 'data'"),
        ({"data": images("x"), "labels": [1] * 5}, "6 images but 5 labels"),
        ({"data": images("x"), "labels": [10] * 6}, "numbers from 0 to 9"),
        ({"data": images("x"), "labels": ["1"] * 6}, "numbers from 0 to 9"),
        ({"data": images("x")[:, :3000], "labels": [1] * 6}, "not an array"),
        ({"data": [1, 2], "labels": [1, 2]}, "not an array"),
        ({"data": images("x")[:0], "labels": []}, "0 images"),
        ([1, 2], "no 'data'"),
    ],
)
def test_a_batch_of_another_form_is_refused(tree: Path, content: Any, message: str) -> None:
    (tree / FOLDER / "test_batch").write_bytes(python2_pickle(content))
    with pytest.raises(IntegrityError, match=message) as caught:
        open_dataset("cifar10", data_root=tree)
    assert "test_batch" in str(caught.value)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("order", ["C", "F"])
def test_pickles_of_python_3_are_read_too(tmp_path: Path, protocol: int, order: Any) -> None:
    data = np.array(images("x"), order=order)
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps({"data": data, "labels": [1, 2], "name": b"caf\xe9"}, protocol=protocol))
    content = load_plain(path)
    assert isinstance(content, dict)
    assert np.array_equal(content["data"], data)
    assert content["labels"] == [1, 2]
    assert content["name"] == b"caf\xe9"


class Attack:
    """Runs `function(*args)` when unpickled."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("how", ["system", "eval", "exec", "open", "getattr", "nested"])
def test_a_malicious_pickle_runs_nothing(tree: Path, protocol: int, how: str) -> None:
    marker = tree / "marker"
    code = f"open({str(marker)!r}, 'w').close()"
    attacks: dict[str, Any] = {
        "system": Attack(os.system, f"touch {marker}"),
        "eval": Attack(eval, code),
        "exec": Attack(exec, code),
        "open": Attack(open, str(marker), "w"),
        "getattr": Attack(getattr, "", "join"),
        "nested": {"data": [1, {"deep": Attack(os.system, f"touch {marker}")}], "labels": [1]},
    }
    payload = pickle.dumps(attacks[how], protocol=protocol)
    (tree / FOLDER / "test_batch").write_bytes(payload)
    with pytest.raises(IntegrityError, match="nothing in it was run") as caught:
        open_dataset("cifar10", data_root=tree)
    assert not marker.exists()
    assert "it asks for" in str(caught.value)


def test_the_attack_would_work_without_the_guard(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    pickle.loads(pickle.dumps(Attack(os.system, f"touch {marker}")))  # noqa: S301
    assert marker.exists()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"not a pickle",
        b"<!DOCTYPE html><html>",
        python2_pickle({"data": images("x")})[:-500],
        b"\x80\x02cnumpy\nndarray\n(K\x01K\x02tR.",  # the stand-in takes no arguments
        b"\x80\x02cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R.",  # an array of objects
        b"\x80\x02cnumpy\ndtype.__class__\n.",
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n}U\x01ad.",
        b"\x80\x02U\x01aQ.",  # a persistent id
        b"\x80\x02\x82\x01.",  # the extension registry
        b"\x80\x02ccopyreg\n_reconstructor\n.",
        b"\x80\x02cbuiltins\neval\n.",
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00zip\x86R.",
    ],
)
def test_anything_but_plain_data_is_refused(tmp_path: Path, payload: bytes) -> None:
    path = tmp_path / "batch"
    path.write_bytes(payload)
    with pytest.raises(IntegrityError, match="damaged, or is not plain data"):
        load_plain(path)


def test_an_array_whose_bytes_do_not_fill_its_shape_is_refused(tmp_path: Path) -> None:
    good = python2_pickle(np.zeros(7, np.uint8))
    path = tmp_path / "batch"
    path.write_bytes(good)
    assert np.array_equal(np.asarray(load_plain(path)), np.zeros(7))
    path.write_bytes(good.replace(b"J\x07\0\0\0\x85", b"J\xff\xff\xff\x7f\x85"))
    with pytest.raises(IntegrityError, match="an array of shape"):
        load_plain(path)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_pickle, "MAX_BYTES", 100)
    path = tmp_path / "batch"
    path.write_bytes(bytes(101))
    with pytest.raises(IntegrityError, match="more than any file"):
        load_plain(path)


def test_a_file_that_cannot_be_read_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError):
        load_plain(tmp_path / "absent")
