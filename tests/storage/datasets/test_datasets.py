"""The registry of data sets, the manifest digest, and where data sets are looked for."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cvbench.errors import IntegrityError, UnknownNameError, UsageError
from cvbench.storage.datasets import READERS, dataset_info, dataset_names, every_split, locate, open_dataset
from cvbench.storage.datasets.base import DatasetInfo, check_unique, manifest_digest
from cvbench.storage.datasets.formats.pixels import PixelDataset
from cvbench.storage.datasets.roots import data_root
from cvbench.storage.objects.folders import listing
from tests.storage.datasets.cifar_tree import write_cifar


class TwoPixels:
    """A reader that no registry names: two images of one pixel, whose values the argument says."""

    info = DatasetInfo("two", "Two", ("all",), "all", {}, 2, "none", "nowhere", "", "VALUE")

    def locate(self, argument: str, root: Path | None) -> Path | None:
        return None

    def every_split(self, argument: str, root: Path | None) -> tuple[str, ...]:
        return ("all",)

    def open(self, argument: str, root: Path | None, split: str | None) -> PixelDataset:
        pixels, labels = np.full((2, 1, 1), int(argument), np.uint8), np.arange(2)
        return PixelDataset("two", "all", f"two:{argument}", ("a", "b"), ("0", "1"), labels, pixels, self, argument)


def test_pixels_are_opened_again_by_their_own_reader() -> None:
    dataset = TwoPixels().open("7", None, None)
    sent = pickle.dumps(replace(dataset, pixels=np.zeros((2, 999, 999), np.uint8)))
    assert len(sent) < 1_000
    assert pickle.loads(sent).digest == dataset.digest  # noqa: S301 - our own bytes


def test_names_are_sorted_and_lead_to_their_info() -> None:
    assert dataset_names() == sorted(READERS)
    assert {"cifar10", "cub200", "digits", "folder", "imagenet-val", "pug-imagenet"} <= set(READERS)
    assert all(dataset_info(name).name == name for name in dataset_names())


@pytest.mark.parametrize("name", dataset_names())
def test_info_does_not_contradict_itself(name: str) -> None:
    info = dataset_info(name)
    assert not info.splits or info.default_split in info.splits
    assert set(info.counts) == set(info.splits)
    assert info.homepage
    assert info.tree
    assert READERS[name].info is info


def test_published_counts() -> None:
    assert dataset_info("cub200").counts == {"train": 5_994, "test": 5_794, "all": 5_994 + 5_794}
    assert dataset_info("cifar10").counts == {"train": 50_000, "test": 10_000}


@pytest.mark.parametrize(("typed", "meant"), [("cub20", "cub200"), ("cifar-10", "cifar10"), ("digit", "digits")])
def test_an_unknown_data_set_names_its_neighbour(typed: str, meant: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        open_dataset(typed)
    assert caught.value.did_you_mean[0] == meant
    assert caught.value.exit_code == 2


def test_a_data_set_of_one_form_takes_no_argument() -> None:
    with pytest.raises(UsageError, match="takes no argument"):
        open_dataset("digits:8x8")


def test_an_unknown_split_of_digits() -> None:
    with pytest.raises(UnknownNameError, match="split of digits 'training'"):
        open_dataset("digits", split="training")


def test_every_split_together_is_the_whole(tmp_path: Path) -> None:
    assert every_split("cub200") == ("all",)
    assert every_split("cifar10") == ("train", "test")
    for split in ("train", "val"):
        (tmp_path / split / "owl").mkdir(parents=True)
    assert set(every_split(f"folder:{tmp_path}")) == {"train", "val"}


def test_locate_finds_without_opening(tmp_path: Path) -> None:
    assert locate("cifar10", data_root=tmp_path) is None
    assert locate("folder", data_root=tmp_path) is None
    assert locate(f"folder:{tmp_path}") == tmp_path
    write_cifar(tmp_path / "cifar10")
    assert locate("cifar10", data_root=tmp_path) == tmp_path / "cifar10"
    found = locate("digits")
    assert found is not None
    assert (found / "digits.csv.gz").is_file()


def test_data_root_is_given_or_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CVBENCH_DATA", raising=False)
    assert data_root(None) is None
    monkeypatch.setenv("CVBENCH_DATA", "")
    assert data_root(None) is None
    monkeypatch.setenv("CVBENCH_DATA", "/somewhere")
    assert data_root(None) == Path("/somewhere")
    assert data_root("/given") == Path("/given")
    monkeypatch.chdir(tmp_path)
    assert data_root("here/../data") == tmp_path / "data"


def test_listing_is_short(tmp_path: Path) -> None:
    for k in range(12):
        (tmp_path / f"f{k:02d}").touch()
    assert listing(tmp_path, limit=2) == "f00, f01 and 10 more"
    assert listing(tmp_path / "absent") == "no such folder"
    assert listing(tmp_path / "f00") == "not a folder"


MANIFEST = {
    "name": "toy",
    "split": "all",
    "classes": ("a", "b"),
    "ids": ("a/1", "b/é"),
    "arrays": {"label": np.array([0, 1]), "pose": np.array([0.5, -1.0]), "kind": np.array(["x", "yy"])},
}


def digest(**changes: object) -> str:
    return manifest_digest(**{**MANIFEST, **changes})  # type: ignore[arg-type]


def test_manifest_digest_is_frozen() -> None:
    """Stores carry this number: should it change, every store of an earlier version would be refused."""
    assert digest() == "1a3b53f379080133b824027a16978054ecd63ea7b397c7dcc7ac7fa544323e8d"


@pytest.mark.parametrize(
    "change",
    [
        {"name": "toys"},
        {"split": "test"},
        {"classes": ("a", "c")},
        {"ids": ("a/1", "b/e")},
        {"ids": ("b/é", "a/1")},
        {"arrays": {**MANIFEST["arrays"], "label": np.array([1, 0])}},  # type: ignore[dict-item]
        {"arrays": {**MANIFEST["arrays"], "kind": np.array(["xy", "y"])}},  # type: ignore[dict-item]
        {"arrays": {"label": np.array([0, 1])}},
    ],
    ids=["name", "split", "class", "id", "order", "label", "text", "factor"],
)
def test_manifest_digest_changes_with(change: dict[str, object]) -> None:
    assert digest(**change) != digest()


def test_manifest_digest_is_the_same_on_every_machine() -> None:
    arrays = {"label": np.array([0, 1], dtype=">i8"), "pose": np.array([0.5, -1.0], dtype=">f8")}
    arrays["kind"] = np.array(["x", "yy"], dtype=">U2")
    assert digest(arrays=arrays) == digest()
    strided = {**arrays, "label": np.array([0, 9, 1, 9])[::2]}
    assert digest(arrays=strided) == digest()


def test_a_sample_listed_twice_is_named() -> None:
    check_unique(["a", "b"], "here")
    with pytest.raises(IntegrityError, match="'b' is listed twice"):
        check_unique(["a", "b", "b"], "here")


def test_importing_the_registry_imports_nothing_heavy() -> None:
    code = "import sys, cvbench.storage.datasets; print(*{'torch', 'sklearn', 'ray', 'zarr', 'PIL'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
