"""Describable Textures (Cimpoi et al. 2014): 5,640 images of 47 textures, in ten official partitions.

    dtd/images/<class>/<class>_NNNN.jpg
    dtd/labels/{train,val,test}{1..10}.txt      lines <class>/<file>

"dtd" is partition 1, which VTAB and torchvision use; "dtd:2" to "dtd:10" are the others. A partition only says which
split an image is in. A label is the rank of the class name among the sorted names of the partition's three lists (every
list names all 47, so this is also its rank in each of them).
"""

from __future__ import annotations

from pathlib import Path

from cvbench.errors import IntegrityError
from cvbench.storage.datasets.base import DatasetInfo, check_unique
from cvbench.storage.datasets.formats.files import Samples
from cvbench.storage.datasets.formats.lists import below, lines
from cvbench.storage.datasets.forms import COOP
from cvbench.storage.datasets.readers.coop import CoopReader
from cvbench.storage.datasets.readers.tree_reader import Tree

_SPLITS = ("train", "val", "test")
_JSON = "split_zhou_DescribableTextures.json"


def _holds(folder: Path, root: Path) -> bool:
    """Whether there is `images/`, and the lists or CoOp's file."""
    lists = any((folder / "labels" / f"{split}1.txt").is_file() for split in _SPLITS)
    return (folder / "images").is_dir() and (lists or (folder / _JSON).is_file())


def _read(tree: Tree) -> Samples:
    """In the order of the split's list; "all" is the three lists one after the other."""
    folder = tree.folder / "labels"
    paths = {name: folder / f"{name}{tree.form.label}.txt" for name in _SPLITS}
    tree.need(folder, *(path.name for path in paths.values()))
    listed = {name: [_image(text, place) for place, text in lines(path)] for name, path in paths.items()}
    everything = [image for images in listed.values() for image in images]
    check_unique(everything, str(folder))
    classes = sorted({image.split("/")[0] for image in everything})
    ids = everything if tree.split == "all" else listed[tree.split]
    if not ids:
        raise tree.empty(folder)
    rank = {name: label for label, name in enumerate(classes)}
    return Samples(classes, ids, [rank[image.split("/")[0]] for image in ids])


def _image(text: str, place: str) -> str:
    image = below(text, place)
    if image.count("/") != 1:
        raise IntegrityError(f"expected <class>/<file>, found {text!r}", where=place)
    return image


READER = CoopReader(
    info=DatasetInfo(
        name="dtd",
        title="Describable Textures (DTD)",
        splits=(*_SPLITS, "all"),
        default_split="test",
        counts={"train": 1_880, "val": 1_880, "test": 1_880, "all": 5_640},
        classes=47,
        licence="none stated; research purposes, cite Cimpoi et al. 2014",
        homepage="https://www.robots.ox.ac.uk/~vgg/data/dtd/",
        tree="[dtd/]dtd/images/<class>/<class>_NNNN.jpg\n[dtd/]dtd/labels/{train,val,test}{1..10}.txt",
        argument="1..10|coop",
        notes=f"1..10: the official partition, 1 if none is given; coop: the splits of {_JSON}",
    ),
    forms=(*(str(partition) for partition in range(1, 11)), COOP),
    coop_file=_JSON,
    places=("", "dtd", "dtd/dtd", "dtd-r1.0.1/dtd"),
    holds=_holds,
    read=_read,
    images="images",
)
