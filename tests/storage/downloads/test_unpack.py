"""Archives are taken apart without trusting them."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cvbench.errors import IntegrityError, ResourceError
from cvbench.storage.downloads import unpack as module
from cvbench.storage.downloads.unpack import unpack

FILES = {"birds/jay/a.jpg": b"one" * 1000, "birds/owl/b.jpg": b"two", "birds/empty.txt": b""}


def tar_of(path: Path, *entries: tarfile.TarInfo, mode: str = "w:gz", files: dict[str, bytes] = FILES) -> Path:
    """A tar of files and, behind them, of other entries."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.uid = len(content), 0o6777, 12345
            tar.addfile(info, io.BytesIO(content))
        for entry in entries:
            tar.addfile(entry, io.BytesIO(bytes(entry.size)))
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def zip_of(path: Path, files: dict[str, bytes] = FILES, **attributes: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = attributes.get("mode", 0) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            bundle.writestr(info, content)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def into(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_is_unpacked(tmp_path: Path, into: Path, mode: str) -> None:
    assert unpack(tar_of(tmp_path / "x", entry("birds/new", tarfile.DIRTYPE), mode=mode), into) == 3
    assert contents(into) == FILES
    assert (into / "birds" / "new").is_dir()
    found = (into / "birds" / "owl" / "b.jpg").stat()
    assert stat.S_IMODE(found.st_mode) & 0o7133 == 0  # no setuid, nothing to execute, not everyone's to write
    assert found.st_uid == os.getuid()


def test_a_zip_is_unpacked(tmp_path: Path, into: Path) -> None:
    with zipfile.ZipFile(zip_of(tmp_path / "x.zip"), "a") as bundle:
        bundle.mkdir("birds/new")
    assert unpack(tmp_path / "x.zip", into) == 3
    assert contents(into) == FILES
    assert (into / "birds" / "new").is_dir()


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_what_a_mac_adds_is_left_out(tmp_path: Path, into: Path, pack: Callable[..., Path]) -> None:
    files = {**FILES, "__MACOSX/birds/._a.jpg": b"x", "birds/jay/._a.jpg": b"x"}
    assert unpack(pack(tmp_path / "x", files=files), into) == 3
    assert contents(into) == FILES


@pytest.mark.parametrize("name", ["/etc/evil", "../evil", "birds/../../evil", "..", "birds\\..\\evil", "C:/evil"])
@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, into: Path, name: str, pack: Callable[..., Path]) -> None:
    with pytest.raises(IntegrityError, match="leads out of its folder") as caught:
        unpack(pack(tmp_path / "x", files={name: b"evil"}), into)
    assert name in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"x", "out"}
    assert contents(into) == {}


@pytest.mark.parametrize(
    ("kind", "link"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.SYMTYPE, "birds/jay/a.jpg"),
        (tarfile.LNKTYPE, "birds/jay/a.jpg"),
        (tarfile.LNKTYPE, "../../outside"),
        (tarfile.CHRTYPE, ""),
        (tarfile.BLKTYPE, ""),
        (tarfile.FIFOTYPE, ""),
    ],
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, into: Path, kind: bytes, link: str) -> None:
    with pytest.raises(IntegrityError, match="a link, a device or another special file"):
        unpack(tar_of(tmp_path / "x", entry("birds/evil", kind, link)), into)


def test_a_link_in_a_zip_is_refused(tmp_path: Path, into: Path) -> None:
    with pytest.raises(IntegrityError, match="a link, an encrypted"):
        unpack(zip_of(tmp_path / "x.zip", {"evil": b"/etc/passwd"}, mode=stat.S_IFLNK | 0o777), into)


def test_writing_through_a_link_is_impossible(tmp_path: Path, into: Path) -> None:
    """The second member would be written where the first points, were it created."""
    path = tar_of(tmp_path / "x", entry("out", tarfile.SYMTYPE, str(tmp_path)), entry("out/evil", size=4), files={})
    with pytest.raises(IntegrityError):
        unpack(path, into)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_more_bytes_than_expected_are_refused(tmp_path: Path, into: Path, pack: Callable[..., Path]) -> None:
    bomb = {"zeros": bytes(5_000_000)}
    path = pack(tmp_path / "x", files=bomb)
    assert path.stat().st_size < 50_000
    with pytest.raises(IntegrityError, match="more than 1,000,000 bytes"):
        unpack(path, into, max_bytes=1_000_000)
    assert contents(into) == {}
    assert unpack(path, into) == 1


def test_the_limit_grows_with_the_archive(tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALLOWANCE", 0)
    with pytest.raises(IntegrityError, match="come out of the archive"):
        unpack(zip_of(tmp_path / "x", {"zeros": bytes(5_000_000)}), into)


def test_too_many_files_are_refused(tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 2)
    with pytest.raises(IntegrityError, match="2 files"):
        unpack(tar_of(tmp_path / "x"), into)


def test_a_zip_that_lies_about_a_size_is_refused(tmp_path: Path, into: Path) -> None:
    path = zip_of(tmp_path / "x.zip", {"a": b"x" * 5000})
    data = path.read_bytes()
    path.write_bytes(data.replace((5000).to_bytes(4, "little"), (50).to_bytes(4, "little")))
    with pytest.raises(IntegrityError):
        unpack(path, into)


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


@pytest.mark.parametrize("damage", [cut, flip, lambda data: b"", lambda data: b"<html>404</html>"])
@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_a_damaged_archive_is_refused(
    tmp_path: Path, into: Path, pack: Callable[..., Path], damage: Callable[[bytes], bytes]
) -> None:
    path = pack(tmp_path / "x", files={f"{k}.bin": os.urandom(3_000) for k in range(5)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(IntegrityError, match=r"damaged|not the .* bytes|leads out|special file"):
        unpack(path, into)


def test_a_damaged_header_of_a_tar_is_not_its_end(tmp_path: Path, into: Path) -> None:
    path = tar_of(tmp_path / "x", mode="w")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"birds/owl", b"birds/OWL"))  # the checksum of that header no longer fits
    with pytest.raises(IntegrityError, match="damaged"):
        unpack(path, into)


def test_a_file_where_a_folder_is_needed(tmp_path: Path, into: Path) -> None:
    with pytest.raises(IntegrityError):
        unpack(tar_of(tmp_path / "x", files={"a": b"file", "a/b": b"below it"}), into)


def test_too_little_space(tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESERVE", 1 << 62)
    with pytest.raises(ResourceError, match="not enough space to unpack"):
        unpack(tar_of(tmp_path / "x"), into)
