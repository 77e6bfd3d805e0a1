"""Oxford Flowers 102 (Nilsback and Zisserman 2008): 8,189 photographs of 102 flowers.

    jpg/image_NNNNN.jpg     NNNNN from 1
    imagelabels.mat         labels: of each image, from 1
    setid.mat               trnid, valid, tstid: numbers of images

The official test split is the large one: 1,020 images to train, 1,020 to validate, 6,149 to test. Much published work
swaps train and test without a word, so compare counts first. Labels become 0-based.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cvbench.errors import IntegrityError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.formats.files import Samples
from cvbench.storage.datasets.formats.matarray import load_integers
from cvbench.storage.datasets.forms import COOP
from cvbench.storage.datasets.readers.coop import CoopReader
from cvbench.storage.datasets.readers.flower_names import FLOWERS
from cvbench.storage.datasets.readers.tree_reader import Tree

_VARIABLE = {"train": "trnid", "val": "valid", "test": "tstid"}
_LABELS, _SETS = "imagelabels.mat", "setid.mat"
_JSON = "split_zhou_OxfordFlowers.json"


def _holds(folder: Path, root: Path) -> bool:
    return (folder / "jpg").is_dir() and any((folder / name).is_file() for name in (_LABELS, _SETS, _JSON))


def _read(tree: Tree) -> Samples:
    """By number of the image."""
    folder = tree.folder
    tree.need(folder, _LABELS, _SETS, fix=f"they are separate files at {tree.info.homepage}")
    labels = load_integers(folder / _LABELS, "labels")["labels"]
    sets = load_integers(folder / _SETS, *_VARIABLE.values())
    if not len(labels) or labels.min() < 1 or labels.max() > len(FLOWERS):
        raise IntegrityError(f"labels are not from 1 to {len(FLOWERS)}", where=str(folder / _LABELS))
    everything = np.concatenate(list(sets.values()))
    if len(everything) and (everything.min() < 1 or everything.max() > len(labels)):
        raise IntegrityError(
            f"image numbers are not from 1 to {len(labels)}, the number of labels", where=str(folder / _SETS)
        )
    if len(np.unique(everything)) != len(everything):
        raise IntegrityError("an image is in two splits, or twice in one", where=str(folder / _SETS))
    images = np.sort(everything if tree.split == "all" else sets[_VARIABLE[tree.split]])
    if not len(images):
        raise tree.empty(folder / _SETS)
    return Samples(FLOWERS, [f"image_{number:05d}.jpg" for number in images], labels[images - 1] - 1)


READER = CoopReader(
    info=DatasetInfo(
        name="flowers102",
        title="Oxford Flowers 102",
        splits=(*_VARIABLE, "all"),
        default_split="test",
        counts={"train": 1_020, "val": 1_020, "test": 6_149, "all": 8_189},
        classes=102,
        licence="none stated; images are their photographers'; cite Nilsback and Zisserman 2008",
        homepage="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        tree=f"[flowers-102/]jpg/image_NNNNN.jpg\n[flowers-102/]{{{_LABELS},{_SETS}}}",
        argument="coop",
        notes=f"coop: the splits of {_JSON}",
    ),
    forms=("official", COOP),
    coop_file=_JSON,
    places=("", "flowers-102", "flowers102", "oxford_flowers", "102flowers"),
    holds=_holds,
    read=_read,
    images="jpg",
)
