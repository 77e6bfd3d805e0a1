"""EuroSAT (Helber et al. 2019), the RGB form: 27,000 satellite images of 64 x 64 in ten kinds of land use.

    2750/<Class>/<Class>_<n>.jpg        n from 1, not padded

There is no official split. Ours has VTAB's counts, 60 % of each class to train, 20 % to validate, 20 % to test, but not
its membership, which follows the order in which TensorFlow Datasets stores the images: here each class is ordered by
SHA-256 of "<Class>/<Class>_<n>.jpg". Within a split images are sorted by class and n. The multispectral form (.tif, 13
bands) is refused: its first bands are not red, green and blue.
"""

from __future__ import annotations

from pathlib import Path

from cvbench.errors import DataUnavailableError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.formats.files import Samples
from cvbench.storage.datasets.formats.lists import shuffled
from cvbench.storage.datasets.forms import COOP
from cvbench.storage.datasets.readers.coop import CoopReader
from cvbench.storage.datasets.readers.tree_reader import Tree, read_classes
from cvbench.storage.datasets.roots import lacks

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


def _read(tree: Tree) -> Samples:
    """By class and number."""
    if missing := [name for name in CLASSES if not (tree.folder / name).is_dir()]:
        raise lacks("eurosat", missing, tree.folder)

    def part(images: list[str]) -> list[str]:
        order, n = shuffled(images), len(images)
        bounds = {"train": (0, n * 3 // 5), "val": (n * 3 // 5, n * 4 // 5), "test": (n * 4 // 5, n)}
        chosen = set(order[slice(*bounds[tree.split])])
        return [image for image in images if image in chosen]

    return read_classes(tree, tree.folder, CLASSES, part, _refuse_bands)


def _refuse_bands(folder: Path, images: list[str]) -> None:
    if any(image.lower().endswith((".tif", ".tiff")) for image in images):
        raise DataUnavailableError(
            "this is the multispectral EuroSAT: 13 bands, of which the first three are not red, green and blue",
            where=str(folder),
            fix=f"get the RGB archive (EuroSAT.zip) from {READER.info.homepage}",
        )


READER = CoopReader(
    info=DatasetInfo(
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
    ),
    forms=("rgb", COOP),
    coop_file=_JSON,
    places=tuple(f"{outer}/{inner}".strip("/") for outer in ("eurosat", "EuroSAT", "") for inner in _INNER),
    holds=lambda folder, root: sum((folder / name).is_dir() for name in CLASSES) > 1,
    read=_read,
)
