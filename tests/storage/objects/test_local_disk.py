"""Objects on a disk that is full, cannot be read or written, or is taken away."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cvbench.errors import ResourceError
from cvbench.storage.objects import folders, writers
from cvbench.storage.objects.local import LocalObjects


def test_a_full_disk_names_the_key_and_leaves_nothing(tmp_path: Path) -> None:
    # A child, since the limit cannot be raised again everywhere: no file of more than 1 MB, as if the disk ended there.
    code = """
import resource, signal, sys
from cvbench.storage.objects.local import LocalObjects
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
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=300, check=False)
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


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_disk_that_cannot_be_read_is_named_with_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    objects = LocalObjects(tmp_path)
    objects.create("a/b", b"1")
    tried = []

    def failing(at: int, name: str, key: str) -> tuple[int, int]:
        tried.append(key)
        raise OSError(number, os.strerror(number))

    right = folders.open_file
    monkeypatch.setattr(folders, "open_file", failing)
    monkeypatch.setattr("cvbench.storage.objects.local._PAUSES", (0.0, 0.0))
    for call in (objects.get, objects.blake3):
        tried.clear()
        with pytest.raises(ResourceError, match="cannot read an object") as error:
            call("a/b")
        assert "a/b" in str(error.value)
        assert errno.errorcode[number] in str(error.value)
        assert len(tried) == (1 if number == errno.EACCES else 3)
    with pytest.raises(ResourceError), objects.reading("a/b"):
        pytest.fail("it was opened")
    broken = iter([True, False])  # what passes is tried again
    monkeypatch.setattr(folders, "open_file", lambda *at: failing(*at) if next(broken) else right(*at))
    if number != errno.EACCES:
        assert objects.get("a/b") == b"1"


def test_unfinished_writes_of_dead_writers_are_told_from_those_of_live_ones(tmp_path: Path) -> None:
    code = """
import os, sys
from cvbench.storage.objects import local as objects
def killed(at, name, parts):
    open(os.path.join(sys.argv[1], "a", name), "wb").write(b"half")
    os.kill(os.getpid(), 9)
objects._write = killed
os.makedirs(os.path.join(sys.argv[1], "a"))
objects.LocalObjects(sys.argv[1]).create("a/b", b"whole")
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=300, check=False)
    (dead,) = (tmp_path / "a").iterdir()
    mine = f".tmp-{writers.mark()}-0123456789ab"
    elsewhere = dead.name.replace(dead.name.split("-")[1], "00000000")
    (tmp_path / "a" / mine).write_bytes(b"half")
    (tmp_path / "a" / elsewhere).write_bytes(b"half")
    (tmp_path / "a" / ".tmp-1-abc").write_bytes(b"half")  # of a version before marks
    objects = LocalObjects(tmp_path)
    assert objects.sweep() == [f"a/{dead.name}"]
    assert {path.name for path in (tmp_path / "a").iterdir()} == {mine, elsewhere, ".tmp-1-abc"}


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ResourceError, match="cannot write"):
        LocalObjects(tmp_path / "file").create("a/b", b"1")


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_a_place_of_another_user_is_named_with_its_owner(tmp_path: Path) -> None:
    for place in (tmp_path, *tmp_path.parents):  # so that the other user can look at it
        if place.stat().st_uid == 0 and place != Path("/"):
            place.chmod(place.stat().st_mode | 0o755)
    code = """
import os, sys
from cvbench.storage.objects.local import LocalObjects
from cvbench.errors import ResourceError
os.setuid(65534)
try:
    LocalObjects(sys.argv[1] + "/s").create("a/b", b"1")
except ResourceError as error:
    print(error)
"""
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], timeout=300, capture_output=True, text=True, check=False
    )
    assert f"{tmp_path} is of user 0, mode drwxr-xr-x, and this is user 65534" in said.stdout, said
    assert "another --store; then run the same command again" in said.stdout


@pytest.mark.parametrize(("number", "said"), [(errno.EIO, "cannot keep the names"), (errno.ENOSPC, "no space left")])
def test_a_folder_that_cannot_be_made_durable_is_named_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    objects, synced, right = LocalObjects(tmp_path), [], folders.sync

    def failing(at: int) -> None:
        raise OSError(number, os.strerror(number))

    objects.create("a/b/c", b"1")
    monkeypatch.setattr(folders, "sync", failing)
    with pytest.raises(ResourceError, match=said) as error:
        objects.settle(["a/b/c"])
    assert error.value.where == f"{tmp_path}/a/b"
    assert "it resumes" in (error.value.fix or "")

    def seen(at: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{at}"))
        right(at)

    monkeypatch.setattr(folders, "sync", seen)
    objects.settle(["a/b/c"])  # the folders above too: their names were not made durable either
    assert synced == [f"{tmp_path}/a/b", f"{tmp_path}/a", str(tmp_path)]


@pytest.mark.parametrize("removed", [".", "a"])
def test_a_folder_that_was_removed_meanwhile_is_an_error_of_ours(tmp_path: Path, removed: str) -> None:
    objects = LocalObjects(tmp_path / "s")
    objects.create("a/b", b"1")
    shutil.rmtree(tmp_path / "s" / removed)
    with pytest.raises(ResourceError, match="No such file") as error:
        objects.settle(["a/b"])
    assert error.value.where == f"{tmp_path}/s/a"
    assert "was removed meanwhile" in (error.value.why or "")
