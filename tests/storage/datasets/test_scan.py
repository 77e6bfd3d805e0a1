"""What lies in a folder, each file looked at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets.formats.files import ABSENT, file_sizes
from cvbench.storage.datasets.formats.scan import image_files, subfolders


def test_images_are_sorted_as_strings_and_have_the_sizes_of_the_files(tmp_path: Path) -> None:
    names = ["b.JPEG", "a10.png", "a2.jpg", "Z.webp", "with space.JPG", "é.jpg"]
    for k, name in enumerate(names):
        (tmp_path / name).write_bytes(b"x" * k)
    for other in (".hidden.jpg", "notes.txt", "jpg", "._a2.jpg"):
        (tmp_path / other).touch()
    (tmp_path / "folder.jpg").mkdir()
    found = image_files(tmp_path)
    assert [name for name, _ in found] == sorted(names)
    assert [size for _, size in found] == file_sizes(tmp_path, sorted(names)).tolist()


def test_no_file_is_looked_at_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(b"xx")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a second look at a file")

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refuse)
        patch.setattr(os, "lstat", refuse)
        found = image_files(tmp_path)
    assert found == [("a.jpg", 2)]


def test_what_is_no_regular_file_is_absent(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "real.dat").write_bytes(b"abc")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "real.dat")
    assert image_files(tmp_path) == [("broken.jpg", ABSENT), ("link.jpg", 3), ("pipe.jpg", ABSENT)]


def test_folders_include_links_and_leave_out_hidden_ones(tmp_path: Path) -> None:
    for name in ("b", "A", ".git"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "b")
    (tmp_path / "file").touch()
    assert subfolders(tmp_path) == ["A", "b", "link"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError, match="cannot be read") as caught:
        image_files(tmp_path / "nowhere")
    assert "nowhere" in str(caught.value)


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"\xff.jpg")).touch()
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    with pytest.raises(IntegrityError, match="UTF-8"):
        image_files(tmp_path)
