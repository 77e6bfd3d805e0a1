"""EuroSAT (Helber et al. 2019), the RGB form: 27,000 satellite images of 64 x 64 in ten kinds of land use.

    2750/<Class>/<Class>_<n>.jpg        n from 1, not padded

There is no official split. Ours has VTAB's counts, 60 % of each class to train, 20 % to validate, 20 % to test, but not
its membership, which follows an order that is not published: here each class is ordered by SHA-256 of
"<Class>/<Class>_<n>.jpg". Within a split images are sorted by class and n. The multispectral form (.tif, 13 bands) is
refused: its first bands are not red, green and blue.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cvbench.errors import DataUnavailableError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.coop import CoopReader
from cvbench.storage.datasets.files import FileDataset, file_sizes
from cvbench.storage.datasets.forms import COOP, Form
from cvbench.storage.datasets.lists import images_of, shuffled
from cvbench.storage.datasets.roots import first_match
from cvbench.storage.folders import listing

CLASSES = (
    "AnnualCrop",
    "Forest",
    "HerbaceousVegetation",
    "Highway",
    "Industrial",
    "Pasture",
    "PermanentCrop",
    "Residential",
    "River",
    "SeaLake",
)
_PARTS = ("train", "val", "test")
_JSON = "split_zhou_EuroSAT.json"
_INNER = ("2750", "EuroSAT_RGB", "")
_FOLDERS = tuple(f"{outer}/{inner}".strip("/") for outer in ("eurosat", "EuroSAT", "") for inner in _INNER)
_FORMS = ("rgb", COOP)


class EurosatReader(CoopReader):
    """The reader of `eurosat`."""

    info = DatasetInfo(
        name="eurosat",
        title="EuroSAT, RGB",
        splits=(*_PARTS, "all"),
        default_split="test",
        counts={"train": 16_200, "val": 5_400, "test": 5_400, "all": 27_000},
        classes=10,
        licence="MIT; Sentinel-2 data of Copernicus, free and open",
        homepage="https://github.com/phelber/EuroSAT",
        tree="[eurosat/]{2750,EuroSAT_RGB}/<Class>/<Class>_<n>.jpg",
        argument="coop",
        notes="train, val, test: 60, 20 and 20 % of each class, in the order of SHA-256 of <Class>/<Class>_<n>.jpg\n"
        f"coop: the splits of {_JSON}",
        split_rule="60, 20 and 20 % of each class by SHA-256 of the path: VTAB's counts, not its members",
    )
    forms = _FORMS
    coop_file = _JSON

    def locate(self, argument: str, root: Path | None) -> Path | None:
        """The folder of the class folders."""
        return first_match(root, _FOLDERS, lambda folder: sum((folder / name).is_dir() for name in CLASSES) > 1)

    def read_tree(self, form: Form, folder: Path, split: str) -> FileDataset:
        """By class and number."""
        return _read_tree(form, folder, split)


READER = EurosatReader()


def _read_tree(form: Form, folder: Path, split: str) -> FileDataset:
    if missing := [name for name in CLASSES if not (folder / name).is_dir()]:
        raise DataUnavailableError(
            f"eurosat lacks {', '.join(missing)}", where=str(folder), why=f"found {listing(folder)}"
        )
    ids: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(CLASSES):
        everything = [f"{name}/{file}" for file in images_of(folder / name)]
        if any(image.lower().endswith((".tif", ".tiff")) for image in everything):
            raise DataUnavailableError(
                "this is the multispectral EuroSAT: 13 bands, of which the first three are not red, green and blue",
                where=str(folder / name),
                fix=f"get the RGB archive (EuroSAT.zip) from {READER.info.homepage}",
            )
        chosen = everything if split == "all" else _part(everything, split)
        ids += chosen
        labels += [label] * len(chosen)
    if not ids:
        raise DataUnavailableError(f"eurosat/{split} has no images", where=str(folder), why=f"found {listing(folder)}")
    return FileDataset(
        name=form.name,
        split=split,
        spec=form.spec,
        classes=CLASSES,
        ids=tuple(ids),
        labels=np.array(labels, dtype=np.int64),
        root=folder,
        sizes=file_sizes(folder, ids),
    )


def _part(images: list[str], split: str) -> list[str]:
    """The images of a split, in the order given."""
    order, n = shuffled(images), len(images)
    bounds = {"train": (0, n * 3 // 5), "val": (n * 3 // 5, n * 4 // 5), "test": (n * 4 // 5, n)}
    chosen = set(order[slice(*bounds[split])])
    return [image for image in images if image in chosen]
