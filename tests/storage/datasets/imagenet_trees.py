"""Small trees of the ImageNet family in the real formats, oddities included."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from cvbench.storage.datasets import open_dataset
from cvbench.storage.datasets.readers.imagenet_classes import imagenet_a_wnids, imagenet_r_wnids, imagenet_wnids
from tests.storage.datasets.dataset_suite import jpeg

FLAT = "ILSVRC2012_img_val"
CLASSES = (0, 1, 9, 10, 100, 999)
"""Class indices that the trees of 1000 classes hold; as strings they sort otherwise."""

VAL = {293: 0, 2138: 0, 17: 1, 45_000: 9, 3: 10, 4: 100, 50_000: 999, 1: 999}
"""Image number -> class index."""


def picture(seed: int, mode: str = "RGB", form: str = "JPEG", size: tuple[int, int] = (24, 16)) -> bytes:
    """An image file in any of PIL's modes; `size` is (width, height)."""
    rng = np.random.default_rng(seed)
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65_536, (size[1], size[0]), dtype=np.uint16))
    else:
        image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def put(path: Path, data: bytes) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def wnid_of(label: int) -> str:
    """The WordNet id of a class index."""
    return imagenet_wnids()[label]


def val_name(number: int) -> str:
    """The file name of a validation image."""
    return f"ILSVRC2012_val_{number:08d}.JPEG"


def write_val(folder: Path) -> None:
    """`folder/<WordNet id>/<image>`: one image grey, one CMYK, one a PNG by content; stray files; an empty class."""
    modes = {17: picture(17, "L"), 3: picture(3, "CMYK"), 4: picture(4, "RGBA", "PNG")}
    for number, label in VAL.items():
        put(folder / imagenet_wnids()[label] / val_name(number), modes.get(number, jpeg(number)))
    put(folder / "synset_words.txt", b"n01440764 tench\n")
    put(folder / imagenet_wnids()[0] / "Thumbs.db", b"x")
    put(folder / imagenet_wnids()[0] / "._ILSVRC2012_val_00000293.JPEG", b"x")
    (folder / imagenet_wnids()[500]).mkdir()


def write_flat(folder: Path) -> None:
    """All images in one folder, no labels."""
    for number in VAL:
        put(folder / val_name(number), jpeg(number))


DEVKIT_ID = {index: 1000 - index for index in range(1000)}
"""Class index -> ILSVRC2012_ID: any order but the sorted one."""


def write_devkit(folder: Path, lines: int = 50_000) -> None:
    """`folder/data/` of the development kit; images that `VAL` does not have are of class 500."""
    data = folder / "data"
    data.mkdir(parents=True)
    truth = (DEVKIT_ID[VAL.get(number, 500)] for number in range(1, lines + 1))
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{number}\n" for number in truth))
    (data / "meta.mat").write_bytes(_meta_mat())


@cache
def _meta_mat() -> bytes:
    import scipy.io

    names = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children", "wordnet_height")
    leaves = [
        (DEVKIT_ID[index], wnid, f"word {index}", "a gloss", 0, np.array([]), 0)
        for index, wnid in enumerate(imagenet_wnids())
    ]
    inner = [(1001 + k, f"n0000000{k}", "entity", "a gloss", 2, np.array([1, 2]), 5) for k in range(3)]
    rows = sorted(leaves) + inner
    synsets = np.empty((len(rows), 1), dtype=[(name, object) for name in names])
    for k, row in enumerate(rows):
        synsets[k, 0] = row
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"synsets": synsets})
    return buffer.getvalue()


def write_label_table(path: Path, numbers: Iterable[int] = tuple(VAL)) -> None:
    """`filename_label.csv` of ImageNet-X."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = "".join(f"{val_name(number)},{VAL[number]}\n" for number in numbers)
    path.write_text(f"file_name,label\n{rows}")


def write_v2(folder: Path, name: str = "{}") -> None:
    """ImageNetV2 with class folders "0".. ("{}"), "0000".. ("{:04d}") or of WordNet ids ("wnid")."""
    for label in CLASSES:
        title = imagenet_wnids()[label] if name == "wnid" else name.format(label)
        for k in range(2):
            data = picture(10 * label + k, "L") if (label, k) == (9, 1) else jpeg(10 * label + k)
            put(folder / title / f"{k}a{label:038x}.jpeg", data)
    put(folder / "LICENSE", b"MIT")


def write_a(folder: Path) -> None:
    """ImageNet-A: spaces in file names, README.txt beside the folders."""
    for label in (0, 1, 150, 199):
        wnid = imagenet_a_wnids()[label]
        put(folder / wnid / "0.000116_digital clock _ digital clock_0.865662.jpg", jpeg(label))
        put(folder / wnid / "0.5 toaster.JPG", picture(label + 1000, "CMYK"))
    put(folder / "README.txt", b"natural adversarial examples")


def write_r(folder: Path) -> None:
    """ImageNet-R: file names say the kind of rendition."""
    for label in (0, 1, 150, 199):
        wnid = imagenet_r_wnids()[label]
        put(folder / wnid / "art_2.jpg", jpeg(label))
        put(folder / wnid / "art_10.jpg", picture(label, "P", "PNG"))
        put(folder / wnid / "video_game_0.jpg", picture(label + 1000, "L"))
    put(folder / "README.txt", b"renditions")


def write_sketch(folder: Path) -> None:
    """ImageNet-Sketch: sketch_10 sorts before sketch_2."""
    for label in CLASSES:
        for k in (0, 2, 10):
            put(folder / imagenet_wnids()[label] / f"sketch_{k}.JPEG", picture(100 * label + k, "L"))


PUG_INDICES: Mapping[str, list[int]] = {
    "Wolf": [269, 270, 271, 272],
    "Goldfish": [1],
    "Sweatshirt": [841],
    "Shirt": [841],
    "Bycicle": [671, 444],
}
PUG_COLUMNS = (
    "world_name",
    "character_name",
    "character_label",
    "character_rotation_yaw",
    "character_rotation_roll",
    "character_rotation_pitch",
    "character_scale",
    "camera_roll",
    "camera_pitch",
    "camera_yaw",
    "character_texture",
    "scene_light",
    "filename",
)


def pug_row(subset: str, label: str, k: int) -> dict[str, str]:
    """The row of an image in the table."""
    row = dict.fromkeys(PUG_COLUMNS, "0") | {"character_scale": "1.0", "character_texture": "Default"}
    row |= {"world_name": "City, old" if subset == "Worlds" else "Egypt", "scene_light": "Default"}
    row |= {"character_name": f"{label}_asset", "character_label": label}
    row |= {"camera_yaw": "Default", "camera_roll": str(45 * k) if subset == "Camera_Roll" else "Default"}
    return row | {"filename": f"{subset}/{label}/{label}_{k}.png"}


def write_pug(folder: Path, subsets: Iterable[str] = ("Worlds", "Camera_Roll", "Scene_Light")) -> None:
    """PUG: ImageNet with its table and labels."""
    rows = []
    for number, subset in enumerate(subsets):
        for label in PUG_INDICES:
            for k in range(2):
                row = pug_row(subset, label, k)
                rows.append(row)
                put(folder / row["filename"], picture(100 * number + k, "RGBA" if k else "RGB", "PNG"))
    write_pug_table(folder / "labels_pug_imagenet.csv", rows)
    (folder / "class_to_imagenet_idx.json").write_text(json.dumps(PUG_INDICES))


def write_pug_table(path: Path, rows: Iterable[Mapping[str, str]], columns: Iterable[str] = PUG_COLUMNS) -> None:
    """The table, with quotes where a cell has a comma."""
    import csv

    with open(path, "w", newline="") as handle:
        writer = csv.DictWriter(handle, list(columns), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def write_cue(folder: Path, categories: Iterable[str]) -> None:
    """Cue conflict: each shape with two textures and with its own."""
    names = list(categories)
    for k, shape in enumerate(names):
        for texture in (names[(k + 1) % len(names)], names[(k + 5) % len(names)], shape):
            put(folder / shape / f"{shape}{k}-{texture}{k + 1}.png", picture(k, form="PNG"))


def labels_by_number(root: Path) -> dict[int, int]:
    """The labels of the validation images that are found there, by their numbers."""
    dataset = open_dataset("imagenet-val", data_root=root)
    return dict(zip(dataset.factors["image_number"].tolist(), dataset.labels.tolist(), strict=True))
