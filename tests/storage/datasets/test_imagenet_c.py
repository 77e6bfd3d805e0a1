"""ImageNet-C: corruptions and severities of the validation images."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cvbench.errors import DataUnavailableError, UnknownNameError
from cvbench.storage.datasets import dataset_info, open_dataset, spec_of_key
from cvbench.storage.datasets.readers.imagenet_c import ARCHIVES, CORRUPTIONS, EXTRA
from tests.storage.datasets.dataset_suite import DatasetTests, jpeg
from tests.storage.datasets.imagenet_trees import put, val_name, wnid_of


def write(root: Path, corruption: str) -> None:
    for severity in range(1, 6):
        for number, label in {293: 0, 17: 1, 50_000: 999}.items():
            put(root / corruption / str(severity) / wnid_of(label) / val_name(number), jpeg(severity * 1000 + number))


class TestFog(DatasetTests):
    spec = "imagenet-c:fog"
    splits = ("test",)

    def make(self, root: Path) -> None:
        write(root / "imagenet-c", "fog")

    def change(self, root: Path, what: str) -> None:
        path = root / "imagenet-c/fog/3" / wnid_of(0) / val_name(293)
        if what == "label":
            path.rename(root / "imagenet-c/fog/3" / wnid_of(1) / path.name)
        else:
            path.write_bytes(jpeg(5, size=(60, 60)))


def test_there_are_fifteen() -> None:
    assert len(CORRUPTIONS) == 15
    assert sum(map(len, ARCHIVES.values())) == 15
    assert not set(EXTRA) & set(CORRUPTIONS)
    assert dataset_info("imagenet-c").counts == {"test": 3_750_000}
    assert dataset_info("imagenet-c:fog").counts == {"test": 250_000}
    assert spec_of_key("imagenet-c-fog") == "imagenet-c:fog"


@pytest.mark.parametrize("grouped", [False, True])
def test_all_fifteen_together(tmp_path: Path, grouped: bool) -> None:
    for archive, names in ARCHIVES.items():
        for name in names:
            write(tmp_path / "imagenet-c" / (archive if grouped else ""), name)
    write(tmp_path / "imagenet-c", "saturate")
    dataset = open_dataset("imagenet-c", data_root=tmp_path)
    assert len(dataset) == 15 * 5 * 3
    assert set(dataset.factors["corruption"].tolist()) == set(CORRUPTIONS)
    assert dataset.factors["severity"].tolist()[:6] == [1, 1, 1, 2, 2, 2]
    assert dataset.labels.tolist()[:3] == [0, 1, 999]
    for index in (0, 100, 224):
        parts = dataset.ids[index].split("/")[-4:]
        assert parts[0] == dataset.factors["corruption"][index]
        assert int(parts[1]) == dataset.factors["severity"][index]
        assert dataset.read(index) == jpeg(int(parts[1]) * 1000 + int(parts[3][15:23]))
    assert len(open_dataset("imagenet-c:saturate", data_root=tmp_path)) == 15


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    write(tmp_path / "imagenet-c", "fog")
    with pytest.raises(DataUnavailableError, match="imagenet-c lacks gaussian_noise/") as caught:
        open_dataset("imagenet-c", data_root=tmp_path)
    assert "noise.tar" in str(caught.value)
    shutil.rmtree(tmp_path / "imagenet-c/fog/4")
    with pytest.raises(DataUnavailableError, match="lacks fog/4/"):
        open_dataset("imagenet-c:fog", data_root=tmp_path)
    with pytest.raises(UnknownNameError, match="unknown form") as unknown:
        open_dataset("imagenet-c:frog", data_root=tmp_path)
    assert "imagenet-c:fog" in str(unknown.value)
    with pytest.raises(DataUnavailableError, match="not under the data root"):
        open_dataset("imagenet-c", data_root=tmp_path / "imagenet-c" / "fog" / "1")
