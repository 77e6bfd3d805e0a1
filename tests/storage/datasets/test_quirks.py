"""What is odd about the transfer data sets, CoOp's lists of splits, and what damaged lists lead to."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from cvbench.engine.pictures.decode import decode
from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets import open_dataset
from cvbench.storage.datasets.formats.matarray import load_integers
from tests.storage.datasets import transfer_trees as trees
from tests.storage.datasets.dataset_suite import jpeg

# Caltech-101


@pytest.mark.parametrize(
    ("spec", "name", "classes"),
    [
        ("caltech101", "caltech101", ("Faces", "Faces_easy", "accordion", "airplanes")),
        ("caltech101:102", "caltech101-102", ("BACKGROUND_Google", "Faces", "Faces_easy", "accordion", "airplanes")),
        ("caltech101:100", "caltech101-100", ("Faces", "accordion", "airplanes")),
    ],
)
def test_caltech_has_a_set_of_classes_by_form(tmp_path: Path, spec: str, name: str, classes: tuple[str, ...]) -> None:
    trees.write_caltech(tmp_path)
    dataset = open_dataset(spec, data_root=tmp_path, split="all")
    assert (dataset.name, dataset.classes) == (name, classes)
    assert len(dataset) == sum(trees.CALTECH[kept] for kept in classes)
    assert [dataset.classes[label] for label in dataset.labels] == [image.split("/")[0] for image in dataset.ids]


def test_caltech_trains_on_the_30_first_by_hash(tmp_path: Path) -> None:
    trees.write_caltech(tmp_path)
    train = open_dataset("caltech101", data_root=tmp_path, split="train")
    test = open_dataset("caltech101", data_root=tmp_path, split="test")
    assert np.bincount(train.labels).tolist() == [30] * 4
    assert np.bincount(test.labels).tolist() == [2, 1, 1, 4]
    names = [f"airplanes/image_{n:04d}.jpg" for n in range(1, 35)]
    names.sort(key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert sorted(names[:30]) == [name for name in train.ids if name.startswith("airplanes")]
    # frozen: should the rule change, published results would no longer be comparable
    assert [name for name in test.ids if name.startswith("Faces/")] == ["Faces/image_0010.jpg", "Faces/image_0032.jpg"]


def test_caltech_ignores_stray_files(tmp_path: Path) -> None:
    trees.write_caltech(tmp_path)
    before = open_dataset("caltech101", data_root=tmp_path, split="all").digest
    for stray in ("tmp", "airplanes/.DS_Store", "airplanes/Thumbs.db", "airplanes/._image_0001.jpg"):
        trees.put(tmp_path / "101_ObjectCategories" / stray, "stray")
    assert open_dataset("caltech101", data_root=tmp_path, split="all").digest == before


def test_a_grey_image_of_caltech_becomes_rgb(tmp_path: Path) -> None:
    trees.write_caltech(tmp_path)
    dataset = open_dataset("caltech101", data_root=tmp_path, split="all")
    image = decode(dataset.read(dataset.ids.index("accordion/image_0001.jpg")))
    assert np.array_equal(image[..., 0], image[..., 2])


# DTD


def test_a_partition_of_dtd_moves_images_between_splits_only(tmp_path: Path) -> None:
    trees.write_dtd(tmp_path)
    first = open_dataset("dtd", data_root=tmp_path, split="all")
    second = open_dataset("dtd:2", data_root=tmp_path, split="all")
    assert sorted(first.ids) == sorted(second.ids)
    assert (first.name, first.spec, second.name, second.spec) == ("dtd", "dtd", "dtd-2", "dtd:2")
    assert open_dataset("dtd:1", data_root=tmp_path, split="all").digest == first.digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("banded/banded_0005.jpg\n../../etc/passwd\n", "no path below"),
        ("/etc/passwd\n", "no path below"),
        ("banded_0005.jpg\n", "expected <class>/<file>"),
        ("banded/x/banded_0005.jpg\n", "expected <class>/<file>"),
        ("banded/banded_0002.jpg\n", "listed twice"),
    ],
)
def test_a_damaged_list_of_dtd_is_refused(tmp_path: Path, text: str, message: str) -> None:
    trees.write_dtd(tmp_path)
    (tmp_path / "labels" / "test1.txt").write_text(text)
    with pytest.raises(IntegrityError, match=message):
        open_dataset("dtd", data_root=tmp_path)


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    trees.write_dtd(tmp_path)
    (tmp_path / "labels" / "test1.txt").write_bytes(b"\xff\xfe\0")
    with pytest.raises(IntegrityError, match="is no text"):
        open_dataset("dtd", data_root=tmp_path)


def test_a_missing_partition_of_dtd_is_named(tmp_path: Path) -> None:
    trees.write_dtd(tmp_path)
    with pytest.raises(DataUnavailableError, match=r"dtd:3 lacks train3\.txt, val3\.txt, test3\.txt"):
        open_dataset("dtd:3", data_root=tmp_path)


# EuroSAT


def test_eurosat_is_in_natural_order_and_split_60_20_20_by_class(tmp_path: Path) -> None:
    trees.write_eurosat(tmp_path)
    everything = open_dataset("eurosat", data_root=tmp_path, split="all")
    assert list(everything.ids[:10]) == [f"AnnualCrop/AnnualCrop_{n}.jpg" for n in range(1, 11)]
    for split, count in {"train": 6, "val": 2, "test": 2}.items():
        dataset = open_dataset("eurosat", data_root=tmp_path, split=split)
        assert np.bincount(dataset.labels).tolist() == [count] * 10
    chosen = open_dataset("eurosat", data_root=tmp_path, split="val").ids[:2]
    assert list(chosen) == ["AnnualCrop/AnnualCrop_3.jpg", "AnnualCrop/AnnualCrop_10.jpg"]  # frozen


def test_the_multispectral_eurosat_is_refused(tmp_path: Path) -> None:
    trees.write_eurosat(tmp_path)
    for path in list(tmp_path.rglob("*.jpg")):
        path.rename(path.with_suffix(".tif"))
    with pytest.raises(DataUnavailableError, match="multispectral"):
        open_dataset("eurosat", data_root=tmp_path)


def test_a_missing_class_of_eurosat_is_named(tmp_path: Path) -> None:
    trees.write_eurosat(tmp_path)
    (tmp_path / "River").rename(tmp_path / "Rivers")
    with pytest.raises(DataUnavailableError, match="lacks River"):
        open_dataset("eurosat", data_root=tmp_path)


# Flowers-102


@pytest.mark.parametrize("rows", [True, False])
def test_the_test_split_of_flowers_is_tstid_and_labels_start_at_0(tmp_path: Path, rows: bool) -> None:
    trees.write_flowers(tmp_path, rows=rows)
    test = open_dataset("flowers102", data_root=tmp_path)
    assert list(test.ids) == [f"image_{n:05d}.jpg" for n in (2, 3, 5, 6, 7)]
    assert test.labels.tolist() == [0, 101, 4, 0, 76]
    assert (test.classes[0], test.classes[76], len(test.classes)) == ("pink primrose", "passion flower", 102)
    assert list(open_dataset("flowers102", data_root=tmp_path, split="train").ids) == [
        "image_00001.jpg",
        "image_00004.jpg",
    ]
    assert list(open_dataset("flowers102", data_root=tmp_path, split="val").ids) == ["image_00008.jpg"]  # one only


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("imagelabels.mat", {"labels": [[0, 1, 2, 3, 4, 5, 6, 7]]}, "not from 1 to 102"),
        ("imagelabels.mat", {"labels": [[103] * 8]}, "not from 1 to 102"),
        ("imagelabels.mat", {"label": [[1] * 8]}, "no 'labels'"),
        ("imagelabels.mat", {"labels": [[1.5] * 8]}, "no whole numbers"),
        ("imagelabels.mat", {"labels": [[np.nan] * 8]}, "no whole numbers"),
        ("imagelabels.mat", {"labels": "text"}, "no list of numbers"),
        ("imagelabels.mat", {"labels": np.ones((4, 2))}, "no list of numbers"),
        ("imagelabels.mat", {"labels": np.array([[1, "x"]], dtype=object)}, "no list of numbers"),
        ("imagelabels.mat", {"labels": {"a": 1}}, "no list of numbers"),
        ("setid.mat", {"trnid": [[1, 9]], "valid": [[2]], "tstid": [[3]]}, "not from 1 to 8"),
        ("setid.mat", {"trnid": [[0, 1]], "valid": [[2]], "tstid": [[3]]}, "not from 1 to 8"),
        ("setid.mat", {"trnid": [[1, 2]], "valid": [[2]], "tstid": [[3]]}, "in two splits"),
    ],
)
def test_damaged_mat_files_are_refused(tmp_path: Path, file: str, content: dict[str, Any], message: str) -> None:
    trees.write_flowers(tmp_path)
    savemat(tmp_path / file, content)
    with pytest.raises(IntegrityError, match=message) as caught:
        open_dataset("flowers102", data_root=tmp_path)
    assert file in str(caught.value)


@pytest.mark.parametrize("cut", [0, 5, 130, 200])
def test_a_mat_file_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    trees.write_flowers(tmp_path)
    path = tmp_path / "setid.mat"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(IntegrityError):
        open_dataset("flowers102", data_root=tmp_path)


def test_a_huge_variable_is_refused_by_its_header(tmp_path: Path) -> None:
    savemat(tmp_path / "x.mat", {"labels": np.zeros((1, 1_000_001), np.uint8)}, do_compression=True)
    with pytest.raises(IntegrityError, match="no list of numbers"):
        load_integers(tmp_path / "x.mat", "labels")


def test_flowers_without_the_mat_files_say_where_they_are(tmp_path: Path) -> None:
    trees.write_flowers(tmp_path)
    (tmp_path / "setid.mat").unlink()
    with pytest.raises(DataUnavailableError, match=r"lacks setid\.mat") as caught:
        open_dataset("flowers102", data_root=tmp_path)
    assert "robots.ox.ac.uk" in str(caught.value)


# Pets


def test_labels_of_pets_are_the_class_column_not_the_order_of_names(tmp_path: Path) -> None:
    trees.write_pets(tmp_path)
    dataset = open_dataset("pets", data_root=tmp_path, split="all")
    assert dataset.classes == ("Abyssinian", "american_bulldog", "Bengal")
    assert dataset.labels.tolist() == [0, 1, 2, 1, 2, 1, 0]
    assert dataset.ids[0] == "Abyssinian_100.jpg"
    assert decode(dataset.read(6)).shape == (8, 8, 3)  # a PNG with a palette, called .jpg


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Bengal_11 3 1", "cannot read the line"),
        ("Bengal_11 x 1 2", "cannot read the line"),
        ("Bengal_11 0 1 2", "cannot read the line"),
        ("Bengal_11 5 1 2", "without a gap"),
        ("Bengal_11 2 1 2", "class 2 is"),
        ("Bengal 3 1 2", "class 3 is"),
        ("../Bengal_11 3 1 2", "no path below"),
        ("Bengal_3 3 1 2", "listed twice"),
    ],
)
def test_a_damaged_list_of_pets_is_refused(tmp_path: Path, line: str, message: str) -> None:
    trees.write_pets(tmp_path)
    path = tmp_path / "annotations" / "test.txt"
    path.write_text(path.read_text().replace("Bengal_11 3 1 2", line))
    with pytest.raises(IntegrityError, match=message):
        open_dataset("pets", data_root=tmp_path)


# SUN397


@pytest.mark.parametrize("place", ["SUN397", ".", "Partitions", "SUN397/Partitions"])
def test_partitions_of_sun_are_found_where_people_put_them(tmp_path: Path, place: str) -> None:
    trees.write_sun(tmp_path / "SUN397", tmp_path / place)
    one, two = (open_dataset(spec, data_root=tmp_path, split="train") for spec in ("sun397", "sun397:2"))
    assert (one.name, two.name) == ("sun397", "sun397-2")
    assert one.classes == ("abbey", "church/indoor", "church/outdoor", "outdoor")
    assert np.bincount(one.labels).tolist() == [2, 2, 2, 2]
    assert list(one.ids[:2]) == [line.strip("/") for line in trees.sun_images("/a/abbey")[:2]]
    assert set(one.ids) != set(two.ids)


def test_sun_without_partitions_says_where_they_are(tmp_path: Path) -> None:
    trees.write_sun(tmp_path / "SUN397", tmp_path / "elsewhere")
    assert len(open_dataset("sun397", data_root=tmp_path, split="all")) == 16
    with pytest.raises(DataUnavailableError, match=r"lacks Testing_01\.txt") as caught:
        open_dataset("sun397", data_root=tmp_path)
    assert "Partitions.zip" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [("/x/xylophone/sun_a.jpg", "in none of the classes"), ("/../sun_a.jpg", "no path below")],
)
def test_a_damaged_partition_of_sun_is_refused(tmp_path: Path, line: str, message: str) -> None:
    trees.write_sun(tmp_path / "SUN397", tmp_path)
    (tmp_path / "Testing_01.txt").write_text(line)
    with pytest.raises(IntegrityError, match=message):
        open_dataset("sun397", data_root=tmp_path)


# CoOp's lists of splits

COOP = {
    "train": [("Bengal_3.jpg", 1, "bengal"), ("Abyssinian_100.jpg", 0, "abyssinian")],
    "val": [("american_bulldog_2.jpg", 2, "american_bulldog")],
    "test": [("Bengal_11.jpg", 1, "bengal")],
}


def test_coop_splits_have_their_own_labels_and_names(tmp_path: Path) -> None:
    trees.write_pets(tmp_path / "oxford_pets")
    trees.write_coop(tmp_path / "oxford_pets" / "split_zhou_OxfordPets.json", COOP)
    train = open_dataset("pets:coop", data_root=tmp_path, split="train")
    assert (train.name, train.spec) == ("pets-coop", "pets:coop")
    assert (train.ids, train.labels.tolist()) == (("Bengal_3.jpg", "Abyssinian_100.jpg"), [1, 0])
    assert train.classes == ("abyssinian", "bengal", "american_bulldog")
    assert len(open_dataset("pets:coop", data_root=tmp_path, split="all")) == 4
    assert open_dataset("pets:coop", data_root=tmp_path).split == "test"


@pytest.mark.parametrize(
    ("spec", "file", "image", "place"),
    [
        ("caltech101", "Caltech101", "accordion/image_0001.jpg", "101_ObjectCategories"),
        ("dtd", "DescribableTextures", "banded/banded_0002.jpg", "images"),
        ("eurosat", "EuroSAT", "River/River_1.jpg", "eurosat/2750"),
        ("flowers102", "OxfordFlowers", "image_00001.jpg", "jpg"),
        ("sun397", "SUN397", "c/church/indoor/sun_x.jpg", "SUN397"),
    ],
)
def test_coop_splits_of(tmp_path: Path, spec: str, file: str, image: str, place: str) -> None:
    trees.write_caltech(tmp_path, {"accordion": 1}) if spec == "caltech101" else None
    trees.write_eurosat(tmp_path / place) if spec == "eurosat" else None
    trees.put(tmp_path / place / "a" / "abbey" / "sun_y.jpg", jpeg(2))
    trees.put(tmp_path / place / image, jpeg(1))
    json_at = (tmp_path / place).parent / f"split_zhou_{file}.json"
    trees.write_coop(json_at, {"train": [], "val": [], "test": [(image, 0, "thing")]})
    dataset = open_dataset(f"{spec}:coop", data_root=tmp_path)
    assert (dataset.ids, dataset.classes, dataset.read(0)) == ((image,), ("thing",), jpeg(1))


def test_coop_without_its_file_says_so(tmp_path: Path) -> None:
    trees.write_pets(tmp_path)
    with pytest.raises(DataUnavailableError, match=r"pets:coop lacks split_zhou_OxfordPets\.json"):
        open_dataset("pets:coop", data_root=tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "no JSON"),
        ("[1]", "expected train, val and test"),
        (json.dumps({"train": [], "val": []}), "expected train, val and test"),
        (json.dumps({**COOP, "val": [["x.jpg", "0", "a"]]}), "expected .path, label, class name."),
        (json.dumps({**COOP, "val": [["x.jpg", True, "a"]]}), "expected .path, label, class name."),
        (json.dumps({**COOP, "val": [["x.jpg", -1, "a"]]}), "expected .path, label, class name."),
        (json.dumps({**COOP, "val": [["../x.jpg", 0, "abyssinian"]]}), "no path below"),
        (json.dumps({**COOP, "val": [["x.jpg", 0, "other"]]}), "label 0 is 'abyssinian' and 'other'"),
        (json.dumps({**COOP, "val": [["x.jpg", 7, "other"]]}), "without a gap"),
        (json.dumps({**COOP, "val": [["Bengal_3.jpg", 1, "bengal"]], "test": []}), "listed twice"),
    ],
)
def test_a_damaged_list_of_coop_is_refused(tmp_path: Path, content: str, message: str) -> None:
    trees.write_pets(tmp_path)
    (tmp_path / "split_zhou_OxfordPets.json").write_text(content)
    with pytest.raises(IntegrityError, match=message):
        open_dataset("pets:coop", data_root=tmp_path)
