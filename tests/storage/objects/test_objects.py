"""Create-if-absent, on every kind of place; what a key or a link could lead to."""

from __future__ import annotations

import os
import pickle
import socket
import sys
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from cvbench.errors import IntegrityError, UsageError
from cvbench.storage.objects.base import Objects
from cvbench.storage.objects.bucket import Bucket
from cvbench.storage.objects.local import LocalObjects
from cvbench.storage.objects.memory import MemoryObjects
from cvbench.storage.objects.open import open_objects
from cvbench.storage.objects.remote import RemoteObjects
from tests.storage.objects.creators import check_one_wins


@pytest.fixture(params=["local", "memory"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    return open_objects(tmp_path / "s" if request.param == "local" else f"memory://{uuid.uuid4().hex}")


def test_an_object_is_created_once(objects: Objects) -> None:
    assert objects.get("a/b") is None
    assert objects.size("a/b") is None
    assert objects.create("a/b", b"one", b"two")
    assert not objects.create("a/b", b"other")
    assert objects.get("a/b") == b"onetwo"
    assert objects.size("a/b") == 6


def test_equal_bytes_still_have_one_creator(objects: Objects) -> None:
    data = b"x" * 1000
    assert [objects.create("k", data), objects.create("k", data)] == [True, False]


def test_listing_is_by_folder_and_sorted(objects: Objects) -> None:
    for key in ("b/2", "b/1", "a", "bc/1"):
        objects.create(key, b"")
    objects.settle(["b/1", "a"])
    assert list(objects.list()) == ["a", "b/1", "b/2", "bc/1"]
    assert list(objects.list("b/")) == ["b/1", "b/2"]
    assert list(objects.list("none/")) == []


def test_delete_is_idempotent(objects: Objects) -> None:
    objects.create("a", b"1")
    objects.delete("a")
    objects.delete("a")
    assert objects.get("a") is None


def test_of_many_creators_one_wins(objects: Objects) -> None:
    check_one_wins(objects, "k/k", 10_000)


def test_it_travels_to_another_process_by_its_url(objects: Objects) -> None:
    objects.create("a", b"1")
    assert pickle.loads(pickle.dumps(objects)).get("a") == b"1"  # noqa: S301 - our own bytes


@pytest.mark.parametrize(
    "objects", [LocalObjects("a/b"), MemoryObjects("m"), RemoteObjects("s3://bucket/x"), Bucket("s3://bucket")]
)
def test_what_travels_is_of_the_same_kind_and_place(objects: Objects) -> None:
    copy = pickle.loads(pickle.dumps(objects))  # noqa: S301 - our own bytes
    assert (type(copy), copy.url) == (type(objects), objects.url)


def test_local_creation_leaves_no_temporary_file(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path)
    objects.create("a/b", b"1")
    objects.create("a/b", b"2")
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b"]
    assert not objects.leftovers()


def test_leftovers_are_not_objects(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path)
    objects.create("a/b", b"1")
    (tmp_path / "a" / ".tmp-1-abc").write_bytes(b"half")
    assert list(objects.list()) == ["a/b"]
    assert objects.leftovers() == ["a/.tmp-1-abc"]


WRONG = ("", "/a", "../a", "a/../b", "a/..", "./a", "a//b", "a/", "a\\b", "a\0b", "a\nb", "\x1b[2J")


@pytest.mark.parametrize("key", WRONG, ids=repr)
def test_a_key_that_could_lead_out_is_refused_by_every_method(objects: Objects, key: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: objects.get(key),
        lambda: objects.size(key),
        lambda: objects.blake3(key),
        lambda: objects.create(key, b""),
        lambda: objects.delete(key),
    ]
    if isinstance(objects, LocalObjects):
        calls += [lambda: objects.path(key), lambda: objects.settle([key])]
        calls += [lambda: objects.list(f"{key}/")] if key else []
    for call in calls:
        with pytest.raises(IntegrityError, match="could lead out"):
            call()


@pytest.fixture
def harmed(tmp_path: Path) -> LocalObjects:
    """A store folder with all that is no object in it, and a folder outside."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(b"precious")
    objects = LocalObjects(tmp_path / "s")
    objects.create("a/file", b"1")
    (tmp_path / "s" / "linked").symlink_to(tmp_path / "outside")
    (tmp_path / "s" / "a" / "link").symlink_to(tmp_path / "outside" / "file")
    (tmp_path / "s" / "a" / "hanging").symlink_to(tmp_path / "outside" / "new")
    (tmp_path / "s" / "a" / "zero").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "s" / "a" / "pipe")
    with socket.socket(socket.AF_UNIX) as there:
        there.bind(str(tmp_path / "s" / "a" / "socket"))
    (tmp_path / "s" / "a" / "folder").mkdir()
    return objects


@pytest.mark.parametrize(
    "name", ["link", "hanging", "zero", "pipe", "socket", "folder", "../linked/file", "../linked/x"]
)
def test_only_regular_files_below_the_root_are_objects(harmed: LocalObjects, name: str) -> None:
    key = f"a/{name}".replace("a/../", "")
    for call in (harmed.get, harmed.size, harmed.blake3, harmed.create):
        with pytest.raises(IntegrityError, match="lies in the place of an object") as error:
            call(key)
        assert (error.value.where or "") in key
    with pytest.raises(IntegrityError), harmed.reading(key):
        pytest.fail("it was opened")
    outside = harmed.root.parent / "outside"
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"file": b"precious"}


def test_listing_refuses_links_and_goes_through_none(harmed: LocalObjects) -> None:
    with pytest.raises(IntegrityError, match="a link lies"):
        harmed.list()
    with pytest.raises(IntegrityError, match="a link lies"):
        harmed.list("linked/")
    kinds = dict(harmed.survey())
    assert kinds == {
        "a": "folder",
        "a/file": "file",
        "a/link": "link",
        "a/hanging": "link",
        "a/zero": "link",
        "a/pipe": "special",
        "a/socket": "special",
        "a/folder": "folder",
        "linked": "link",
    }


def test_deleting_removes_a_link_and_never_what_it_points_to(harmed: LocalObjects) -> None:
    for name in ("link", "hanging", "zero", "pipe", "socket", "folder"):
        harmed.delete(f"a/{name}")
    with pytest.raises(IntegrityError, match="a link lies"):
        harmed.delete("linked/file")
    (harmed.root / "a" / "full").mkdir()
    (harmed.root / "a" / "full" / "thesis.tex").write_text("x")
    with pytest.raises(IntegrityError, match="a folder lies"):
        harmed.delete("a/full")
    assert list(harmed.list("a/")) == ["a/file", "a/full/thesis.tex"]
    assert (harmed.root.parent / "outside" / "file").read_bytes() == b"precious"


def test_the_root_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "s").symlink_to(tmp_path / "disk")
    objects = LocalObjects(tmp_path / "s")
    assert objects.create("a/b", b"1")
    objects.settle(["a/b"])
    assert (objects.get("a/b"), list(objects.list())) == (b"1", ["a/b"])
    assert (tmp_path / "disk" / "a" / "b").read_bytes() == b"1"


def test_a_folder_tree_deeper_than_any_of_ours_is_not_followed(tmp_path: Path) -> None:
    deep = os.open(tmp_path, os.O_DIRECTORY)
    for _ in range(60):
        os.mkdir("d", dir_fd=deep)
        inner = os.open("d", os.O_DIRECTORY, dir_fd=deep)
        os.close(deep)
        deep = inner
    os.close(deep)
    objects = LocalObjects(tmp_path)
    assert "special" in {kind for _, kind in objects.survey()}
    with pytest.raises(IntegrityError):
        objects.delete("d")


def test_a_file_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(IntegrityError, match="too long"):
        LocalObjects(tmp_path).get("sparse")


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIAKEY:hunter2@bucket/x",
        "s3://AKIAKEY:hunter/2@bucket/x",
        "gs://hunter2@bucket/x",
        "az://container/x?sv=1&sig=hunter2",
        "abfs://container@account:hunter2/x",
    ],
)
def test_a_url_with_credentials_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(UsageError, match="must not hold credentials") as error:
        open_objects(url)
    assert "hunter" not in str(error.value)
    assert "AKIAKEY" not in str(error.value)
    assert open_objects("abfss://container@account.dfs.core.windows.net/x").url.startswith("abfss://container@account")


def test_urls() -> None:
    assert isinstance(open_objects("./x.zarr"), LocalObjects)
    assert open_objects("file:///a/b").url == "/a/b"
    assert isinstance(open_objects("memory://m"), MemoryObjects)
    with pytest.raises(UsageError, match="ftp"):
        open_objects("ftp://host/x")


def _interrupted_at(step: int, call: Callable[[], object]) -> bool:
    """Whether `call` came to line `step` of the project's own lines, where it is interrupted as by a signal."""
    left = step

    def at_line(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        if "storage" not in frame.f_code.co_filename:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return at_line

    before = sys.gettrace()
    sys.settrace(at_line)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return left <= 0


CALLS: dict[str, Callable[[LocalObjects], object]] = {
    "create": lambda objects: objects.create("a/b/new", b"1"),
    "get": lambda objects: objects.get("a/b/old"),
    "part": lambda objects: objects.part("a/b/old", 0, 1),
    "size": lambda objects: objects.size("a/b/old"),
    "blake3": lambda objects: objects.blake3("a/b/old"),
    "delete": lambda objects: objects.delete("a/b/old"),
    "list": lambda objects: list(objects.list("a")),
    "settle": lambda objects: objects.settle(["a/b/old"]),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a file that was opened just before is closed by the collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", CALLS)
def test_an_interrupt_between_any_two_lines_is_one(tmp_path: Path, name: str) -> None:
    step, came = 0, True
    while came:
        step += 1
        old = tmp_path / f"{step}/a/b/old"
        old.parent.mkdir(parents=True)
        old.write_bytes(b"0")
        objects = LocalObjects(tmp_path / str(step))
        came = _interrupted_at(step, partial(CALLS[name], objects))  # any other error ends the test
    assert step > 10
