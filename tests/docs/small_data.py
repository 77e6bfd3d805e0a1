"""Small trees of the data sets that pages show, in their real formats: what `/data` stands for when pages are run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cvbench.storage.annotations import IMAGENET_X_FACTORS
from cvbench.storage.datasets.readers.imagenet_c import CORRUPTIONS
from tests.storage.datasets import imagenet_trees, test_arrow, test_coco
from tests.storage.datasets.cifar_tree import images, labels, write_batch, write_cifar
from tests.storage.datasets.cub_tree import write_cub_of
from tests.storage.datasets.dataset_suite import jpeg
from tests.storage.datasets.imagenet_trees import VAL, put, val_name, wnid_of
from tests.storage.datasets.shard_trees import sample, write_tar
from tests.storage.datasets.transfer_trees import write_dtd, write_pets

BIRDS = ("heron", "owl", "wren")
CUB_IMAGES = 64  # half of them of the test split; below 30 none of its numbers is compared


def write_data(root: Path, *, in_shards: bool = False) -> None:
    """All data sets, below one data root; of `birds` the files, or shards."""
    write_cub_of(root / "CUB_200_2011", CUB_IMAGES)
    write_cifar(root / "cifar-10-batches-py")
    write_batch(root / "cifar-10-batches-py" / "test_batch", images("test_batch", 32), labels("test_batch", 32))
    write_dtd(root / "dtd")
    write_pets(root / "oxford-iiit-pet")
    _write_imagenet(root)
    for number in range(10):
        write_tar(root / "shards" / f"{number:03d}.tar", _samples(number))
    (_write_shards if in_shards else _write_folder)(root / "birds")
    test_arrow.save_splits(root / "beans")
    _write_beans(root / "beans" / "train-00000-of-00001.parquet")


def _write_imagenet(root: Path) -> None:
    imagenet_trees.write_val(root / "imagenet" / "val")
    imagenet_trees.write_v2(root / "imagenetv2" / "imagenetv2-matched-frequency-format-val")
    imagenet_trees.write_a(root / "imagenet-a")
    imagenet_trees.write_r(root / "imagenet-r")
    imagenet_trees.write_sketch(root / "imagenet-sketch" / "sketch")
    for name in CORRUPTIONS:
        for severity in range(1, 6):
            folder = root / "imagenet-c" / name / str(severity)
            for number in (293, 17):
                put(folder / wnid_of(VAL[number]) / val_name(number), jpeg(severity * 1000 + number))
    flags = {name: int(name == "pose") for name in IMAGENET_X_FACTORS}
    free = {"justification": None, "one_word": None}
    lines = [json.dumps({"file_name": val_name(k), "class": label, **flags, **free}) for k, label in VAL.items()]
    put(root / "imagenet_x" / "imagenet_x_val_top_factor.jsonl", ("\n".join(lines) + "\n").encode())
    put(root / "imagenet_x" / "prototypical_paths.csv", f"file_name\n{val_name(17)}\n".encode())


def _write_folder(folder: Path) -> None:
    for k in range(12):
        put(folder / BIRDS[k % 3] / f"{k}.jpg", jpeg(k))


def _write_shards(folder: Path) -> None:
    for split in ("train", "test"):
        write_tar(folder / split / "0.tar", _samples(0))


def _samples(number: int) -> Iterable[tuple[str, bytes]]:
    return [file for k in range(4) for file in sample(f"{number}-{k}", 10 * number + k, k % 3)]


def _write_beans(path: Path) -> None:
    """A file of Parquet whose columns have names of their own."""
    rows = range(8)
    photos = pa.array([jpeg(k) for k in rows], pa.binary())
    pq.write_table(pa.table({"photo": photos, "kind": pa.array([k % 3 for k in rows], pa.int64())}), path)


def write_files(folder: Path) -> None:
    """What pages name in the folder where a reader works: predictions, a file of COCO's."""
    rows = "".join(f"{val_name(number)},{label}\n" for number, label in VAL.items())
    (folder / "predictions.csv").write_text(f"file_name,class\n{rows}")
    test_coco.write(folder)
