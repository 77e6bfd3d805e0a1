"""pug-imagenet: ten subsets, the table of factors, the labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cvbench.engine.pictures.decode import decode
from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.jobs.catalogue.datasets import verify
from cvbench.storage.datasets import dataset_info, locate, open_dataset
from cvbench.storage.datasets.readers.pug import NUMBERS, TEXTS
from cvbench.storage.datasets.readers.pug_classes import PUG_GROUPS, PUG_SUBSETS
from tests.storage.datasets.dataset_suite import DatasetTests, jpeg
from tests.storage.datasets.imagenet_trees import (
    PUG_COLUMNS,
    PUG_INDICES,
    picture,
    pug_row,
    put,
    write_pug,
    write_pug_table,
)

TABLE = "labels_pug_imagenet.csv"
LABELS = ("Bycicle", "Goldfish", "Shirt", "Sweatshirt", "Wolf")


class TestPug(DatasetTests):
    spec = "pug-imagenet"
    splits = ("all", "worlds", "camera-roll", "scene-light")

    def make(self, root: Path) -> None:
        write_pug(root / "PUG_IMAGENET")

    def change(self, root: Path, what: str) -> None:
        folder = root / "PUG_IMAGENET"
        if what == "label":
            (folder / "Worlds/Shirt/Shirt_0.png").rename(folder / "Worlds/Wolf/Shirt_0.png")
            table = folder / TABLE
            table.write_text(table.read_text().replace("Worlds/Shirt/Shirt_0", "Worlds/Wolf/Shirt_0"))
        else:
            (folder / "Worlds/Shirt/Shirt_0.png").write_bytes(jpeg(1, size=(40, 40)))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write_pug(tmp_path)
    return tmp_path


def test_labels_are_sorted_as_the_authors_sort_them(tree: Path) -> None:
    dataset = open_dataset("pug-imagenet", data_root=tree)
    assert dataset.classes == LABELS
    assert [dataset.classes[label] for label in dataset.labels] == [sample.split("/")[1] for sample in dataset.ids]
    assert len(dataset) == 3 * 5 * 2


def test_factors_are_those_of_the_table(tree: Path) -> None:
    dataset = open_dataset("pug-imagenet", data_root=tree)
    assert set(dataset.factors) == {"subset", *TEXTS, *NUMBERS}
    for i, sample in enumerate(dataset.ids):
        subset, label, file = sample.split("/")
        row = pug_row(subset, label, int(file[-5]))
        assert dataset.factors["subset"][i] == subset
        for name in TEXTS:
            assert dataset.factors[name][i] == row[name]
        for name in NUMBERS:
            expected = float("nan") if row[name] == "Default" else float(row[name])
            assert np.array_equal(dataset.factors[name][i], expected, equal_nan=True)
    rolls = dataset.factors["camera_roll"]
    assert sorted(rolls[dataset.factors["subset"] == "Camera_Roll"]) == [0.0] * 5 + [45.0] * 5
    assert np.isnan(rolls[dataset.factors["subset"] != "Camera_Roll"]).all()


def test_a_split_is_a_subset(tree: Path) -> None:
    whole = open_dataset("pug-imagenet", data_root=tree)
    part = open_dataset("pug-imagenet", data_root=tree, split="camera-roll")
    rows = np.flatnonzero(whole.factors["subset"] == "Camera_Roll")
    assert list(part.ids) == [whole.ids[int(row)] for row in rows]
    assert part.labels.tolist() == whole.labels[rows].tolist()
    assert set(part.factors["subset"]) == {"Camera_Roll"}


def test_renders_with_alpha_become_rgb(tree: Path) -> None:
    dataset = open_dataset("pug-imagenet", data_root=tree)
    assert {decode(dataset.read(i)).shape for i in range(4)} == {(16, 24, 3)}


@pytest.mark.parametrize("place", ["PUG_ImageNet", "PUG_IMAGENET", "pug-imagenet", "PUG/PUG_IMAGENET", ""])
def test_found_under_the_data_root_as(tmp_path: Path, place: str) -> None:
    write_pug(tmp_path / place)
    assert locate("pug-imagenet", data_root=tmp_path) == tmp_path / place


def test_without_the_json_the_classes_are_the_folders_of_every_subset(tree: Path) -> None:
    (tree / "class_to_imagenet_idx.json").unlink()
    for k in range(2):
        (tree / f"Worlds/Goldfish/Goldfish_{k}.png").unlink()
    (tree / "Worlds" / "Goldfish").rmdir()
    worlds = open_dataset("pug-imagenet", data_root=tree, split="worlds")
    assert worlds.classes == LABELS
    assert set(worlds.labels.tolist()) == {0, 2, 3, 4}


def test_order_and_types_of_the_columns_do_not_matter(tree: Path) -> None:
    before = open_dataset("pug-imagenet", data_root=tree).digest
    rows = [
        pug_row(s, label, k) for s in ("Scene_Light", "Worlds", "Camera_Roll") for label in PUG_INDICES for k in (1, 0)
    ]
    rows = [
        {**row, "camera_pitch": "0.0", "camera_yaw": "", "filename": f"./{row['filename']}", "note": "x"}
        for row in rows
    ]
    write_pug_table(tree / TABLE, rows, columns=["note", *sorted(PUG_COLUMNS)])
    assert open_dataset("pug-imagenet", data_root=tree).digest == before


def test_counts_are_objects_times_renders() -> None:
    counts = dataset_info("pug-imagenet").counts
    assert counts["all"] == 88_328 == sum(count for split, count in counts.items() if split != "all")
    assert (counts["worlds"], counts["object-texture"], counts["scene-light"]) == (46_336, 6_516, 5_068)
    assert counts["camera-yaw"] == counts["object-scale"] == 4_344


def test_six_factors_hold_the_ten_subsets() -> None:
    assert sorted(name for names in PUG_GROUPS.values() for name in names) == sorted(PUG_SUBSETS)
    assert len(PUG_GROUPS) == 6


def test_verify_reports_other_counts(tree: Path) -> None:
    report = verify("pug-imagenet", tree)
    assert [(p.kind, p.message) for p in report.problems] == [
        ("count", "30 images, 88,328 were published"),
        ("classes", "5 classes, 151 were published"),
    ]


def test_a_subset_that_is_not_there_is_named(tree: Path) -> None:
    with pytest.raises(DataUnavailableError, match="pug-imagenet/object-scale is not there") as caught:
        open_dataset("pug-imagenet", data_root=tree, split="object-scale")
    assert "Camera_Roll/" in str(caught.value)


def test_a_missing_table_is_named(tree: Path) -> None:
    (tree / TABLE).unlink()
    with pytest.raises(DataUnavailableError, match=f"lacks {TABLE}") as caught:
        open_dataset("pug-imagenet", data_root=tree)
    assert "facebookresearch/PUG" in str(caught.value)


def test_a_missing_tree_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError, match="not under the data root") as caught:
        open_dataset("pug-imagenet", data_root=tmp_path)
    assert TABLE in str(caught.value)


def test_a_label_that_is_not_in_the_json_is_refused(tree: Path) -> None:
    put(tree / "Worlds" / "Bicycle" / "a.png", picture(0, form="PNG"))
    with pytest.raises(IntegrityError, match="no class of pug-imagenet: Bicycle"):
        open_dataset("pug-imagenet", data_root=tree)


def test_an_image_without_a_row_is_refused(tree: Path) -> None:
    put(tree / "Worlds" / "Wolf" / "extra.png", picture(0, form="PNG"))
    with pytest.raises(IntegrityError, match=f"1 images are not in {TABLE}") as caught:
        open_dataset("pug-imagenet", data_root=tree)
    assert "Worlds/Wolf/extra.png" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [*rows, rows[0]], "has two rows"),
        (lambda rows: [{**rows[0], "camera_yaw": "left"}, *rows[1:]], "cannot read the camera_yaw 'left'"),
    ],
)
def test_a_damaged_table_is_refused(tree: Path, change: object, message: str) -> None:
    rows = [
        pug_row(s, label, k) for s in ("Worlds", "Camera_Roll", "Scene_Light") for label in PUG_INDICES for k in (0, 1)
    ]
    write_pug_table(tree / TABLE, change(rows))  # type: ignore[operator]
    with pytest.raises(IntegrityError, match=message) as caught:
        open_dataset("pug-imagenet", data_root=tree)
    assert f"{TABLE}:" in str(caught.value)


def test_a_table_without_a_column_is_refused(tree: Path) -> None:
    write_pug_table(tree / TABLE, [], columns=[name for name in PUG_COLUMNS if name != "scene_light"])
    with pytest.raises(IntegrityError, match="has no column scene_light"):
        open_dataset("pug-imagenet", data_root=tree)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "expected a map"),
        (json.dumps({"Wolf": []}), "'Wolf' has no ImageNet indices"),
        (json.dumps({"Wolf": [1000]}), "'Wolf' has no ImageNet indices"),
        (json.dumps({"Wolf": "269"}), "'Wolf' has no ImageNet indices"),
        (json.dumps({"Wolf": [True]}), "'Wolf' has no ImageNet indices"),
    ],
)
def test_a_damaged_json_is_refused(tree: Path, content: str, message: str) -> None:
    (tree / "class_to_imagenet_idx.json").write_text(content)
    with pytest.raises(IntegrityError, match=message):
        open_dataset("pug-imagenet", data_root=tree)
