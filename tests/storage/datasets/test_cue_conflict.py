"""cue-conflict: the shape of one object, the texture of another."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.jobs.catalogue.datasets import verify
from cvbench.storage.datasets import dataset_info, locate, open_dataset
from cvbench.storage.datasets.readers.cue_conflict import SHAPE_CATEGORIES, shape_indices
from cvbench.storage.datasets.readers.imagenet_classes import imagenet_wnids
from tests.storage.datasets.dataset_suite import DatasetTests, jpeg
from tests.storage.datasets.imagenet_trees import put, write_cue

FOLDER = "cue-conflict"


class TestCueConflict(DatasetTests):
    spec = "cue-conflict"
    splits = ("test",)

    def make(self, root: Path) -> None:
        write_cue(root / FOLDER, SHAPE_CATEGORIES)

    def change(self, root: Path, what: str) -> None:
        path = root / FOLDER / "bear" / "bear1-bear2.png"
        if what == "label":
            path.rename(root / FOLDER / "boat" / "boat9-bear2.png")
        else:
            path.write_bytes(jpeg(1, size=(40, 40)))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write_cue(tmp_path / FOLDER, SHAPE_CATEGORIES)
    return tmp_path


def test_shape_is_the_label_and_texture_a_factor(tree: Path) -> None:
    dataset = open_dataset("cue-conflict", data_root=tree)
    assert dataset.classes == SHAPE_CATEGORIES == tuple(sorted(SHAPE_CATEGORIES))
    for i, sample in enumerate(dataset.ids):
        shape, name = sample.split("/")
        texture = name.split("-")[1].removesuffix(".png").rstrip("0123456789")
        assert dataset.classes[dataset.labels[i]] == dataset.factors["shape"][i] == shape
        assert dataset.factors["texture"][i] == texture
        assert dataset.classes[dataset.factors["texture_label"][i]] == texture
        assert dataset.factors["conflict"][i] == (shape != texture)
    assert len(dataset) == 48
    assert int(dataset.factors["conflict"].sum()) == 32


@pytest.mark.parametrize(
    "place", ["cue-conflict", "cue-conflict/cue-conflict", "modelvshuman/datasets/cue-conflict", ""]
)
def test_found_under_the_data_root_as(tmp_path: Path, place: str) -> None:
    write_cue(tmp_path / place, SHAPE_CATEGORIES)
    assert locate("cue-conflict", data_root=tmp_path) == tmp_path / place


def test_a_data_root_with_a_folder_of_dogs_is_not_taken_for_it(tmp_path: Path) -> None:
    put(tmp_path / "dog" / "rex.jpg", jpeg(0))
    assert locate("cue-conflict", data_root=tmp_path) is None
    with pytest.raises(DataUnavailableError, match="not under the data root"):
        open_dataset("cue-conflict", data_root=tmp_path)


@pytest.mark.parametrize("name", ["rex.png", "cat1-bear2.png", "dog1-tench2.png", "dog1-cat2.jpg", "dog-cat.png"])
def test_a_name_that_does_not_say_both_is_refused(tree: Path, name: str) -> None:
    put(tree / FOLDER / "dog" / name, jpeg(0))
    with pytest.raises(IntegrityError, match="does not say shape and texture") as caught:
        open_dataset("cue-conflict", data_root=tree)
    assert name in str(caught.value)


def test_a_folder_that_is_no_category_is_refused(tree: Path) -> None:
    (tree / FOLDER / "tench").mkdir()
    with pytest.raises(IntegrityError, match="no class of cue-conflict: tench"):
        open_dataset("cue-conflict", data_root=tree)


def test_verify_compares_with_1280(tree: Path) -> None:
    assert dataset_info("cue-conflict").counts == {"test": 1_280}
    assert [problem.message for problem in verify("cue-conflict", tree).problems] == ["48 images, 1,280 were published"]


def test_indices_of_the_categories() -> None:
    indices = shape_indices()
    assert tuple(indices) == SHAPE_CATEGORIES
    assert {name: len(found) for name, found in indices.items()} == {
        "airplane": 1,
        "bear": 4,
        "bicycle": 2,
        "bird": 49,
        "boat": 5,
        "bottle": 7,
        "car": 3,
        "cat": 6,
        "chair": 4,
        "clock": 3,
        "dog": 109,
        "elephant": 2,
        "keyboard": 2,
        "knife": 1,
        "oven": 1,
        "truck": 8,
    }
    every = [index for found in indices.values() for index in found]
    assert len(every) == len(set(every)) == 207
    assert all(list(found) == sorted(found) for found in indices.values())
    assert indices["bear"] == (294, 295, 296, 297)
    assert 242 not in indices["dog"]
    assert 243 in indices["dog"]
    assert 17 not in indices["bird"]


def test_indices_mean_what_their_names_say() -> None:
    """Against the words of the synsets that timm ships: the classes of a category share a word."""
    lines = (Path(timm.__file__).parent / "data/_info/imagenet_synset_to_lemma.txt").read_text().splitlines()
    lemma = dict(line.split("\t", 1) for line in lines)
    words = [lemma[wnid].lower() for wnid in imagenet_wnids()]
    for category, word in {"bear": "bear", "cat": "cat", "elephant": "elephant", "clock": "clock"}.items():
        assert all(word in words[index] for index in shape_indices()[category]), category
