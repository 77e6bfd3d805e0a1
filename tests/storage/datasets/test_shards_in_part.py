"""Shards that are read in part say so, by kind, count and name; those that lack some of their number are refused."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cvbench.errors import DataUnavailableError, DecodeError, IntegrityError
from cvbench.storage.datasets import open_dataset
from cvbench.storage.datasets.base import check_unique
from cvbench.storage.datasets.formats.split_names import split_named
from tests.storage.datasets.dataset_suite import jpeg, said
from tests.storage.datasets.shard_trees import NAMES, sample, write_parquet, write_tar


class TestTars:
    def test_links_and_devices_are_counted(self, tmp_path: Path) -> None:
        with tarfile.open(tmp_path / "x.tar", "w") as tar:
            for name, content in sample("a", 1, 0):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
            for name, kind in {"b.jpg": tarfile.SYMTYPE, "c.jpg": tarfile.LNKTYPE, "d.jpg": tarfile.CHRTYPE}.items():
                link = tarfile.TarInfo(name)
                link.type, link.linkname = kind, "a.jpg"
                tar.addfile(link)
        dataset = open_dataset(f"wds:{tmp_path}/x.tar")
        assert list(dataset.ids) == ["x/a"]
        assert (said(dataset)["link"].count, said(dataset)["link"].names) == (3, ("b.jpg", "c.jpg", "d.jpg"))

    def test_the_image_is_found_by_the_last_extension_too(self, tmp_path: Path) -> None:
        files = [
            *sample("22.05", 1, 1),
            *sample("v_1.2", 2, 0),
            *sample("plain", 3, 0),
            ("eyes.left.jpg", jpeg(4)),
            ("eyes.right.jpg", jpeg(5)),
            ("eyes.right.cls", b"1"),
            ("eyes.cls", b"0"),
            ("masked.jpg", jpeg(6)),
            ("masked.seg.png", b"a mask"),
            ("masked.cls", b"1"),
            ("text.txt", b"no image"),
            ("text.json", b"{}"),
            ("__meta__.json", b"{}"),
        ]
        write_tar(tmp_path / "0.tar", files)
        dataset = open_dataset(f"wds:{tmp_path}")
        assert list(dataset.ids) == [f"0/{k}" for k in ("22.05", "v_1.2", "plain", "eyes.left", "eyes.right", "masked")]
        assert dataset.labels.tolist() == [1, 0, 0, 0, 1, 1]
        assert [dataset.read(i) for i in range(6)] == [jpeg(k) for k in range(1, 7)]
        found = said(dataset)
        assert (found["second"].names, found["keys"].names, found["name"].names) == (
            ("masked.seg.png",),
            ("text",),
            ("__meta__.json",),
        )

    @pytest.mark.parametrize("name", ["a.cls.txt", "a.class_id"])
    def test_a_label_of_another_name_is_said_to_be_none(self, tmp_path: Path, name: str) -> None:
        write_tar(tmp_path / "0.tar", [("a.jpg", jpeg(1)), (name, b"3")])
        dataset = open_dataset(f"wds:{tmp_path}")
        assert dataset.labels.tolist() == [-1]
        assert name.partition(".")[2] in said(dataset)["label"].why

    def test_a_label_may_be_the_name_of_a_class(self, tmp_path: Path) -> None:
        write_tar(tmp_path / "0.tar", [("a.jpg", jpeg(1)), ("a.json", b'{"label": "owl"}'), *sample("b", 2, 2)])
        (tmp_path / "classes.txt").write_text("\n".join(NAMES))
        assert open_dataset(f"wds:{tmp_path}").labels.tolist() == [1, 2]
        (tmp_path / "classes.txt").write_text("owl\nowl\nwren")
        with pytest.raises(IntegrityError, match="several classes"):
            open_dataset(f"wds:{tmp_path}")

    def test_names_of_classes_may_be_the_same_or_empty(self, tmp_path: Path) -> None:
        write_tar(tmp_path / "0.tar", [*sample("a", 1, 0), *sample("b", 2, 3)])
        (tmp_path / "classnames.txt").write_bytes(b"\xef\xbb\xbfsunglasses\r\n\r\nsunglasses\r\nmissile\x0bx\r\n\r\n")
        dataset = open_dataset(f"wds:{tmp_path}")
        assert dataset.classes == ("sunglasses", "", "sunglasses", "missile\x0bx")
        assert dataset.labels.tolist() == [0, 3]

    def test_a_name_longer_than_any_file_has_is_refused(self, tmp_path: Path) -> None:
        write_tar(tmp_path / "0.tar", sample("x" * 100_000, 1, 0))
        with pytest.raises(IntegrityError, match="100,002 characters"):
            open_dataset(f"wds:{tmp_path}")
        check_unique(["x" * 4_096], "here")


class TestParquet:
    def test_a_row_without_an_image_is_unreadable_like_any_other(self, tmp_path: Path) -> None:
        write_parquet(tmp_path / "x.parquet", [jpeg(1), None, jpeg(2)], [0, 1, 2], names={"label": NAMES})
        dataset = open_dataset(f"parquet:{tmp_path}/x.parquet")
        assert said(dataset)["image"].count == 1
        with pytest.raises(DecodeError) as caught:
            dataset.read(1)
        assert caught.value.reason == "empty"
        assert dataset.read(2) == jpeg(2)

    def test_a_null_structure_is_a_row_without_an_image(self, tmp_path: Path) -> None:
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        column = pa.array([None, {"bytes": jpeg(1), "path": "1.jpg"}], kind)
        pq.write_table(pa.table({"image": column, "label": [0, 1]}), tmp_path / "x.parquet")
        dataset = open_dataset(f"parquet:{tmp_path}/x.parquet")
        with pytest.raises(DecodeError, match="no image"):
            dataset.read(0)
        assert dataset.read(1) == jpeg(1)

    def test_of_two_columns_of_classes_the_choice_is_said(self, tmp_path: Path) -> None:
        names = {"species": ("a", "b"), "family": ("x", "y")}
        columns = {"species": pa.array([1, 0]), "family": pa.array([0, 1])}
        write_parquet(tmp_path / "x.parquet", [jpeg(1), jpeg(2)], None, names=names, **columns)
        choice = said(open_dataset(f"parquet:{tmp_path}/x.parquet"))["choice"]
        assert (choice.names, "species" in choice.why) == (("family",), True)

    def test_columns_that_are_not_read_are_named(self, tmp_path: Path) -> None:
        more = {"tags": pa.array([["a"]]), "text": pa.array(["x" * 2_000]), "id": pa.array([1])}
        write_parquet(tmp_path / "x.parquet", [jpeg(1)], None, class_id=pa.array([3]), **more)
        dataset = open_dataset(f"parquet:{tmp_path}/x.parquet")
        assert said(dataset)["column"].names == ("tags", "id", "text")
        assert said(dataset)["label"].count == 1
        assert dataset.factors["class_id"].tolist() == [3.0]

    def test_labels_that_are_names_agree_between_splits(self, tmp_path: Path) -> None:
        for split, labels in {"train": ["dog", "cat", None], "test": ["dog", "emu", "dog"]}.items():
            path = tmp_path / f"{split}-00000-of-00001.parquet"
            write_parquet(path, [jpeg(k) for k in range(3)], None, label=pa.array(labels, pa.string()))
        train, test = (open_dataset(f"parquet:{tmp_path}", split=split) for split in ("train", "test"))
        assert train.classes == test.classes == ("cat", "dog", "emu")
        assert (train.labels.tolist(), test.labels.tolist()) == ([1, 0, -1], [1, 2, 1])

    def test_a_split_by_another_of_its_names(self, tmp_path: Path) -> None:
        for split in ("train", "validation"):
            write_parquet(tmp_path / f"{split}-00000-of-00001.parquet", [jpeg(1)], [0])
        assert open_dataset(f"parquet:{tmp_path}", split="val").split == "validation"
        assert split_named("val", ["dev", "valid"]) == "val", "it could be either"

    @pytest.mark.parametrize("names", ["abc", 3, {"0": "a"}, [["a"]]])
    def test_names_of_classes_of_another_form_are_none(self, tmp_path: Path, names: object) -> None:
        write_parquet(tmp_path / "x.parquet", [jpeg(1)], [0], names={"label": ("a",)})
        table = pq.read_table(tmp_path / "x.parquet")
        info = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(info)}), tmp_path / "x.parquet")
        assert open_dataset(f"parquet:{tmp_path}/x.parquet").classes == ("0",)


class TestNumberedShards:
    @pytest.mark.parametrize("form", ["train-0000{}-of-00005", "train-0000{}-of-00005-9f8e7d"])
    def test_a_folder_that_lacks_shards_by_their_own_names_is_refused(self, tmp_path: Path, form: str) -> None:
        for k in (0, 3):
            write_parquet(tmp_path / f"{form.format(k)}.parquet", [jpeg(k)], [0])
        with pytest.raises(DataUnavailableError, match=r"others: 3: ") as caught:
            open_dataset(f"parquet:{tmp_path}")
        assert "train-00001-of-00005, train-00002-of-00005, train-00004-of-00005" in str(caught.value)
        chosen = open_dataset(f"parquet:{tmp_path}/train-*.parquet")
        assert (len(chosen), said(chosen)["shards"].count) == (2, 3)
        for k in (1, 2, 4):
            write_parquet(tmp_path / f"{form.format(k)}.parquet", [jpeg(k)], [0])
        assert "missing" not in said(open_dataset(f"parquet:{tmp_path}"))

    def test_tar_shards_by_their_own_count(self, tmp_path: Path) -> None:
        for k in (0, 2):
            write_tar(tmp_path / f"{k}.tar", sample("a", k, 0))
        (tmp_path / "nshards.txt").write_text("4\n")
        with pytest.raises(DataUnavailableError, match=r"shards that are not there.*: 2: 1, 3"):
            open_dataset(f"wds:{tmp_path}")
        assert said(open_dataset(f"wds:{tmp_path}/{{0,2}}.tar"))["shards"].count == 2
        (tmp_path / "nshards.txt").write_text("2\n")
        assert said(open_dataset(f"wds:{tmp_path}"))["shards"].names == ("1",), "a gap between numbers"

    def test_numbers_from_one_and_other_numbers_are_whole(self, tmp_path: Path) -> None:
        for name in ("x-1-of-2", "x-2-of-2", "20240101", "20250101"):
            write_tar(tmp_path / f"{name}.tar", sample("a", 1, 0))
        assert said(open_dataset(f"wds:{tmp_path}")) == {}

    def test_a_total_that_nobody_can_have_takes_no_memory(self, tmp_path: Path) -> None:
        write_tar(tmp_path / f"x-0-of-{'9' * 40}.tar", sample("a", 1, 0))
        with pytest.raises(DataUnavailableError, match="999,999,999"):
            open_dataset(f"wds:{tmp_path}")
