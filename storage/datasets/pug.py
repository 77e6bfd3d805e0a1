"""PUG: ImageNet: 88,328 renders of 724 objects of 151 classes; one thing varies at a time (Bordes et al. 2023).

    labels_pug_imagenet.csv                         a row for each image: `filename`, and what was rendered
    class_to_imagenet_idx.json                      the labels; in the authors' repository, not in the archive
    {Worlds,Camera_Pitch,...}/<label>/<image>.png   ten subsets, by what varies in them

A split is one subset ("worlds", "camera-pitch", ...) or "all" that are there. `classes` are the object labels, not
WordNet ids: `pug_classes` says which ImageNet classes each stands for. Without the json they are the folders' names.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.class_tree import holds, named_folders, not_found, read_images
from cvbench.storage.datasets.files import FileDataset
from cvbench.storage.datasets.pug_classes import PUG_FILE, PUG_SUBSETS, read_pug_classes
from cvbench.storage.datasets.roots import first_match
from cvbench.storage.datasets.scan import subfolders
from cvbench.storage.folders import listing

TABLE = "labels_pug_imagenet.csv"
TEXTS = ("world_name", "character_name", "character_texture", "scene_light")
NUMBERS = (
    "camera_pitch",
    "camera_yaw",
    "camera_roll",
    "character_rotation_pitch",
    "character_rotation_yaw",
    "character_rotation_roll",
    "character_scale",
)

_NAMES = ("PUG_ImageNet", "PUG_IMAGENET", "pug-imagenet", "pug_imagenet")
_PLACES = (*_NAMES, *(f"PUG/{name}" for name in _NAMES), "")
_SPLITS = {"all": PUG_SUBSETS} | {name.lower().replace("_", "-"): (name,) for name in PUG_SUBSETS}
_RENDERS = {"Worlds": 64, "Object_Texture": 9, "Scene_Light": 7}  # of each of the 724 objects; elsewhere 6
_COUNTS = {split: sum(724 * _RENDERS.get(name, 6) for name in names) for split, names in _SPLITS.items()}


class PugReader:
    """The reader of `pug-imagenet`."""

    info = DatasetInfo(
        name="pug-imagenet",
        title="PUG: ImageNet, renders with one varying factor",
        splits=tuple(_SPLITS),
        default_split="all",
        counts=_COUNTS,
        classes=151,
        licence="CC BY-NC 4.0, not for training generative models",
        homepage="https://github.com/facebookresearch/PUG",
        tree=f"[PUG_IMAGENET/]{TABLE}\n[PUG_IMAGENET/]{{{','.join(PUG_SUBSETS)}}}/<label>/*.png\n"
        f"[PUG_IMAGENET/]{PUG_FILE} (from the repository)",
        notes="The counts are derived: 724 objects times the values of each factor.",
    )

    def locate(self, argument: str, root: Path | None) -> Path | None:
        """The folder with the table, or with any of the subsets."""
        return first_match(root, _PLACES, lambda folder: (folder / TABLE).is_file() or holds(folder, names=PUG_SUBSETS))

    def every_split(self, argument: str, root: Path | None) -> tuple[str, ...]:
        """The splits that together hold every image once."""
        return ("all",)

    def open(self, argument: str, root: Path | None, split: str | None) -> FileDataset:
        """A subset, or all that are there: by subset, class and file name."""
        folder = self.locate(argument, root)
        if folder is None:
            raise not_found(self.info, root, _PLACES)
        chosen = split or self.info.default_split
        subsets = self._present(folder, chosen)
        classes = _classes(folder)
        index = {label: k for k, label in enumerate(classes)}
        labelled = [
            (label, f"{subset}/{name}")
            for subset in subsets
            for label, name in named_folders(folder / subset, index, self.info)
        ]
        images = read_images(folder, labelled, self.info)
        return FileDataset(
            name=self.info.name,
            split=chosen,
            spec=self.info.name,
            classes=classes,
            ids=images.ids,
            labels=images.labels,
            root=folder,
            sizes=images.sizes,
            left_out=images.left_out,
            factors=self._factors(folder, images.ids),
        )

    def _present(self, folder: Path, split: str) -> list[str]:
        subsets = [name for name in _SPLITS[split] if (folder / name).is_dir()]
        if not subsets:
            raise DataUnavailableError(
                f"{self.info.name}/{split} is not there",
                where=str(folder / _SPLITS[split][0]),
                why=f"expected {', '.join(_SPLITS[split])}; found {listing(folder)}",
                fix=f"unpack that subset; the archive is at {self.info.homepage}",
            )
        return subsets

    def _factors(self, folder: Path, ids: Sequence[str]) -> dict[str, NDArray[Any]]:
        path = folder / TABLE
        if not path.is_file():
            raise DataUnavailableError(
                f"{self.info.name} lacks {TABLE}, which says what varies in each image",
                where=str(folder),
                why=f"found {listing(folder)}",
                fix=f"unpack it from the archive at {self.info.homepage}",
            )
        rows = _rows(path, set(ids))
        if unlisted := [sample for sample in ids if sample not in rows]:
            raise IntegrityError(
                f"{len(unlisted):,} images are not in {TABLE}",
                where=str(folder / unlisted[0]),
                fix="unpack the table and the images of the same archive",
            )
        factors: dict[str, NDArray[Any]] = {
            "subset": np.array([sample.partition("/")[0] for sample in ids], dtype=np.str_)
        }
        texts, numbers = zip(*(rows[sample] for sample in ids), strict=True)
        columns = np.array(numbers, dtype=np.float64)
        factors |= {name: np.array([row[k] for row in texts], dtype=np.str_) for k, name in enumerate(TEXTS)}
        return factors | {name: np.ascontiguousarray(columns[:, k]) for k, name in enumerate(NUMBERS)}


READER = PugReader()


def _classes(folder: Path) -> tuple[str, ...]:
    """The labels of every subset, so that they agree between splits."""
    if (folder / PUG_FILE).is_file():
        return read_pug_classes(folder / PUG_FILE).labels
    present = [folder / name for name in PUG_SUBSETS if (folder / name).is_dir()]
    return tuple(sorted({label for subset in present for label in subfolders(subset)}))


def _rows(path: Path, wanted: set[str]) -> dict[str, tuple[list[str], list[float]]]:
    """Sample -> its texts and its numbers, of the rows that are wanted.

    Raises:
        IntegrityError: A column is missing, a number cannot be read, or an image has two rows.
    """
    table: dict[str, tuple[list[str], list[float]]] = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as handle:
            rows = csv.DictReader(handle)
            needed = ("filename", *TEXTS, *NUMBERS)
            if missing := [name for name in needed if name not in (rows.fieldnames or ())]:
                raise IntegrityError(f"{path.name} has no column {', '.join(missing)}", where=str(path))
            for row in rows:
                sample = "/".join(PurePosixPath(row["filename"] or "").parts[-3:])  # subset, label, file
                if sample not in wanted:
                    continue
                if sample in table:
                    raise IntegrityError(f"{sample} has two rows", where=f"{path}:{rows.line_num}")
                where = f"{path}:{rows.line_num}"
                table[sample] = [row[name] or "" for name in TEXTS], [_number(row, name, where) for name in NUMBERS]
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise IntegrityError(f"{path.name} cannot be read", where=str(path), why=str(err)) from err
    return table


def _number(row: Mapping[str, str | None], name: str, where: str) -> float:
    """A number; NaN for the default, which some columns spell "Default"."""
    text = (row[name] or "").strip()
    if text in ("", "Default"):
        return float("nan")
    try:
        return float(text)
    except ValueError as err:
        raise IntegrityError(f"cannot read the {name} {text!r}", where=where) from err
