"""Where a table's images and masks may lie, and what a table that is not trusted cannot reach."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cvbench.errors import DataUnavailableError, IntegrityError, UsageError
from cvbench.storage.datasets import key_of_spec, open_dataset, with_columns
from cvbench.storage.datasets.base import Masked
from cvbench.storage.objects.bucket import Bucket
from tests.storage.datasets.dataset_suite import jpeg
from tests.storage.datasets.table_files import ROWS, images, write


def test_masks_are_paths_and_missing_ones_are_counted(tmp_path: Path) -> None:
    rows = [{"path": "0.jpg", "m": "m/0.png"}, {"path": "1.jpg", "m": "m/1.png"}, {"path": "2.jpg", "m": ""}]
    images(tmp_path, rows)
    (tmp_path / "m").mkdir()
    (tmp_path / "m/0.png").write_bytes(jpeg(0))
    dataset = open_dataset(f"table:{write(tmp_path / 't', 'csv', rows)}@mask=m")
    assert dataset.factors["mask"].tolist() == ["m/0.png", "m/1.png", ""]
    assert [(entry.count, entry.names) for entry in dataset.left_out if entry.kind == "mask"] == [(1, ("m/1.png",))]


def test_masks_are_read_where_rows_name_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images(tmp_path)
    (tmp_path / "a.png").write_bytes(b"a mask")
    named = [{**row, "mask": ["a.png", "", "gone.png"][i % 3]} for i, row in enumerate(ROWS)]
    found = open_dataset(f"table:{write(tmp_path / 'birds.csv', 'csv', named)}", split="train")
    assert isinstance(found, Masked)
    assert found.has_masks
    first = {str(found.factors["mask"][i]): i for i in range(len(found))}
    assert found.mask(first["a.png"]) == b"a mask"
    assert found.mask(first[""]) is None
    with pytest.raises(DataUnavailableError, match="cannot read a mask"):
        found.mask(first["gone.png"])
    monkeypatch.setattr("cvbench.storage.datasets.formats.table_dataset.MOST_MASK", 5)
    with pytest.raises(IntegrityError, match="a mask has 6 bytes, more than 5"):
        found.mask(first["a.png"])
    plain = open_dataset(f"table:{write(tmp_path / 'plain.csv', 'csv')}", split="train")
    assert isinstance(plain, Masked)
    assert (plain.has_masks, plain.mask(0)) == (False, None)
    assert isinstance(open_dataset("scenes:96", split="test"), Masked)
    assert not isinstance(open_dataset("digits"), Masked)


def test_a_root_for_the_paths(tmp_path: Path) -> None:
    images(tmp_path / "pictures")
    (tmp_path / "lists").mkdir()
    table = write(tmp_path / "lists" / "t", "csv")
    dataset = open_dataset(f"table:{table}@root=../pictures")
    assert dataset.read(0) == jpeg(4)
    assert dataset.ids[0] == "images/4.jpg"
    assert key_of_spec(f"table:{table}@root=../pictures") == "table-t"
    with pytest.raises(DataUnavailableError, match="2 of 2 listed images are not there") as caught:
        open_dataset(f"table:{table}")
    assert "--columns root=FOLDER" in str(caught.value.fix)


def test_absolute_paths(tmp_path: Path) -> None:
    images(tmp_path / "far")
    rows = [{**row, "path": f"{tmp_path}/far/{row['path']}"} for row in ROWS]
    (tmp_path / "here").mkdir()
    table = write(tmp_path / "here" / "t", "csv", rows)
    for within in ("", *(f"@within={of}" for of in (f"{tmp_path}/far", "/", f"s3://bucket;{tmp_path}"))):
        dataset = open_dataset(f"table:{table}{within}")
        assert dataset.read(1) == jpeg(5)
        assert dataset.ids[1] == f"{tmp_path}/far/images/5.jpg"
        assert open_dataset(dataset.spec).digest == dataset.digest
    with pytest.raises(UsageError, match="which is not below its folder") as caught:
        open_dataset(f"table:{table}@within=.")
    assert caught.value.where == f"{table}:7"
    said = str(caught.value.fix)
    allowed = said.partition("--columns ")[2].partition(", ")[0]
    assert open_dataset(with_columns(f"table:{table}", allowed)).read(1) == jpeg(5)
    assert open_dataset(f"table:{table}").digest == dataset.digest


HOSTILE: dict[str, Callable[[Path, Path], str]] = {
    "absolute": lambda here, secret: str(secret),
    "absolute, to the folder and out of it again": lambda here, secret: f"{here}/../secret/0.jpg",
    "a folder whose name begins alike": lambda here, secret: f"{here}-not/0.jpg",
    "a link": lambda here, secret: linked(here / "0.jpg", secret),
    "a link to a folder": lambda here, secret: linked(here / "more", secret.parent) + "/0.jpg",
    "a link to a link": lambda here, secret: linked(here / "1.jpg", here / linked(here / "0.jpg", secret)),
    "a file of the system": lambda here, secret: "/etc/passwd",
    "a bucket": lambda here, secret: "s3://somebody-elses/0.jpg",
}


def linked(path: Path, to: Path) -> str:
    path.symlink_to(to)
    return path.name


@pytest.mark.parametrize("column", ["path", "mask"])
@pytest.mark.parametrize("case", HOSTILE)
def test_a_table_that_is_not_trusted_does_not_choose_what_is_read(
    tmp_path: Path, case: str, column: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, secret = tmp_path / "here", tmp_path / "secret" / "0.jpg"
    for path in (here / "fine.jpg", here / "good.jpg", secret, tmp_path / "here-not" / "0.jpg"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(jpeg(0))

    def requested(*asked: object) -> None:
        raise AssertionError("a request was made")

    monkeypatch.setattr(Bucket, "sizes", requested)
    monkeypatch.setattr(Bucket, "read", requested)
    name = HOSTILE[case](here, secret)
    row = {"path": "fine.jpg", "mask": "fine.jpg", "split": "all", column: name}
    table = write(here / "t", "csv", [row])
    with pytest.raises(UsageError, match="not below its folder") as caught:
        open_dataset(f"table:{table}@mask=mask,within=.")
    assert "within=" in str(caught.value.fix)
    write(here / "t", "csv", [{"path": "good.jpg", "mask": "fine.jpg", "split": "test"}, {**row, "split": "train"}])
    assert len(open_dataset(f"table:{table}@mask=mask,within=.")) == 1, "rows of other splits are read by nobody"


def test_links_within_the_folder_are_its_own(tmp_path: Path) -> None:
    """So is a table that is reached through one."""
    images(tmp_path / "here", [{"path": "real/0.jpg"}])
    linked(tmp_path / "here" / "0.jpg", tmp_path / "here/real/0.jpg")
    linked(tmp_path / "there", tmp_path / "here")
    write(tmp_path / "here" / "t", "csv", [{"path": "0.jpg"}])
    for within in ("", "@within=."):
        assert open_dataset(f"table:{tmp_path}/there/t.csv{within}").read(0) == jpeg(0)


@pytest.mark.parametrize("within", ["pictures", "../far", "http://x.org", "file:///etc"])
def test_places_that_nobody_can_allow(tmp_path: Path, within: str) -> None:
    images(tmp_path)
    with pytest.raises(UsageError):
        open_dataset(f"table:{write(tmp_path / 'birds', 'csv')}@within={within}")


def test_paths_below_the_table_are_relative_however_they_are_written(tmp_path: Path) -> None:
    images(tmp_path)
    rows = [{**row, "path": f"{tmp_path}/{row['path']}"} for row in ROWS]
    written = open_dataset(f"table:{write(tmp_path / 'birds', 'csv', rows)}")
    assert written.ids == ("images/4.jpg", "images/5.jpg")
