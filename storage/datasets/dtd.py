"""Describable Textures (Cimpoi et al. 2014): 5,640 images of 47 textures, in ten official partitions.

    dtd/images/<class>/<class>_NNNN.jpg
    dtd/labels/{train,val,test}{1..10}.txt      lines <class>/<file>

"dtd" is partition 1, which VTAB and torchvision use; "dtd:2" to "dtd:10" are the others. A partition only says which
split an image is in. A label is the rank of the class name among the sorted names of the partition's three lists (every
list names all 47, so this is also its rank in each of them).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets.base import DatasetInfo, check_unique
from cvbench.storage.datasets.coop import CoopReader
from cvbench.storage.datasets.files import FileDataset, file_sizes
from cvbench.storage.datasets.forms import COOP, Form
from cvbench.storage.datasets.lists import below, lines
from cvbench.storage.datasets.roots import first_match
from cvbench.storage.folders import listing

_SPLITS = ("train", "val", "test")
_JSON = "split_zhou_DescribableTextures.json"
_FOLDERS = ("", "dtd", "dtd/dtd", "dtd-r1.0.1/dtd")
_FORMS = (*(str(partition) for partition in range(1, 11)), COOP)


class DtdReader(CoopReader):
    """The reader of `dtd`."""

    info = DatasetInfo(
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
    )
    forms = _FORMS
    coop_file = _JSON
    images = "images"

    def locate(self, argument: str, root: Path | None) -> Path | None:
        """The folder with `images/` and `labels/`, or with CoOp's file in the place of the latter."""

        def holds(folder: Path) -> bool:
            lists = any((folder / "labels" / f"{split}1.txt").is_file() for split in _SPLITS)
            return (folder / "images").is_dir() and (lists or (folder / _JSON).is_file())

        return first_match(root, _FOLDERS, holds)

    def read_tree(self, form: Form, folder: Path, split: str) -> FileDataset:
        """In the order of the split's list; "all" is the three lists one after the other."""
        return _read_tree(form, folder, split)


READER = DtdReader()


def _read_tree(form: Form, folder: Path, split: str) -> FileDataset:
    paths = {name: folder / "labels" / f"{name}{form.label}.txt" for name in _SPLITS}
    if missing := [path.name for path in paths.values() if not path.is_file()]:
        raise DataUnavailableError(
            f"{form.spec} lacks {', '.join(missing)}",
            where=str(folder / "labels"),
            why=f"found {listing(folder / 'labels')}",
        )
    listed = {name: [_image(text, place) for place, text in lines(path)] for name, path in paths.items()}
    everything = [image for images in listed.values() for image in images]
    check_unique(everything, str(folder / "labels"))
    classes = sorted({image.split("/")[0] for image in everything})
    ids = everything if split == "all" else listed[split]
    if not ids:
        raise DataUnavailableError(f"{form.spec}/{split} has no images", where=str(folder / "labels"))
    rank = {name: label for label, name in enumerate(classes)}
    return FileDataset(
        name=form.name,
        split=split,
        spec=form.spec,
        classes=tuple(classes),
        ids=tuple(ids),
        labels=np.array([rank[image.split("/")[0]] for image in ids], dtype=np.int64),
        root=folder,
        sizes=file_sizes(folder / "images", ids),
        prefix="images",
    )


def _image(text: str, place: str) -> str:
    image = below(text, place)
    if image.count("/") != 1:
        raise IntegrityError(f"expected <class>/<file>, found {text!r}", where=place)
    return image
