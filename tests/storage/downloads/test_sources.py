"""Sources of the ImageNet family and of VTAB, served as their archives are laid out, become data sets that open."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cvbench.errors import IntegrityError
from cvbench.storage.annotations import SHAPE_CATEGORIES, load_pug_classes, load_real
from cvbench.storage.datasets import open_dataset
from cvbench.storage.downloads import SOURCES, Placed, Source, place
from tests.storage.datasets import imagenet_trees as trees
from tests.storage.datasets import test_clevr, test_dsprites, test_kitti, test_smallnorb, test_svhn
from tests.storage.downloads.file_server import FileServer, serving


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with serving() as state:
        yield state


def packed(folder: Path, top: str, kind: str, without: str = "") -> bytes:
    """What is in a folder, under `top`, as "tar", "gz" (a compressed tar) or "zip"."""
    buffer = io.BytesIO()
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != without]
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            for path in files:
                archive.write(path, f"{top}/{path.relative_to(folder)}")
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz" if kind == "gz" else "w:") as tar:
            for path in files:
                tar.add(path, f"{top}/{path.relative_to(folder)}")
    return buffer.getvalue()


def served(dataset: str, server: FileServer, *contents: bytes) -> Source:
    """The source with its archives on the server, and the checksums of what is there where any are published."""
    source, archives = SOURCES[dataset], []
    for archive, content in zip(source.archives, contents, strict=True):
        server.files[f"/{archive.file}"] = content
        sha256 = hashlib.sha256(content).hexdigest() if archive.vouched else None
        url = f"{server.url}/{archive.file}"
        archives.append(replace(archive, urls=(url,), md5=None, sha256=sha256, size=len(content)))
    return replace(source, archives=tuple(archives))


def put(source: Source, root: Path) -> Placed:
    return place(source, root, listen=lambda *_: None, pause=0.0)


CASES: list[tuple[str, Callable[[Path], None], str, str]] = [
    *(
        (f"imagenetv2-{variant}", trees.write_v2, f"imagenetv2-{folder}-format-val", "tar")
        for variant, folder in (
            ("matched-frequency", "matched-frequency"),
            ("threshold-0.7", "threshold0.7"),
            ("top-images", "top-images"),
        )
    ),
    ("imagenet-a", trees.write_a, "imagenet-a", "tar"),
    ("imagenet-r", trees.write_r, "imagenet-r", "tar"),
    ("imagenet-sketch", trees.write_sketch, "sketch", "zip"),
    ("cue-conflict", lambda folder: trees.write_cue(folder, SHAPE_CATEGORIES), "cue-conflict", "gz"),
]


@pytest.mark.parametrize(("dataset", "write", "top", "kind"), CASES, ids=[case[0] for case in CASES])
def test_an_archive_of_its_layout_opens(
    server: FileServer,
    tmp_path: Path,
    dataset: str,
    write: Callable[[Path], None],
    top: str,
    kind: str,
) -> None:
    write(tmp_path / "made")
    placed = put(served(dataset, server, packed(tmp_path / "made", top, kind)), tmp_path / "data")
    assert placed.folder == tmp_path / "data" / SOURCES[dataset].folder
    opened = open_dataset(dataset, data_root=tmp_path / "data")
    assert opened.name == dataset
    images = [path for path in (tmp_path / "made").rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png")]
    assert len(opened) == len(images) > 0


def test_the_files_of_svhn_small_norb_and_dsprites_are_used_as_they_are(server: FileServer, tmp_path: Path) -> None:
    for dataset, write in (
        ("svhn", test_svhn.write),
        ("smallnorb", lambda folder: test_smallnorb.write(folder, packed=True)),
        ("dsprites", test_dsprites.write),
    ):
        made, root = tmp_path / "made" / dataset, tmp_path / "data"
        write(made)
        contents = [(made / archive.file).read_bytes() for archive in SOURCES[dataset].archives]
        put(served(dataset, server, *contents), root)
        for split in ("train", "test"):
            ours, theirs = (open_dataset(dataset, data_root=place, split=split) for place in (root, made))
            assert ours.digest == theirs.digest


def test_the_archives_of_clevr_and_kitti_open(server: FileServer, tmp_path: Path) -> None:
    test_clevr.write(tmp_path / "clevr")
    put(served("clevr", server, packed(tmp_path / "clevr", "CLEVR_v1.0", "zip")), tmp_path / "data")
    assert len(open_dataset("clevr", data_root=tmp_path / "data")) == test_clevr.IMAGES["val"]
    test_kitti.write(tmp_path / "kitti", "")
    folders = ("training/image_2", "training/label_2", "mapping")
    zips = [packed(tmp_path / "kitti" / folder, folder, "zip") for folder in folders]
    put(served("kitti", server, *zips), tmp_path / "data")
    ours, theirs = (open_dataset("kitti", data_root=root) for root in (tmp_path / "data", tmp_path / "kitti"))
    assert ours.digest == theirs.digest


@pytest.mark.parametrize("top", ["PUG_ImageNet", "PUG_IMAGENET"])
def test_pugs_labels_are_put_beside_its_table(server: FileServer, tmp_path: Path, top: str) -> None:
    trees.write_pug(tmp_path / "made")
    archive = packed(tmp_path / "made", top, "gz", without="class_to_imagenet_idx.json")
    labels = (tmp_path / "made" / "class_to_imagenet_idx.json").read_bytes()
    root = tmp_path / "data"
    put(served("pug-imagenet", server, archive, labels), root)
    assert (root / "PUG" / top / "class_to_imagenet_idx.json").read_bytes() == labels
    assert load_pug_classes(root).labels == open_dataset("pug-imagenet", data_root=root).classes


def test_annotations_are_found_from_the_data_root(server: FileServer, tmp_path: Path) -> None:
    content = ("[" + ",".join(f"[{i % 1000}]" for i in range(50_000)) + "]").encode()
    put(served("imagenet-real", server, content), tmp_path / "data")
    assert load_real(tmp_path / "data")["ILSVRC2012_val_00000003"] == (2,)


def test_what_is_published_is_held_against_what_comes(server: FileServer, tmp_path: Path) -> None:
    """The table's own checksum and size, not those of the test: another file is not taken."""
    (archive,) = SOURCES["imagenet-real"].archives
    server.files["/real.json"] = b"[]" * 194_239
    assert len(server.files["/real.json"]) == archive.size
    source = replace(SOURCES["imagenet-real"], archives=(replace(archive, urls=(f"{server.url}/real.json",)),))
    with pytest.raises(IntegrityError, match="expected d83e9bff"):
        put(source, tmp_path / "data")
