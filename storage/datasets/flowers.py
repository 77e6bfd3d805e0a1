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
from cvbench.storage.datasets.coop import coop_info, open_coop
from cvbench.storage.datasets.files import FileDataset, file_sizes
from cvbench.storage.datasets.flower_names import FLOWERS
from cvbench.storage.datasets.forms import COOP, Form, form_of
from cvbench.storage.datasets.matfile import load_integers
from cvbench.storage.datasets.roots import absent, first_match, listing

_VARIABLE = {"train": "trnid", "val": "valid", "test": "tstid"}
_LABELS, _SETS = "imagelabels.mat", "setid.mat"
_JSON = "split_zhou_OxfordFlowers.json"
_FOLDERS = ("", "flowers-102", "flowers102", "oxford_flowers", "102flowers")
_FORMS = ("official", COOP)


class FlowersReader:
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

    def variant(self, argument: str) -> DatasetInfo:
        """CoOp's splits."""
        return coop_info(self.info, _JSON) if form_of(self.info, argument, _FORMS).label == COOP else self.info

    def locate(self, argument: str, root: Path | None) -> Path | None:
        """The folder with `jpg/` and any of the lists."""

        def holds(folder: Path) -> bool:
            return (folder / "jpg").is_dir() and any((folder / name).is_file() for name in (_LABELS, _SETS, _JSON))

        return first_match(root, _FOLDERS, holds)

    def every_split(self, argument: str, root: Path | None) -> tuple[str, ...]:
        """The splits that together hold every image once."""
        return ("all",)

    def open(self, argument: str, root: Path | None, split: str | None) -> FileDataset:
        """One split, by number of the image."""
        form = form_of(self.info, argument, _FORMS)
        folder = self.locate(argument, root)
        if folder is None:
            raise absent(self.info, root)
        chosen = split or self.info.default_split
        if form.label == COOP:
            return open_coop(form, _JSON, folder / "jpg", chosen)
        if missing := [name for name in (_LABELS, _SETS) if not (folder / name).is_file()]:
            raise DataUnavailableError(
                f"flowers102 lacks {', '.join(missing)}",
                where=str(folder),
                why=f"found {listing(folder)}",
                fix=f"they are separate files at {self.info.homepage}",
            )
        return _read_tree(form, folder, chosen)


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
