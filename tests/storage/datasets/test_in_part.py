"""An input that is read in part says so, by kind, count and name; no label or count in it sizes an allocation."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets import every_split, open_dataset, read_in_part
from cvbench.storage.datasets.left_out import KINDS, LeftOut, Tally, merged, text_of
from tests.storage.datasets.dataset_suite import jpeg, said
from tests.storage.datasets.shard_trees import sample, write_parquet, write_tar
from tests.storage.datasets.test_folder import put


class TestEntries:
    def test_a_tally_counts_all_and_keeps_a_few_names(self) -> None:
        tally = Tally()
        for k in range(1_000):
            tally.file(f"a/{k}.TXT" if k % 4 else f"a/{k}")
        tally.add("link", "x\x1b[2J\udcff")
        extension, link = sorted(tally.result(), key=lambda entry: entry.kind)
        assert (extension.count, extension.names, extension.why) == (
            1_000,
            ("a/0", "a/1.TXT", "a/2.TXT"),
            "txt 750, none 250",
        )
        assert link.text.isprintable()
        link.text.encode()

    def test_tallies_merge_as_if_they_were_one(self) -> None:
        parts = [Tally() for _ in range(3)]
        one = Tally()
        for k in range(10):
            for tally in (parts[k // 4], one):
                tally.add("keys", f"{k}", "x" if k % 2 else "y")
        assert merged(parts) == one.result()

    @pytest.mark.parametrize("kind", KINDS)
    def test_an_entry_comes_back_from_a_store(self, kind: str) -> None:
        entry = LeftOut(kind, 3, ("a", "b"), "why")
        assert text_of(entry.as_dict()) == entry.text

    @pytest.mark.parametrize("record", [{}, {"kind": "?", "count": 1, "names": [], "why": ""}, {"kind": 3}])
    def test_another_form_is_refused(self, record: dict[str, object]) -> None:
        with pytest.raises(IntegrityError, match="unknown form"):
            text_of(record)


class TestFolders:
    @pytest.mark.parametrize("name", ["validation", "Val", "VALID", "dev"])
    def test_a_split_is_known_by_each_of_its_names(self, tmp_path: Path, name: str) -> None:
        for split in ("Train", name, "TESTING"):
            for k, label in enumerate("ab"):
                put(tmp_path / split / label / "i.jpg", k)
        assert every_split(f"folder:{tmp_path}") == ("test", "val", "train")
        for split in ("test", "val", "train"):
            dataset = open_dataset(f"folder:{tmp_path}", split=split)
            assert (dataset.classes, dataset.labels.tolist()) == (("a", "b"), [0, 1])
        assert open_dataset(f"folder:{tmp_path}", split="validation").ids[0] == f"{name}/a/i.jpg"

    def test_other_folders_without_images_do_not_make_classes_of_splits(self, tmp_path: Path) -> None:
        for name in ("train/a/i.jpg", "test/a/i.jpg"):
            put(tmp_path / name)
        (tmp_path / "docs").mkdir()
        dataset = open_dataset(f"folder:{tmp_path}")
        assert (dataset.split, dataset.classes) == ("test", ("a",))
        assert said(dataset)["folder"].names == ("docs",)
        put(tmp_path / "docs" / "figures" / "x.png")
        with pytest.raises(DataUnavailableError, match="looks like a split") as caught:
            open_dataset(f"folder:{tmp_path}")
        assert "docs" in str(caught.value)

    def test_two_folders_of_one_split_are_refused(self, tmp_path: Path) -> None:
        for name in ("train/a/i.jpg", "val/a/i.jpg", "validation/a/i.jpg"):
            put(tmp_path / name)
        with pytest.raises(DataUnavailableError, match="'val' and 'validation' are the same split"):
            open_dataset(f"folder:{tmp_path}")

    def test_a_flat_split_has_no_labels_and_says_so(self, tmp_path: Path) -> None:
        for name in ("train/a/i.jpg", "train/b/i.jpg", "test/1.jpg", "test/2.jpg"):
            put(tmp_path / name)
        assert every_split(f"folder:{tmp_path}") == ("train", "test"), "the default has labels"
        assert open_dataset(f"folder:{tmp_path}").classes == ("a", "b")
        test = open_dataset(f"folder:{tmp_path}", split="test")
        assert (list(test.ids), test.labels.tolist(), test.classes) == (
            ["test/1.jpg", "test/2.jpg"],
            [-1, -1],
            ("a", "b"),
        )
        assert said(test)["label"].count == 2

    def test_flat_splits_alone_are_no_classes(self, tmp_path: Path) -> None:
        for name in ("train/a.jpg", "test/b.jpg"):
            put(tmp_path / name)
        dataset = open_dataset(f"folder:{tmp_path}")
        assert (dataset.split, dataset.classes, dataset.labels.tolist()) == ("test", (), [-1])

    def test_what_is_no_image_is_counted_by_extension(self, tmp_path: Path) -> None:
        for name in ("a/ok.jpg", "a/sign.PPM", "a/face.pgm", "stray.jpg"):
            put(tmp_path / name)
        for name in ("photo.jfif", "new.avif", "old.avif", "nosuffix", ".hidden"):
            (tmp_path / "a" / name).write_bytes(b"x")
        (tmp_path / "labels.csv").write_text("x")
        dataset = open_dataset(f"folder:{tmp_path}")
        assert "a/photo.jfif" in dataset.ids
        assert len(dataset) == 4
        found = said(dataset)
        assert (found["extension"].count, found["extension"].why) == (4, "avif 2, csv 1, none 1")
        assert found["beside"].names == ("stray.jpg",)

    def test_a_linked_folder_below_a_class_is_counted(self, tmp_path: Path) -> None:
        put(tmp_path / "birds" / "a" / "x.jpg")
        put(tmp_path / "elsewhere" / "y.jpg")
        (tmp_path / "birds" / "a" / "more").symlink_to(tmp_path / "elsewhere")
        dataset = open_dataset(f"folder:{tmp_path}/birds")
        assert list(dataset.ids) == ["a/x.jpg"]
        assert said(dataset)["link"].names == ("a/more",)

    def test_an_empty_class_stays_a_class(self, tmp_path: Path) -> None:
        for name in ("a/i.jpg", "c/i.jpg"):
            put(tmp_path / name)
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / ".gitkeep").touch()
        dataset = open_dataset(f"folder:{tmp_path}")
        assert (dataset.classes, dataset.labels.tolist()) == (("a", "b", "c"), [0, 2])
        assert said(dataset)["empty-class"].names == ("b",)

    def test_what_a_mac_adds_is_left_out(self, tmp_path: Path) -> None:
        for name in ("a/i.jpg", "b/i.jpg", "__MACOSX/a/._i.jpg"):
            put(tmp_path / name)
        assert open_dataset(f"folder:{tmp_path}").classes == ("a", "b")

    def test_published_counts(self, tmp_path: Path) -> None:
        put(tmp_path / "n01440764" / "ILSVRC2012_val_00000293.JPEG")
        (tmp_path / "n01440764" / "notes.md").touch()
        dataset = open_dataset("imagenet-val", data_root=tmp_path)
        first, second = read_in_part(dataset)
        assert (first.kind, first.count) == ("fewer", 49_999)
        assert (second.kind, second.names) == ("extension", ("n01440764/notes.md",))
        assert read_in_part(open_dataset("digits")) == ()


class TestTables:
    def write(self, folder: Path, text: str, images: int = 3) -> None:
        for k in range(images):
            put(folder / f"i{k}.jpg", k)
        (folder / "metadata.csv").write_text(text)

    def test_labels_and_factors_of_a_table(self, tmp_path: Path) -> None:
        self.write(
            tmp_path / "train", "file_name,label,age,sex\ni2.jpg,cat,3,m\ni1.jpg,dog,4.5,\ni0.jpg,,,f\n", images=4
        )
        dataset = open_dataset(f"folder:{tmp_path}")
        assert (dataset.split, dataset.classes) == ("train", ("cat", "dog"))
        assert list(dataset.ids) == ["train/i2.jpg", "train/i1.jpg", "train/i0.jpg"]
        assert dataset.labels.tolist() == [0, 1, -1]
        assert np.array_equal(dataset.factors["age"], [3, 4.5, np.nan], equal_nan=True)
        assert dataset.factors["sex"].tolist() == ["m", "", "f"]
        assert said(dataset)["unlisted"].names == ("train/i3.jpg",)
        assert said(dataset)["label"].count == 1

    def test_labels_agree_between_the_tables_of_splits(self, tmp_path: Path) -> None:
        self.write(tmp_path / "train", "file_name,label\ni0.jpg,ant\ni1.jpg,cow\n")
        self.write(tmp_path / "test", "file_name,label\ni0.jpg,cow\ni1.jpg,bee\n")
        assert open_dataset(f"folder:{tmp_path}", split="train").classes == ("ant", "bee", "cow")
        assert open_dataset(f"folder:{tmp_path}", split="test").labels.tolist() == [2, 1]

    def test_numbers_are_labels_as_they_stand(self, tmp_path: Path) -> None:
        self.write(tmp_path, "file_name,label\ni0.jpg,10\ni1.jpg,2\n")
        dataset = open_dataset(f"folder:{tmp_path}")
        assert (dataset.split, dataset.labels.tolist(), len(dataset.classes)) == ("all", [10, 2], 11)

    def test_numbers_as_pandas_writes_them_are_labels(self, tmp_path: Path) -> None:
        self.write(tmp_path / "train", "file_name,label\ni0.jpg,10.0\ni1.jpg,2.0\ni2.jpg,\n")
        self.write(tmp_path / "test", "file_name,label\ni0.jpg,3\ni1.jpg,-1\n")
        train, test = (open_dataset(f"folder:{tmp_path}", split=split) for split in ("train", "test"))
        assert (train.labels.tolist(), test.labels.tolist()) == ([10, 2, -1], [3, -1])
        assert train.classes == test.classes == tuple(map(str, range(11)))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("file_name,label\ni0.jpg,1\ni1.jpg,nan\n", "holds numbers and 'nan'"),
            ("file_name,label\ni0.jpg,1\ni1.jpg,0.5\n", "no classes, such as 0.5"),
            ("file_name,label\ni0.jpg,999999999\n", "the label 999999999 is too large"),
            ("file_name,label\n../x.jpg,1\n", "no path below"),
            ("file_name,label\ni0.jpg,1\ni0.jpg,1\n", "listed twice"),
            ("file_name,label\ni0.jpg\n", "a row of 1 cells"),
            ("file_name,label,label\ni0.jpg,1,2\n", "a column twice"),
            ('file_name,label\n"i0.jpg,1\n', "no csv"),
        ],
    )
    def test_a_damaged_table_is_refused(self, tmp_path: Path, text: str, message: str) -> None:
        self.write(tmp_path, text)
        with pytest.raises(IntegrityError, match=message) as caught:
            open_dataset(f"folder:{tmp_path}")
        assert "metadata.csv" in str(caught.value)

    def test_a_missing_image_of_a_table_is_missing(self, tmp_path: Path) -> None:
        self.write(tmp_path, "file_name,label\ni0.jpg,a\nnone.jpg,b\n")
        with pytest.raises(DataUnavailableError, match="1 of 2"):
            open_dataset(f"folder:{tmp_path}")

    def test_a_table_of_something_else_is_none(self, tmp_path: Path) -> None:
        put(tmp_path / "a" / "i.jpg")
        (tmp_path / "metadata.csv").write_text("key,value\nlicence,mine\n")
        dataset = open_dataset(f"folder:{tmp_path}")
        assert dataset.classes == ("a",)
        assert said(dataset)["extension"].names == ("metadata.csv",)

    def test_columns_that_no_store_takes_are_counted(self, tmp_path: Path) -> None:
        self.write(tmp_path, f"file_name,label,id,a b,text\ni0.jpg,a,7,x,{'x' * 2_000}\n")
        dataset = open_dataset(f"folder:{tmp_path}")
        assert dataset.factors == {}
        assert said(dataset)["column"].names == ("id", "a b", "text")


def huge_tar(root: Path) -> str:
    write_tar(root / "0.tar", sample("a", 1, 999_999_999))
    return f"wds:{root}"


def huge_parquet(root: Path) -> str:
    write_parquet(root / "x.parquet", [jpeg(1), jpeg(2)], [0, 2_000_000_000])
    return f"parquet:{root}"


def huge_table(root: Path) -> str:
    put(root / "i.jpg")
    (root / "metadata.csv").write_text("file_name,label\ni.jpg,999999999\n")
    return f"folder:{root}"


READS = (
    "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
    "from cvbench.errors import IntegrityError\n"
    "from cvbench.storage.datasets import open_dataset\n"
    "try: open_dataset(sys.argv[1]).read(0)\n"
    "except IntegrityError as error: print(error.what, error.where)"
)
"""Opens a data set and reads its first image, in 2 GiB of address space."""


class TestBounds:
    @pytest.mark.parametrize("write", [huge_tar, huge_parquet, huge_table])
    def test_a_huge_label_is_refused_in_bounded_memory(self, tmp_path: Path, write: Callable[[Path], str]) -> None:
        spec = write(tmp_path)
        run = subprocess.run(
            [sys.executable, "-c", READS, spec], capture_output=True, text=True, timeout=300, check=False
        )
        assert "is too large" in run.stdout, run.stderr
        assert any(name in run.stdout for name in ("0/a", "x/000001", "metadata.csv: i.jpg"))

    def test_a_small_part_of_a_large_set_is_taken(self, tmp_path: Path) -> None:
        write_tar(tmp_path / "0.tar", sample("a", 1, 99_999))
        assert len(open_dataset(f"wds:{tmp_path}").classes) == 100_000
        write_tar(tmp_path / "0.tar", sample("a", 1, 100_000))
        with pytest.raises(IntegrityError, match="the label 100000 is too large"):
            open_dataset(f"wds:{tmp_path}")
        (tmp_path / "classes.txt").write_text("x\n" * 100_001)
        assert open_dataset(f"wds:{tmp_path}").labels.tolist() == [100_000]

    def test_more_rows_than_bytes_are_refused(self, tmp_path: Path) -> None:
        """Runs of equal values take no space: this file of a few kilobytes would be an array of 40 MB, and so on up."""
        rows = 5_000_000
        table = pa.table({"image": pa.nulls(rows, pa.binary()), "label": pa.array(np.zeros(rows, np.int64))})
        pq.write_table(table, tmp_path / "x.parquet")
        with pytest.raises(IntegrityError, match="5,000,000 rows in"):
            open_dataset(f"parquet:{tmp_path}/x.parquet")

    def test_a_label_of_many_characters_is_refused(self, tmp_path: Path) -> None:
        write_parquet(tmp_path / "x.parquet", [jpeg(1), jpeg(2)], None, label=pa.array(["a", "x" * 5_000]))
        with pytest.raises(IntegrityError, match="5,000 characters") as caught:
            open_dataset(f"parquet:{tmp_path}/x.parquet")
        assert "row 1" in str(caught.value)

    @pytest.mark.parametrize(
        ("column", "message"),
        [("label", "the column label has a label of 100,000 characters"), ("image", "have more than 268,435,456")],
    )
    def test_a_value_that_is_written_once_for_many_rows_takes_bounded_memory(
        self, tmp_path: Path, column: str, message: str
    ) -> None:
        """Both files have less than 300 kB; written out, their columns would have 4 and 2 GB."""
        rows, word = 40_000, random.Random(0).randbytes(50_000)
        values = {"image": pa.array([b"x"]), "label": pa.array(["a"])}
        values[column] = pa.array([word.hex()]) if column == "label" else pa.array([word])
        folded = {
            name: pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), v) for name, v in values.items()
        }
        path = tmp_path / "x.parquet"
        pq.write_table(pa.table(folded), path, store_schema=False, dictionary_pagesize_limit=1 << 30)
        assert path.stat().st_size < 300_000
        done = subprocess.run(
            [sys.executable, "-c", READS, f"parquet:{path}"], capture_output=True, text=True, timeout=300
        )
        assert message in done.stdout, done.stderr

    @pytest.mark.parametrize("value", [2**63, 2**64 - 1])
    def test_labels_beyond_int64_are_refused(self, tmp_path: Path, value: int) -> None:
        write_parquet(tmp_path / "x.parquet", [jpeg(1)], None, label=pa.array([value], pa.uint64()))
        with pytest.raises(IntegrityError, match="no class"):
            open_dataset(f"parquet:{tmp_path}/x.parquet")
