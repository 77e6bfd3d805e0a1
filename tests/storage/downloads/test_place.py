"""A whole data set from a real server: fetched, unpacked, and put in place in one step."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cvbench.errors import DataUnavailableError, IntegrityError, ResourceError, UsageError
from cvbench.storage.datasets import open_dataset
from cvbench.storage.downloads import Archive, Placed, Source, place
from cvbench.storage.downloads.place import RECORD, WORK
from tests.storage.datasets import transfer_trees as trees
from tests.storage.downloads.file_server import FileServer, serving


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with serving() as state:
        yield state


def tar_bytes(folder: Path, *names: str) -> bytes:
    """A .tar.gz of what is in a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in names or [path.name for path in sorted(folder.iterdir())]:
            tar.add(folder / name, name)
    return buffer.getvalue()


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def flowers(server: FileServer, tmp_path: Path) -> Source:
    """Three files of which one is an archive, as Flowers-102 has them."""
    trees.write_flowers(tmp_path / "made")
    server.files["/102flowers.tgz"] = tar_bytes(tmp_path / "made", "jpg")
    for name in ("imagelabels.mat", "setid.mat"):
        server.files[f"/{name}"] = (tmp_path / "made" / name).read_bytes()
    archives = tuple(
        Archive(path[1:], (f"{server.url}{path}",), md5=md5(content), unpack=path.endswith(".tgz"))
        for path, content in server.files.items()
    )
    return Source("flowers102", "flowers-102", archives)


def put(source: Source, root: Path, keep: bool = False) -> Placed:
    return place(source, root, listen=lambda *_: None, keep=keep, pause=0.0)


def test_a_data_set_is_downloaded_and_opens(server: FileServer, tmp_path: Path) -> None:
    root = tmp_path / "data"
    placed = put(flowers(server, tmp_path), root)
    assert (placed.folder, placed.files, len(placed.fetched)) == (root / "flowers-102", 10, 3)
    dataset = open_dataset("flowers102", data_root=root, split="all")
    same = open_dataset("flowers102", data_root=tmp_path / "made", split="all")
    assert dataset.digest == same.digest
    assert sorted(path.name for path in (root / WORK).iterdir()) == [RECORD, "flowers102.lock"]


def test_archives_can_be_kept(server: FileServer, tmp_path: Path) -> None:
    put(flowers(server, tmp_path), tmp_path / "data", keep=True)
    kept = tmp_path / "data" / WORK / "flowers102"
    assert sorted(path.name for path in kept.iterdir()) == ["102flowers.tgz", "imagelabels.mat", "setid.mat"]


def test_an_archive_inside_of_an_archive(server: FileServer, tmp_path: Path) -> None:
    trees.write_caltech(tmp_path / "made", {"accordion": 2, "BACKGROUND_Google": 1})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        bundle.writestr("caltech-101/101_ObjectCategories.tar.gz", tar_bytes(tmp_path / "made"))
        bundle.writestr("caltech-101/Annotations.tar", b"left as it is")
        bundle.writestr("__MACOSX/caltech-101/._x", b"x")
    server.files["/c.zip"] = buffer.getvalue()
    archive = Archive("c.zip", (f"{server.url}/c.zip",), inner=("caltech-101/101_ObjectCategories.tar.gz",))
    placed = put(Source("caltech101", "caltech101", (archive,)), tmp_path / "data")
    assert len(open_dataset("caltech101", data_root=tmp_path / "data", split="all")) == 2
    assert sorted(path.name for path in (placed.folder / "caltech-101").iterdir()) == [
        "101_ObjectCategories",
        "Annotations.tar",
    ]
    assert placed.files == 4


def test_nothing_shows_until_all_is_there_and_the_next_attempt_goes_on(server: FileServer, tmp_path: Path) -> None:
    source, root = flowers(server, tmp_path), tmp_path / "data"
    held = server.files.pop("/setid.mat")
    with pytest.raises(DataUnavailableError, match=r"setid\.mat cannot be downloaded"):
        put(source, root)
    assert not (root / "flowers-102").exists()
    server.files["/setid.mat"] = held
    server.seen.clear()
    placed = put(source, root)
    assert [path for path, _ in server.seen] == ["/setid.mat"]
    assert [file.url for file in placed.fetched] == ["", "", f"{server.url}/setid.mat"]
    assert len(open_dataset("flowers102", data_root=root, split="all")) == 8


def test_what_is_unpublished_is_recorded_and_compared_later(server: FileServer, tmp_path: Path) -> None:
    trees.write_eurosat(tmp_path / "made" / "2750")
    server.files["/e.tgz"] = tar_bytes(tmp_path / "made")
    source, root = Source("eurosat", "eurosat", (Archive("e.tgz", (f"{server.url}/e.tgz",)),)), tmp_path / "data"
    put(source, root)
    recorded = json.loads((root / WORK / RECORD).read_text())
    assert recorded == {"eurosat/e.tgz": hashlib.sha256(server.files["/e.tgz"]).hexdigest()}
    (root / "eurosat").rename(root / "old")
    server.files["/e.tgz"] += b"\0"
    with pytest.raises(IntegrityError, match=r"e\.tgz cannot be downloaded"):
        put(source, root)
    assert not (root / "eurosat").exists()


def test_an_archive_that_nothing_vouches_for_and_that_is_damaged_is_fetched_again(
    server: FileServer, tmp_path: Path
) -> None:
    trees.write_eurosat(tmp_path / "made" / "2750")
    whole = tar_bytes(tmp_path / "made")
    server.files["/e.tgz"] = whole[:-500]
    source, root = Source("eurosat", "eurosat", (Archive("e.tgz", (f"{server.url}/e.tgz",)),)), tmp_path / "data"
    with pytest.raises(IntegrityError, match="damaged"):
        put(source, root)
    server.files["/e.tgz"] = whole
    put(source, root)
    assert len(open_dataset("eurosat", data_root=root, split="all")) == 100


def test_a_folder_in_the_way_is_not_touched(server: FileServer, tmp_path: Path) -> None:
    source, root = flowers(server, tmp_path), tmp_path / "data"
    trees.put(root / "flowers-102" / "mine.txt", "mine")
    with pytest.raises(UsageError, match="is there, but it is not the whole data set"):
        put(source, root)
    assert server.seen == []
    (root / "flowers-102" / "mine.txt").unlink()
    assert put(source, root).files == 10


def test_one_process_at_a_time(server: FileServer, tmp_path: Path) -> None:
    source, root = flowers(server, tmp_path), tmp_path / "data"
    (root / WORK).mkdir(parents=True)
    with open(root / WORK / "flowers102.lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(ResourceError, match="another process"):
            put(source, root)
    assert put(source, root).files == 10


def test_a_data_root_that_cannot_be_written(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ResourceError, match="cannot be written"):
        put(flowers(server, tmp_path), tmp_path / "file" / "data")
