"""Create-if-absent, on every kind of place."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest

from cvbench.errors import ResourceError, UsageError
from cvbench.storage.objects import LocalObjects, MemoryObjects, Objects, open_objects


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
    barrier, won = threading.Barrier(8), []

    def attempt(i: int) -> None:
        barrier.wait()
        if objects.create("k/k", bytes([i]) * 10_000):
            won.append(i)

    threads = [threading.Thread(target=attempt, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert objects.get("k/k") == bytes(won) * 10_000


def test_it_travels_to_another_process_by_its_url(objects: Objects) -> None:
    objects.create("a", b"1")
    assert pickle.loads(pickle.dumps(objects)).get("a") == b"1"  # noqa: S301 - our own bytes


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


def test_a_full_disk_names_the_key_and_leaves_nothing(tmp_path: Path) -> None:
    # A child, since the limit cannot be raised again everywhere: no file of more than 1 MB, as if the disk ended there.
    code = """
import resource, signal, sys
from cvbench.storage.objects import LocalObjects
from cvbench.errors import ResourceError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
objects = LocalObjects(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
try:
    objects.create("x/big", b"a" * 3_000_000)
except ResourceError as error:
    assert "x/big" in str(error) and "resumes" in str(error), error
    assert objects.create("x/small", b"b")
    sys.exit(error.exit_code)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=60, check=False)
    assert done.returncode == ResourceError.exit_code == 6
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["small"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_truly_full_disk(tmp_path: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], check=False)
    if mounted.returncode:
        pytest.skip("mounting is not permitted here")
    try:
        objects = LocalObjects(tmp_path)
        assert objects.create("one", b"a" * 600_000)
        with pytest.raises(ResourceError, match="no space left"):
            objects.create("two", b"a" * 600_000)
        assert [p.name for p in tmp_path.iterdir()] == ["one"]
        objects.delete("one")
        assert objects.create("two", b"a" * 600_000)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ResourceError, match="cannot write"):
        LocalObjects(tmp_path / "file").create("a/b", b"1")


def test_urls() -> None:
    assert isinstance(open_objects("./x.zarr"), LocalObjects)
    assert open_objects("file:///a/b").url == "/a/b"
    assert isinstance(open_objects("memory://m"), MemoryObjects)
    with pytest.raises(UsageError, match="ftp"):
        open_objects("ftp://host/x")
