"""dsprites: a .npz file that is read in blocks, against numpy."""

from __future__ import annotations

import hashlib
import io
import math
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.jobs.catalogue.datasets import verify
from cvbench.storage.datasets import dataset_info, key_of_spec, locate, open_dataset
from cvbench.storage.datasets.formats.npz import read_blocks
from tests.storage.datasets.dataset_suite import DatasetTests

FILE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
N = 1_200  # more than one block


def content() -> dict[str, NDArray[Any]]:
    """The arrays of the published file, of fewer images."""
    rng, i = np.random.default_rng(0), np.arange(N)
    latents = np.stack([0 * i, i % 3, i % 6, i % 40, (7 * i) % 32, i % 32], axis=1).astype(np.int64)
    return {
        "imgs": rng.integers(0, 2, (N, 16, 16), dtype=np.uint8).repeat(4, axis=1).repeat(4, axis=2),
        "latents_classes": latents,
        "latents_values": latents.astype(np.float64),
        "metadata": np.array({"title": "a pickle, which is never loaded"}, dtype=object),
    }


def write(folder: Path, stored: bool = False, **other: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save = np.savez if stored else np.savez_compressed
    save(folder / FILE, **{**content(), **other})
    return folder / FILE


class TestLocation(DatasetTests):
    spec = "dsprites"
    splits = ("train", "val", "test")

    def make(self, root: Path) -> None:
        write(root / "dsprites")

    def change(self, root: Path, what: str) -> None:
        row = int(open_dataset("dsprites", data_root=root).ids[3].rpartition("/")[2])
        arrays = content()
        if what == "label":
            arrays["latents_classes"][row, 3:5] = 39, 31
        else:
            arrays["imgs"][row, 9, 9] ^= 1
        write(root / "dsprites", False, **arrays)


class TestOrientation(TestLocation):
    spec = "dsprites:orientation"


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("form", ["location", "orientation"])
def test_agrees_with_numpy(tmp_path: Path, stored: bool, form: str) -> None:
    with np.load(write(tmp_path, stored), allow_pickle=False) as theirs:
        images, latents = theirs["imgs"], theirs["latents_classes"]
    seen: list[int] = []
    for split in ("train", "val", "test"):
        ours = open_dataset(f"dsprites:{form}", data_root=tmp_path, split=split)
        rows = [int(name.removeprefix("dsprites/")) for name in ours.ids]
        assert rows == sorted(rows)
        seen += rows
        for i, row in enumerate(rows):
            assert np.array_equal(ours.read(i), images[row] * 255)
            latent, size = (latents[row, 4], 2) if form == "location" else (latents[row, 3], 2.5)
            assert ours.labels[i] == math.floor(latent / size)
        assert ours.factors["shape"].tolist() == [("square", "ellipse", "heart")[n] for n in latents[rows, 1]]
        for column, name in enumerate(("scale", "orientation", "x", "y"), start=2):
            assert ours.factors[name].tolist() == latents[rows, column].tolist()
    assert sorted(seen) == list(range(N))


def test_the_split_is_by_sha256_80_10_and_10(tmp_path: Path) -> None:
    write(tmp_path)
    ids = [f"dsprites/{i:06d}" for i in range(N)]
    order = sorted(ids, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    parts = {"train": order[:960], "val": order[960:1_080], "test": order[1_080:]}
    for split, names in parts.items():
        assert open_dataset("dsprites", data_root=tmp_path, split=split).ids == tuple(sorted(names))
    assert dataset_info("dsprites").counts == {"train": 589_824, "val": 73_728, "test": 73_728}


def test_the_groups_are_sixteen_of_two_places_and_of_two_or_three_orientations(tmp_path: Path) -> None:
    write(tmp_path)
    location, orientation = (
        open_dataset(f"dsprites:{form}", data_root=tmp_path) for form in ("location", "orientation")
    )
    assert (location.classes[0], location.classes[15], len(location.classes)) == ("x 0 to 1", "x 30 to 31", 16)
    assert orientation.classes[:3] == ("orientation 0 to 2", "orientation 3 to 4", "orientation 5 to 7")
    assert orientation.classes[15] == "orientation 38 to 39"
    assert (location.name, orientation.name) == ("dsprites", "dsprites-orientation")
    assert key_of_spec("dsprites:orientation") == "dsprites-orientation"


def test_verify(tmp_path: Path) -> None:
    write(tmp_path / "dsprites-dataset")
    report = verify("dsprites", tmp_path, split="val", deep=True)
    assert report.splits[0].images == report.splits[0].decoded == 120
    assert report.splits[0].bytes == 120 * 512
    assert [problem.message for problem in report.problems] == ["120 images, 73,728 were published"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert locate("dsprites", data_root=tmp_path) is None
    with pytest.raises(DataUnavailableError, match="not under the data root") as caught:
        open_dataset("dsprites", data_root=tmp_path)
    assert FILE in str(caught.value)


def changed(name: str, where: tuple[int, ...], value: int) -> dict[str, NDArray[Any]]:
    array = content()[name]
    array[where] = value
    return {name: array}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (changed("latents_classes", (5, 0), 1), "the colour of image 5 is 1"),
        (changed("latents_classes", (5, 1), 3), "the shape of image 5 is 3"),
        (changed("latents_classes", (5, 3), 40), "the orientation of image 5 is 40"),
        (changed("latents_classes", (5, 4), -1), "the x of image 5 is -1"),
        (changed("imgs", (1_100, 3, 3), 255), "image 1100 has a pixel of 255"),
        ({"latents_classes": content()["latents_classes"][:-1]}, r"imgs is an array \(1200, 64, 64\)"),
        ({"imgs": content()["imgs"][:-1]}, r"expected 1200 x 64 x 64"),
        ({"imgs": content()["imgs"][:, :32]}, "imgs is an array"),
        ({"imgs": content()["imgs"].astype(np.int8)}, "imgs is an array"),
        ({"imgs": np.asfortranarray(content()["imgs"])}, "order of Fortran"),
        ({"latents_classes": content()["latents_classes"].astype(object)}, "latents_classes is an array"),
        ({"latents_classes": content()["latents_classes"][:0]}, "latents_classes is an array"),
    ],
)
def test_arrays_of_another_form_are_refused(tmp_path: Path, other: dict[str, Any], message: str) -> None:
    path = write(tmp_path, **other)
    with pytest.raises(IntegrityError, match=message) as caught:
        open_dataset("dsprites", data_root=tmp_path)
    assert str(path) in str(caught.value)


def bundle(path: Path, data: bytes, method: int = zipfile.ZIP_DEFLATED, name: str = "a.npy") -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr(name, data)
    return path


def member(shape: tuple[int, ...], data: bytes, version: tuple[int, int] = (1, 0)) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    head = bytearray(buffer.getvalue())
    head[6:8] = version
    return bytes(head) + data


def read(path: Path) -> NDArray[Any]:
    return np.concatenate(list(read_blocks(path, "a", (None,), "|u1", 1 << 40, 4)))


def test_blocks_are_the_array(tmp_path: Path) -> None:
    assert read(bundle(tmp_path / "a", member((10,), bytes(range(10))))).tolist() == list(range(10))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "damaged"),
        (b"<html>", "damaged"),
        (member((10,), bytes(9)), "a ends early"),
        (member((10,), bytes(11)), "more follows after a"),
        (member((10,), bytes(10), (3, 0)), "of version"),
        (member((10,), bytes(10), (9, 9)), "of version"),
        (member((10, 1), bytes(10)), "expected"),
        (member((0,), b""), "expected"),
        (member((-3,), b""), "expected"),
        (np.lib.format.magic(1, 0) + b"\x10\x00__import__('os')", "damaged"),
    ],
)
def test_a_member_that_is_damaged_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = bundle(tmp_path / "a", data)
    with pytest.raises(IntegrityError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_files_are_refused(tmp_path: Path, method: int) -> None:
    for path, message in (
        (bundle(tmp_path / "method", member((10,), bytes(10)), method), "compressed by method"),
        (bundle(tmp_path / "name", member((10,), bytes(10)), name="b.npy"), "there is no 'a' in it; found b.npy"),
    ):
        with pytest.raises(IntegrityError, match=message):
            read(path)
    (tmp_path / "html").write_text("<!DOCTYPE html>")
    with pytest.raises(IntegrityError, match="damaged"):
        read(tmp_path / "html")
    with pytest.raises(DataUnavailableError):
        read(tmp_path / "absent")


def test_a_byte_that_changed_is_found_by_the_checksum(tmp_path: Path) -> None:
    path = bundle(tmp_path / "a", member((1_000,), bytes(1_000)), zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="CRC"):
        read(path)


def test_memory_is_that_of_a_block_whatever_a_file_announces(tmp_path: Path) -> None:
    path = bundle(tmp_path / "a", member((1 << 24,), bytes(1 << 24)))
    bomb = bundle(tmp_path / "b", member((1 << 39,), bytes(1 << 20)))
    tracemalloc.start()
    assert sum(len(block) for block in read_blocks(path, "a", (None,), "|u1", 1 << 40, 1 << 16)) == 1 << 24
    with pytest.raises(IntegrityError, match="ends early"):
        sum(len(block) for block in read_blocks(bomb, "a", (None,), "|u1", 1 << 40, 1 << 16))
    assert tracemalloc.get_traced_memory()[1] < 1 << 21
    tracemalloc.stop()
