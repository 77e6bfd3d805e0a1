"""`wds:PATH`: tar shards, indexed once and read by ranges."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvbench.errors import DataUnavailableError, IntegrityError, UnknownNameError, UsageError
from cvbench.storage.datasets import absolute_spec, every_split, locate, open_dataset
from cvbench.storage.datasets.formats.shards import expand_braces, find_shards
from cvbench.storage.datasets.formats.tar_index import index_tar
from cvbench.storage.objects.bucket import RangedFile
from tests.storage.datasets.dataset_suite import DatasetTests, jpeg
from tests.storage.datasets.shard_trees import NAMES, sample, write_shards, write_tar


class TestWds(DatasetTests):
    spec = "wds:shards/val-{000000..000001}.tar"
    splits = ("all",)
    default_split = "all"

    def make(self, root: Path) -> None:
        write_shards(root / "shards")

    def change(self, root: Path, what: str) -> None:
        if what == "label":
            write_shards(root / "shards", ((0, 1, 1), (2, 0)))
        else:
            files = [*sample("0000", 77, 2), *sample("0001", 11, 0)]
            write_tar(root / "shards" / "val-000001.tar", files)


def test_samples_are_in_the_order_of_shards_and_of_their_files(tmp_path: Path) -> None:
    write_shards(tmp_path)
    dataset = open_dataset(f"wds:{tmp_path}/val-{{000000..000001}}.tar")
    assert list(dataset.ids) == [
        "val-000000/0000",
        "val-000000/0001",
        "val-000000/0002",
        "val-000001/0000",
        "val-000001/0001",
    ]
    assert dataset.labels.tolist() == [0, 1, 2, 2, 0]
    assert dataset.classes == NAMES
    assert [dataset.read(i) for i in (4, 0, 3)] == [jpeg(11), jpeg(0), jpeg(10)]
    assert dataset.name == "wds-val"


@pytest.mark.parametrize(
    "pattern", ["", "/", "/*.tar", "/val-{000000,000001}.tar", "/val-00000[01].tar", "/*-?????1.tar"]
)
def test_patterns(tmp_path: Path, pattern: str) -> None:
    write_shards(tmp_path / "birds")
    (tmp_path / "birds" / "readme.md").write_text("not a shard")
    dataset = open_dataset(f"wds:birds{pattern}", data_root=tmp_path)
    assert len(dataset) == (2 if "?" in pattern else 5)
    assert locate(f"wds:birds{pattern}", data_root=tmp_path) == tmp_path / "birds"
    assert every_split(f"wds:birds{pattern}", data_root=tmp_path) == ("all",)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("imagenet-val-{000..063}.tar", "wds-imagenet-val"),
        ("val/{000..009}.tar", "wds-val"),
        ("val/*.tar", "wds-val"),
        ("Some Birds/data/*.tar", "wds-some-birds"),
        ("one.tar", "wds-one"),
    ],
)
def test_the_key_in_a_store(tmp_path: Path, pattern: str, name: str) -> None:
    for part in expand_braces(pattern.replace("*", "0")):
        write_tar(tmp_path / part, sample("a", 1, 0))
    assert open_dataset(f"wds:{pattern}", data_root=tmp_path).name == name


def test_what_belongs_to_a_sample(tmp_path: Path) -> None:
    files = [
        ("__meta__.json", b"{}"),
        (".hidden.jpg", jpeg(1)),
        ("noextension", b"x"),
        ("a/b.c/0001.json", json.dumps({"label": 4, "caption": "an owl"}).encode()),
        ("a/b.c/0001.seg.png", b"a mask, not the image"),
        ("a/b.c/0001.JPG", jpeg(2)),
        ("a/b.c/0001.txt", b"an owl"),
        ("./0002.jpeg", jpeg(3)),
        ("0002.json", b'{"label": 9}'),
        ("0002.cls", b"1\n"),
        ("0002.later.json", b"not looked at"),
        ("0003.webp", jpeg(4)),
        ("0004.cls", b"3"),
    ]
    write_tar(tmp_path / "x.tar", files)
    dataset = open_dataset(f"wds:{tmp_path}/x.tar")
    assert list(dataset.ids) == ["x/a/b.c/0001", "x/0002", "x/0003"]
    assert dataset.labels.tolist() == [4, 1, -1]
    assert [dataset.read(i) for i in range(3)] == [jpeg(2), jpeg(3), jpeg(4)]
    assert dataset.classes == ("0", "1", "2", "3", "4")


def test_a_cls_file_wins_over_json_before_or_after_it(tmp_path: Path) -> None:
    for k, order in enumerate((("cls", "json"), ("json", "cls"))):
        fields = {"cls": b"1", "json": b'{"cls": 5}'}
        write_tar(tmp_path / f"{k}.tar", [("s.jpg", jpeg(k)), *((f"s.{kind}", fields[kind]) for kind in order)])
    assert open_dataset(f"wds:{tmp_path}").labels.tolist() == [1, 1]


def test_directories_links_and_long_names_of_tar(tmp_path: Path) -> None:
    long = "x" * 180 + "/" + "y" * 120
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        folder = tarfile.TarInfo("x" * 180)
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        link = tarfile.TarInfo("evil.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        for name, content in sample(long, 5, 2):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    dataset = open_dataset(f"wds:{tmp_path}/x.tar")
    assert list(dataset.ids) == [f"x/{long}"]
    assert dataset.read(0) == jpeg(5)


def test_shards_of_the_same_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_tar(tmp_path / split / "000.tar", sample("a", 1, 0))
    dataset = open_dataset("wds:{train,val}/000.tar", data_root=tmp_path)
    assert list(dataset.ids) == ["train/000/a", "val/000/a"]


def test_a_shard_that_changes_after_opening_is_refused(tmp_path: Path) -> None:
    write_shards(tmp_path)
    dataset = open_dataset(f"wds:{tmp_path}")
    path = tmp_path / "val-000000.tar"
    path.write_bytes(path.read_bytes() + bytes(512))
    with pytest.raises(IntegrityError, match="changed after"):
        dataset.read(0)
    path.unlink()
    with pytest.raises(DataUnavailableError, match="cannot read a shard"):
        dataset.read(0)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([("a.jpg", jpeg(1)), ("a.png", jpeg(2))], "two images"),
        ([("a.jpg", jpeg(1)), ("a.jpg", jpeg(1))], "two images"),
        ([("a.jpg", jpeg(1)), ("a.cls", b"owl")], "'owl' is no number from 0"),
        ([("a.jpg", jpeg(1)), ("a.cls", b"")], "no number from 0"),
        ([("a.jpg", jpeg(1)), ("a.cls", b"\xff")], "cannot be read"),
        ([("a.jpg", jpeg(1)), ("a.cls", b"-2")], "no number from 0"),
        ([("a.jpg", jpeg(1)), ("a.cls", b"1" * 100)], "a label of 100 bytes"),
        ([("a.jpg", jpeg(1)), ("a.json", b"{")], "cannot be read"),
        ([("a.jpg", jpeg(1)), ("a.json", b'{"label": "owl"}')], "no number from 0"),
        ([("a.jpg", jpeg(1)), ("a.json", b'{"label": true}')], "no number from 0"),
        ([("a.jpg", jpeg(1)), ("a.json", b"[" * 400_000)], "cannot be read"),
        ([("a.jpg", jpeg(1)), ("a.json", b'{"label": ' + b"[" * 900 + b"]" * 900 + b"}")], "no number|cannot be read"),
        ([("a.jpg", jpeg(1)), ("a.json", b'{"label": 1' + b"0" * 30 + b"}")], "no number from 0"),
    ],
)
def test_a_sample_of_another_form_is_refused(tmp_path: Path, files: list[tuple[str, bytes]], message: str) -> None:
    write_tar(tmp_path / "x.tar", files)
    with pytest.raises(IntegrityError, match=message) as caught:
        open_dataset(f"wds:{tmp_path}/x.tar")
    assert "x.tar: " in str(caught.value)


def test_a_compressed_shard_says_what_to_do(tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", sample("a", 1, 0))
    path = tmp_path / "x.tar"
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(IntegrityError, match=r"compressed \(gzip\)"):
        open_dataset(f"wds:{path}")


@pytest.mark.parametrize("where", [0, 700, 2_048, 3_000])
def test_a_shard_cut_short_or_damaged_is_refused(tmp_path: Path, where: int) -> None:
    files = [file for k in range(4) for file in (*sample(f"{k}", k, k),)]
    write_tar(tmp_path / "x.tar", files)
    path = tmp_path / "x.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[:where])
    with pytest.raises((IntegrityError, DataUnavailableError)):
        open_dataset(f"wds:{path}")
    header = whole.index(b"2.jpg")  # its checksum no longer fits: tarfile alone would take this for the end
    path.write_bytes(whole[:header] + b"X" + whole[header + 1 :])
    with pytest.raises(IntegrityError, match="damaged at byte"):
        open_dataset(f"wds:{path}")


def test_too_few_class_names_are_refused(tmp_path: Path) -> None:
    write_shards(tmp_path)
    (tmp_path / "classes.txt").write_text("heron\nowl\n")
    with pytest.raises(IntegrityError, match="label 2 has no name: 2 classes"):
        open_dataset(f"wds:{tmp_path}")


def test_refusals(tmp_path: Path) -> None:
    write_shards(tmp_path)
    with pytest.raises(UsageError, match="wds needs a path"):
        open_dataset("wds:")
    with pytest.raises(UnknownNameError, match="split of wds 'train'"):
        open_dataset(f"wds:{tmp_path}", split="train")
    with pytest.raises(DataUnavailableError, match="a shard is not there"):
        open_dataset(f"wds:{tmp_path}/val-{{000000..000002}}.tar")
    with pytest.raises(DataUnavailableError, match="no shard matches") as caught:
        open_dataset(f"wds:{tmp_path}/train-*.tar")
    assert "classes.txt" in str(caught.value)
    with pytest.raises(UsageError, match="unknown kind of place ftp://"):
        open_dataset("wds:ftp://host/x.tar")
    for braces, word in {"{9..1}": "no", "{0..9999999}": "too many"}.items():
        with pytest.raises(UsageError, match=f"names {word} shards"):
            find_shards(f"/x/{braces}.tar", (".tar",))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataUnavailableError, match="no shard matches"):
        open_dataset(f"wds:{tmp_path}/empty")
    write_tar(tmp_path / "text.tar", [("a.txt", b"x")])
    with pytest.raises(DataUnavailableError, match="hold no image"):
        open_dataset(f"wds:{tmp_path}/text.tar")


def test_absolute_specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CVBENCH_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    assert absolute_spec("wds:x/{0..9}.tar") == f"wds:{tmp_path}/x/{{0..9}}.tar"
    assert absolute_spec("parquet:x", data_root="/data") == "parquet:/data/x"
    assert absolute_spec("wds:s3://bucket/x", data_root="/data") == "wds:s3://bucket/x"
    assert absolute_spec("folder:/x/../y") == "folder:/y"
    assert absolute_spec("dtd:3") == "dtd:3"
    assert absolute_spec("digits") == "digits"


NAME = st.text("ab1", min_size=1, max_size=2)
EXTENSION = st.sampled_from(["jpg", "PNG", "cls", "txt", "mask.png"])


@given(files=st.lists(st.tuples(NAME, EXTENSION, st.integers(0, 700)), max_size=12))
@settings(max_examples=60, deadline=None)
def test_the_index_finds_what_a_plain_reading_finds(files: list[tuple[str, str, int]]) -> None:
    buffer, expected = io.BytesIO(), dict[str, tuple[bytes, int]]()
    content: dict[str, dict[str, bytes]] = {}
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for k, (key, extension, size) in enumerate(files):
            data = b"%d" % (size % 9) if extension == "cls" else bytes([k]) * size
            entry = tarfile.TarInfo(f"{key}.{extension}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
            fields = content.setdefault(key, {})
            if extension.lower() in ("jpg", "png") and {"jpg", "PNG"} & fields.keys():
                fields["twice"] = b""
            if extension == "mask.png" and extension in fields:
                fields["masks"] = b""
            fields[extension] = data
    buffer.seek(0)
    alone = {key for key, fields in content.items() if "mask.png" in fields and not {"jpg", "PNG"} & fields.keys()}
    if any("twice" in fields or ("masks" in fields and key in alone) for key, fields in content.items()):
        with pytest.raises(IntegrityError, match="two images"):
            index_tar(buffer, "x")
        return
    for key, fields in content.items():
        image = fields.get("jpg", fields.get("PNG", fields.get("mask.png")))
        if image is not None:
            name = f"{key}.mask" if key in alone else key
            expected[name] = image, int(fields.get("cls", b"-1"))
    raw = buffer.getvalue()
    found = index_tar(buffer, "x").members
    assert {m.key: (raw[m.offset : m.offset + m.size], m.label) for m in found} == expected
    assert [m.key for m in found] == list(expected)


def test_a_ranged_file_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvbench.storage.objects.bucket.BLOCK", 64)
    content = bytes(np.random.default_rng(0).integers(0, 256, 1000, dtype=np.uint8))
    fetched: list[tuple[int, int]] = []

    def fetch(start: int, size: int) -> bytes:
        fetched.append((start, size))
        return content[start : start + size]

    ranged, real = RangedFile(fetch, 1000), io.BytesIO(content)
    rng = np.random.default_rng(1)
    for _ in range(300):
        offset, size = int(rng.integers(0, 1100)), int(rng.integers(-1, 300))
        assert ranged.seek(offset) == real.seek(offset)
        assert ranged.read(size) == real.read(size)
        assert ranged.tell() == real.tell()
    assert ranged.seek(-10, io.SEEK_END) == 990
    assert ranged.read() == content[990:]
    assert all(size > 0 and start + size <= 1000 for start, size in fetched)
