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

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.coop import CoopReader
from cvbench.storage.datasets.files import FileDataset, file_sizes
from cvbench.storage.datasets.flower_names import FLOWERS
from cvbench.storage.datasets.forms import COOP, Form
from cvbench.storage.datasets.matfile import load_integers
from cvbench.storage.datasets.roots import first_match
from cvbench.storage.folders import listing

_VARIABLE = {"train": "trnid", "val": "valid", "test": "tstid"}
_LABELS, _SETS = "imagelabels.mat", "setid.mat"
_JSON = "split_zhou_OxfordFlowers.json"
_FOLDERS = ("", "flowers-102", "flowers102", "oxford_flowers", "102flowers")
_FORMS = ("official", COOP)


class FlowersReader(CoopReader):
    """The reader of `flowers102`."""

    info = DatasetInfo(
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
    )
    forms = _FORMS
    coop_file = _JSON
    images = "jpg"

    def locate(self, argument: str, root: Path | None) -> Path | None:
        """The folder with `jpg/` and any of the lists."""

        def holds(folder: Path) -> bool:
            return (folder / "jpg").is_dir() and any((folder / name).is_file() for name in (_LABELS, _SETS, _JSON))

        return first_match(root, _FOLDERS, holds)

    def read_tree(self, form: Form, folder: Path, split: str) -> FileDataset:
        """By number of the image."""
        if missing := [name for name in (_LABELS, _SETS) if not (folder / name).is_file()]:
            raise DataUnavailableError(
                f"flowers102 lacks {', '.join(missing)}",
                where=str(folder),
                why=f"found {listing(folder)}",
                fix=f"they are separate files at {self.info.homepage}",
            )
        return _read_tree(form, folder, split)


READER = FlowersReader()


def _read_tree(form: Form, folder: Path, split: str) -> FileDataset:
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
    images = np.sort(everything if split == "all" else sets[_VARIABLE[split]])
    if not len(images):
        raise DataUnavailableError(f"flowers102/{split} has no images", where=str(folder / _SETS))
    ids = tuple(f"image_{number:05d}.jpg" for number in images)
    return FileDataset(
        name=form.name,
        split=split,
        spec=form.spec,
        classes=FLOWERS,
        ids=ids,
        labels=labels[images - 1] - 1,
        root=folder,
        sizes=file_sizes(folder / "jpg", ids),
        prefix="jpg",
    )
