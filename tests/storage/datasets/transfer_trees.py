"""Write small trees of the transfer data sets in their real formats, with the quirks of the real ones."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from tests.storage.datasets.dataset_suite import jpeg

CALTECH = {"BACKGROUND_Google": 33, "Faces": 32, "Faces_easy": 31, "airplanes": 34, "accordion": 31}
EUROSAT_IMAGES = 10  # of each class
SUN_CLASSES = ("/a/abbey", "/c/church/indoor", "/c/church/outdoor", "/o/outdoor")

# id of the image -> (class from 1, 1 cat or 2 dog, breed within the species), in the order of a list
PETS = {
    "trainval": {
        "Abyssinian_100": (1, 1, 1),
        "american_bulldog_2": (2, 2, 1),
        "Bengal_3": (3, 1, 2),
        "american_bulldog_10": (2, 2, 1),
    },
    "test": {"Bengal_11": (3, 1, 2), "american_bulldog_1": (2, 2, 1), "Abyssinian_5": (1, 1, 1)},
}
FLOWER_LABELS = (77, 1, 102, 5, 5, 1, 77, 30)
FLOWER_SETS = {"trnid": (4, 1), "valid": (8,), "tstid": (3, 7, 2, 6, 5)}
DTD_PARTITIONS = {
    1: {
        "train": ("banded/banded_0002.jpg", "dotted/dotted_0001.jpg"),
        "val": ("dotted/dotted_0003.jpg", "banded/banded_0004.jpg"),
        "test": ("banded/banded_0005.jpg", "dotted/dotted_0010.jpg"),
    },
    2: {
        "train": ("dotted/dotted_0010.jpg", "banded/banded_0002.jpg"),
        "val": ("banded/banded_0005.jpg", "dotted/dotted_0001.jpg"),
        "test": ("dotted/dotted_0003.jpg", "banded/banded_0004.jpg"),
    },
}


def put(path: Path, content: bytes | str) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def write_caltech(folder: Path, counts: Mapping[str, int] = CALTECH) -> None:
    """`folder` gets 101_ObjectCategories; image 1 of a class is its own, grey in one, the others are all alike."""
    alike = jpeg(0)
    for k, (name, count) in enumerate(counts.items()):
        for number in range(1, count + 1):
            content = jpeg(k + 1, mode="L" if name == "accordion" else "RGB") if number == 1 else alike
            put(folder / "101_ObjectCategories" / name / f"image_{number:04d}.jpg", content)


def write_dtd(folder: Path) -> None:
    """`folder` becomes what the archive calls dtd, with two of its partitions."""
    for k, name in enumerate(sorted({image for part in DTD_PARTITIONS[1].values() for image in part})):
        put(folder / "images" / name, jpeg(k))
    for number, splits in DTD_PARTITIONS.items():
        for split, names in splits.items():
            put(folder / "labels" / f"{split}{number}.txt", "".join(f"{name}\n" for name in names))
    put(folder / "labels" / "labels_joint_anno.txt", "banded/banded_0002.jpg banded \n")
    put(folder / "images" / "banded" / ".directory", "a stray file, as the archive has them")


def write_eurosat(folder: Path) -> None:
    """`folder` becomes what the archive calls 2750."""
    from cvbench.storage.datasets.readers.eurosat import CLASSES

    for k, name in enumerate(CLASSES):
        for number in range(1, EUROSAT_IMAGES + 1):
            put(folder / name / f"{name}_{number}.jpg", jpeg(k, size=(8, 8)))


def write_flowers(folder: Path, *, rows: bool = True) -> None:
    """`folder` gets jpg/ and the two .mat files; lists are (1, N) as in the archive, or (N, 1)."""
    for number in range(1, len(FLOWER_LABELS) + 1):
        put(folder / "jpg" / f"image_{number:05d}.jpg", jpeg(number))
    shape = (1, -1) if rows else (-1, 1)
    savemat(folder / "imagelabels.mat", {"labels": np.array(FLOWER_LABELS, np.uint8).reshape(shape)})
    sets = {name: np.array(numbers, np.uint16).reshape(shape) for name, numbers in FLOWER_SETS.items()}
    savemat(folder / "setid.mat", sets)


def write_pets(folder: Path) -> None:
    """`folder` gets images/ and annotations/, with what else the archives hold."""
    for split, entries in PETS.items():
        text = "".join(f"{image} {' '.join(map(str, numbers))}\n" for image, numbers in entries.items())
        put(folder / "annotations" / f"{split}.txt", text)
        for k, image in enumerate(entries):
            put(folder / "images" / f"{image}.jpg", png_palette() if image == "Abyssinian_5" else jpeg(k))
            put(folder / "annotations" / "trimaps" / f"{image}.png", png_palette())
            put(folder / "annotations" / "trimaps" / f"._{image}.png", "AppleDouble")
    put(folder / "images" / "Abyssinian_100.mat", "not an image")
    put(folder / "annotations" / "list.txt", "#Image CLASS-ID SPECIES BREED ID\n#ID: 1:37 Class ids\nnot read\n")
    put(folder / "annotations" / "._trainval.txt", b"\0\5\x16\7")


def sun_images(name: str, count: int = 4) -> list[str]:
    """Lines of a partition's list."""
    stem = name.strip("/").replace("/", "")
    return [f"{name}/sun_{stem[::-1]}{chr(97 + 3 * k % 4)}.jpg" for k in range(count)]


def write_sun(folder: Path, partitions: Path) -> None:
    """`folder` becomes what the archive calls SUN397; the lists of two partitions go to `partitions`."""
    for k, name in enumerate(SUN_CLASSES):
        for j, line in enumerate(sun_images(name)):
            put(folder / line.strip("/"), png_palette() if j == 3 else jpeg(10 * k + j))
    put(folder / "a" / "abbey" / "notes.txt", "no image")
    put(folder / "ClassName.txt", "".join(f"{name}\n" for name in SUN_CLASSES))
    for number in (1, 2):
        for split, start in {"Training": number - 1, "Testing": number + 1}.items():
            chosen = [line for name in SUN_CLASSES for line in (sun_images(name) * 2)[start : start + 2]]
            put(partitions / f"{split}_{number:02d}.txt", "\r\n".join(chosen) + "\r\n")


def write_coop(path: Path, splits: Mapping[str, Sequence[tuple[str, int, str]]]) -> None:
    """A file split_zhou_<Name>.json."""
    put(path, json.dumps({split: [list(entry) for entry in entries] for split, entries in splits.items()}, indent=4))


def png_palette() -> bytes:
    """A PNG with a palette: what some files called .jpg really are."""
    buffer = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8), "L").convert("P").save(buffer, "PNG")
    return buffer.getvalue()
