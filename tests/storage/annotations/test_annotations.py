"""Annotations of ImageNet's images: ImageNet-X, ReaL, the labels of PUG."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
from hypothesis import given, settings
from hypothesis import strategies as st

from cvbench.errors import DataUnavailableError, IntegrityError, UnknownNameError, UsageError
from cvbench.storage.annotations import (
    IMAGENET_X_FACTORS,
    METACLASSES,
    PugClasses,
    image_stem,
    load_imagenet_x,
    load_metaclasses,
    load_pug_classes,
    load_real,
)
from tests.storage.datasets.imagenet_trees import PUG_INDICES, val_name

TOP = "imagenet_x_val_top_factor.jsonl"
FILE_ORDER = (
    "multiple_objects",
    "background",
    "color",
    "brighter",
    "darker",
    "style",
    "larger",
    "smaller",
    "object_blocking",
    "person_blocking",
    "partial_view",
    "pattern",
    "pose",
    "shape",
    "subcategory",
    "texture",
)
# image number -> class index, factors
ANNOTATED: dict[int, tuple[int, set[str]]] = {
    11: (65, {"pose"}),
    4: (970, {"multiple_objects"}),
    7: (334, set()),
    900: (0, {"background", "texture"}),
    901: (999, {"pose"}),
}


def line(number: int, **changes: object) -> str:
    """A line as the file has it: flags in its own order, free text that may be null."""
    label, factors = ANNOTATED[number]
    row: dict[str, object] = {"file_name": val_name(number), "class": label}
    row |= {name: int(name in factors) for name in FILE_ORDER}
    free = {"justification": 'é,\u2028from "above"\n', "one_word": None}
    return json.dumps(row | free | changes, ensure_ascii=False)


def write_x(folder: Path, name: str = TOP, prototypes: tuple[int, ...] = (901,)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(line(number) for number in ANNOTATED) + "\n")
    rows = "".join(f"{val_name(number)}\n" for number in prototypes)
    (folder / "prototypical_paths.csv").write_text(f"file_name\n{rows}")


# ImageNet-X


def test_factors_are_in_the_order_of_the_reference_not_of_the_file(tmp_path: Path) -> None:
    write_x(tmp_path)
    found = load_imagenet_x(tmp_path)
    assert len(IMAGENET_X_FACTORS) == len(set(IMAGENET_X_FACTORS)) == 16
    assert set(IMAGENET_X_FACTORS) == set(FILE_ORDER)
    assert IMAGENET_X_FACTORS[0] == "pose"
    assert IMAGENET_X_FACTORS[-1] == "multiple_objects"
    assert found.names == tuple(val_name(number) for number in (11, 4, 7, 900))
    assert found.stems == tuple(image_stem(name) for name in found.names)
    assert found.labels.tolist() == [65, 970, 334, 0]
    assert found.factors.shape == (4, 16)
    assert found.factors.dtype == np.bool_
    named = [{IMAGENET_X_FACTORS[k] for k in np.flatnonzero(row)} for row in found.factors]
    assert named == [ANNOTATED[number][1] for number in (11, 4, 7, 900)]


def test_prototypes_are_left_out_unless_they_are_asked_for(tmp_path: Path) -> None:
    write_x(tmp_path, prototypes=(901, 4, 12_345))
    found = load_imagenet_x(tmp_path)
    assert (len(found), found.prototypes) == (3, 2)
    every = load_imagenet_x(tmp_path, keep_prototypes=True)
    assert (len(every), every.prototypes) == (5, 0)


@pytest.mark.parametrize("which", ["top", "multi"])
@pytest.mark.parametrize("partition", ["val", "train"])
def test_the_file_is_chosen_by_partition_and_kind(tmp_path: Path, which: str, partition: str) -> None:
    write_x(tmp_path, f"imagenet_x_{partition}_{which}_factor.jsonl")
    found = load_imagenet_x(tmp_path, which=which, partition=partition)  # type: ignore[arg-type]
    assert (found.which, found.partition) == (which, partition)
    assert len(found) == (4 if partition == "val" else 5)


@pytest.mark.parametrize("place", ["", "imagenet_x/annotations", "annotations", "imagenet-x"])
def test_the_annotations_are_found_below(tmp_path: Path, place: str) -> None:
    write_x(tmp_path / place)
    assert len(load_imagenet_x(tmp_path)) == len(load_imagenet_x(tmp_path / place / TOP)) == 4


def test_missing_annotations_say_what_was_expected_and_where_to_get_them(tmp_path: Path) -> None:
    (tmp_path / "holidays").mkdir()
    with pytest.raises(DataUnavailableError, match="annotations of ImageNet-X are not there") as caught:
        load_imagenet_x(tmp_path)
    for part in (TOP, "imagenet_x/annotations", "found holidays/", "facebookresearch/imagenetx"):
        assert part in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_missing_list_of_prototypes_is_named(tmp_path: Path) -> None:
    write_x(tmp_path)
    (tmp_path / "prototypical_paths.csv").unlink()
    with pytest.raises(DataUnavailableError, match="ImageNet-X") as caught:
        load_imagenet_x(tmp_path)
    assert "prototypical_paths.csv" in str(caught.value)
    assert len(load_imagenet_x(tmp_path, keep_prototypes=True)) == 5


@pytest.mark.parametrize("option", [{"which": "best"}, {"partition": "test"}])
def test_an_unknown_option_names_the_known_ones(tmp_path: Path, option: dict[str, str]) -> None:
    with pytest.raises(UnknownNameError) as caught:
        load_imagenet_x(tmp_path, **option)  # type: ignore[arg-type]
    assert " or " in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot read an annotation"),
        ("[]", "cannot read an annotation"),
        ('{"file_name": "a.JPEG", "class": 1}', "cannot read an annotation"),
        (line(11, pose=2), "neither 0 nor 1"),
        (line(11, pose=None), "neither 0 nor 1"),
        (line(11, **{"class": 1000}), "class below 1000"),
        (line(11, file_name=3), "without a file name"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    write_x(tmp_path)
    (tmp_path / TOP).write_text(f"{line(4)}\n{text}\n")
    with pytest.raises(IntegrityError, match=message) as caught:
        load_imagenet_x(tmp_path)
    assert f"{TOP}:2" in str(caught.value)


def test_an_image_with_two_annotations_is_refused(tmp_path: Path) -> None:
    write_x(tmp_path)
    (tmp_path / TOP).write_text(f"{line(4)}\n{line(4)}\n")
    with pytest.raises(IntegrityError, match="'ILSVRC2012_val_00000004' is listed twice"):
        load_imagenet_x(tmp_path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    write_x(tmp_path)
    (tmp_path / TOP).write_text("\n")
    with pytest.raises(IntegrityError, match="no annotation in the file"):
        load_imagenet_x(tmp_path)


def test_a_list_of_prototypes_without_its_column_is_refused(tmp_path: Path) -> None:
    write_x(tmp_path)
    (tmp_path / "prototypical_paths.csv").write_text("path\na.JPEG\n")
    with pytest.raises(IntegrityError, match="no column file_name"):
        load_imagenet_x(tmp_path)


def test_metaclasses_outside_the_17_become_other(tmp_path: Path) -> None:
    path = tmp_path / "imagenet_1k_classes_to_100_metaclasses.csv"
    names = ["fish", "bird", "dog"] + ["device"] * 997
    path.write_text("wnid,name,metaclass\n" + "".join(f"n1,{name},{k}\n" for k, name in enumerate(names)))
    assert load_metaclasses(tmp_path) == ("other", "bird", "dog", *["device"] * 997)
    assert len(METACLASSES) == len(set(METACLASSES)) == 17
    path.write_text("wnid,name,metaclass\nn1,bird,1\n")
    with pytest.raises(IntegrityError, match="expected 1000 rows with a name, found 1"):
        load_metaclasses(path)


# ReaL


@pytest.fixture(scope="module")
def real_file() -> Path:
    """The labels themselves, as timm ships them."""
    return Path(timm.__file__).parent / "data" / "_info" / "imagenet_real_labels.json"


def test_real_labels_are_found_by_the_number_in_the_name(real_file: Path) -> None:
    labels = load_real(real_file)
    content = json.loads(real_file.read_text())
    assert len(labels) == 50_000
    assert sum(map(bool, labels.values())) == 46_837
    for number in (1, 2, 293, 50_000):
        assert labels[image_stem(f"n01440764/{val_name(number)}")] == tuple(content[number - 1])


@pytest.mark.parametrize("name", ["real.json", "imagenet_x/annotations/imagenet_real_labels.jsonl"])
def test_real_is_found_below(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(json.dumps([[k % 1000] for k in range(49_999)] + [[]]))
    labels = load_real(tmp_path)
    assert labels["ILSVRC2012_val_00001001"] == (0,)
    assert labels["ILSVRC2012_val_00050000"] == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "cannot be read"),
        ("[[1], [2]]", "expected 50,000 lists, found 2 entries"),
        ("{}", "found dict"),
        (json.dumps([[1]] * 49_999 + [1]), "image 50000 has no list of classes"),
        (json.dumps([[1000]] + [[1]] * 49_999), "image 1 has no list of classes"),
    ],
)
def test_damaged_real_labels_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "real.json").write_text(content)
    with pytest.raises(IntegrityError, match=message):
        load_real(tmp_path)


def test_missing_real_labels_say_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError, match="ImageNet ReaL") as caught:
        load_real(tmp_path)
    assert "real.json" in str(caught.value)
    assert "reassessed-imagenet" in str(caught.value)


# PUG: ImageNet


@pytest.mark.parametrize("place", ["", "PUG/PUG_ImageNet", "PUG_IMAGENET"])
def test_labels_of_pug_are_found_below(tmp_path: Path, place: str) -> None:
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / place / "class_to_imagenet_idx.json").write_text(json.dumps(PUG_INDICES))
    found = load_pug_classes(tmp_path)
    assert found.labels == ("Bycicle", "Goldfish", "Shirt", "Sweatshirt", "Wolf")
    assert found.indices == ((444, 671), (1,), (841,), (841,), (269, 270, 271, 272))


def test_both_ways_to_count_differ_on_the_shared_class_only(tmp_path: Path) -> None:
    path = tmp_path / "class_to_imagenet_idx.json"
    path.write_text(json.dumps(PUG_INDICES))
    found = load_pug_classes(path)
    own, reference = found.hits("set"), found.hits("reference")
    assert own.shape == reference.shape == (5, 1000)
    assert np.argwhere(own != reference).tolist() == [[2, 841]]
    assert own[2, 841]
    assert own[3, 841]
    assert reference[3, 841]
    # The reference: index -> rank of its label, the last written stays; right if that is the folder's rank.
    inverse = np.full(1000, 999)
    for rank, columns in enumerate(found.indices):
        inverse[list(columns)] = rank
    assert np.array_equal(reference, inverse[None, :] == np.arange(5)[:, None])


@settings(deadline=None)
@given(st.lists(st.sets(st.integers(0, 6), min_size=1), min_size=1, max_size=8))
def test_the_reference_is_the_inverse_map_whose_last_writer_stays(columns: list[set[int]]) -> None:
    found = PugClasses(tuple(f"{k:03d}" for k in range(len(columns))), tuple(tuple(sorted(own)) for own in columns))
    inverse = {column: rank for rank, own in enumerate(columns) for column in own}
    for rank, own in enumerate(columns):
        right = {column for column, owner in inverse.items() if owner == rank}
        assert set(np.flatnonzero(found.hits("reference")[rank])) == right
        assert set(np.flatnonzero(found.hits("set")[rank])) == own


def test_rows_follow_the_classes_of_the_data_set(tmp_path: Path) -> None:
    path = tmp_path / "class_to_imagenet_idx.json"
    path.write_text(json.dumps(PUG_INDICES))
    found = load_pug_classes(path)
    assert np.array_equal(found.hits(classes=["Wolf", "Goldfish"]), found.hits()[[4, 1]])
    with pytest.raises(UnknownNameError, match="'Bicycle'") as caught:
        found.hits(classes=["Bicycle"])
    assert caught.value.did_you_mean == ("Bycicle",)
    with pytest.raises(UsageError, match="label mode 'strict'"):
        found.hits("strict")  # type: ignore[arg-type]


def test_missing_labels_of_pug_say_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError, match="PUG: ImageNet") as caught:
        load_pug_classes(tmp_path)
    assert "class_to_imagenet_idx.json" in str(caught.value)
    assert "facebookresearch/PUG" in str(caught.value)


DEEP, WIDE = "[" * 100_000, '"' + "x" * 200_000 + '"'


@pytest.mark.parametrize(
    ("name", "content", "load"),
    [
        ("real.json", DEEP, load_real),
        ("class_to_imagenet_idx.json", DEEP, load_pug_classes),
        (TOP, DEEP, lambda place: load_imagenet_x(place, keep_prototypes=True)),
        ("prototypical_paths.csv", f"file_name\n{WIDE}\n", load_imagenet_x),
        ("imagenet_1k_classes_to_100_metaclasses.csv", f"name\n{WIDE}\n", load_metaclasses),
    ],
)
def test_nesting_and_cells_without_an_end_are_refused(
    tmp_path: Path, name: str, content: str, load: Callable[[Path], object]
) -> None:
    (tmp_path / TOP).write_text(line(11))
    (tmp_path / name).write_text(content)
    with pytest.raises(IntegrityError, match="read") as caught:
        load(tmp_path)
    assert name in str(caught.value.where)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "real.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(IntegrityError, match="cannot be read"):
        load_real(path)
