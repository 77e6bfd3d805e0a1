"""ImageNet-C (Hendrycks & Dietterich 2019): the validation images with 15 corruptions, each at 5 severities.

    [imagenet-c/][noise|blur|weather|digital|extra/]<corruption>/<severity>/<WordNet id>/ILSVRC2012_val_NNNNNNNN.JPEG

"imagenet-c:fog" is one corruption, 250,000 images; "imagenet-c" all 15, 3,750,000 (about 1 GB of memory for their
names); "imagenet-c:gaussian_blur" and the other three of the archive `extra` are not among the 15. Severity, from 1 to
5, and corruption are factors. The images have 224 x 224 pixels already, and were compressed again: they are not those
of a corruption that is computed anew.

The error of a corruption is the mean over its severities, which have as many images: 1 - top1 of the data set. What
divides it by AlexNet's is `cvbench eval corruptions`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.formats.files import Samples
from cvbench.storage.datasets.forms import Form, form_of
from cvbench.storage.datasets.left_out import joined
from cvbench.storage.datasets.readers.class_tree import holds, named_folders, read_images
from cvbench.storage.datasets.readers.imagenet import image_numbers
from cvbench.storage.datasets.readers.imagenet_classes import class_indices, imagenet_wnids
from cvbench.storage.datasets.readers.tree_reader import Tree, TreeReader
from cvbench.storage.datasets.roots import lacks

ARCHIVES = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
CORRUPTIONS = tuple(name for names in ARCHIVES.values() for name in names)
SEVERITIES = (1, 2, 3, 4, 5)
ALL = "all"
_IMAGES = 50_000


@dataclass(frozen=True, eq=False, kw_only=True)
class CorruptionReader(TreeReader):
    """The reader: a form for each corruption, and one of all 15."""

    forms: tuple[str, ...] = (ALL, *CORRUPTIONS, *EXTRA)

    def form(self, argument: str) -> Form:
        """The form that the argument names.

        Raises:
            UnknownNameError: There is no such corruption.
        """
        return form_of(self.info, argument, self.forms)

    def variant(self, argument: str) -> DatasetInfo:
        """Facts known of a form."""
        if self.form(argument).label == ALL:
            return self.info
        return replace(self.info, counts={"test": len(SEVERITIES) * _IMAGES})


def _place(folder: Path, corruption: str) -> Path | None:
    """The folder of a corruption, below that of its archive or not."""
    groups = ("", *(name for name, names in ARCHIVES.items() if corruption in names), "extra")
    return next((folder / one / corruption for one in groups if (folder / one / corruption).is_dir()), None)


def _holds(folder: Path, root: Path) -> bool:
    return any(
        found is not None and any(holds(found / str(severity), wnids=True) for severity in SEVERITIES)
        for found in (_place(folder, name) for name in (*CORRUPTIONS, *EXTRA))
    )


def _read(tree: Tree) -> Samples:
    """By corruption, severity, class and number."""
    wanted = CORRUPTIONS if tree.form.label == ALL else (tree.form.label,)
    parts = [(name, severity, folder) for name in wanted for severity, folder in _folders(tree, name)]
    found = [_images(tree, folder) for *_, folder in parts]
    counts = [len(one.ids) for one in found]
    factors = {
        "corruption": np.repeat(np.array([name for name, *_ in parts], dtype=np.str_), counts),
        "severity": np.repeat(np.array([severity for _, severity, _ in parts], dtype=np.int64), counts),
    }
    return Samples(
        imagenet_wnids(),
        [name for one in found for name in one.ids],
        [label for one in found for label in one.labels],
        np.concatenate([np.asarray(one.sizes) for one in found]),
        factors,
        joined([entry for one in found for entry in one.left_out]),
    )


def _folders(tree: Tree, corruption: str) -> list[tuple[int, Path]]:
    """Severity and folder, all five of a corruption."""
    place = _place(tree.folder, corruption)
    if place is None:
        archive = next((one for one, names in ARCHIVES.items() if corruption in names), "extra")
        raise lacks(tree.form.spec, [f"{corruption}/"], tree.folder, f"unpack {archive}.tar there")
    found = [(severity, place / str(severity)) for severity in SEVERITIES]
    if missing := [f"{corruption}/{severity}/" for severity, folder in found if not folder.is_dir()]:
        raise lacks(tree.form.spec, missing, place, "unpack the archive again: an error is a mean over all")
    return found


def _images(tree: Tree, folder: Path) -> Samples:
    """The images of one severity; ids start at the tree's folder."""
    found = read_images(folder, imagenet_wnids(), named_folders(folder, class_indices(), tree.info), tree.info)
    image_numbers(folder, found.ids)  # refuses other names
    start = folder.relative_to(tree.folder).as_posix()
    return replace(found, ids=[f"{start}/{one}" for one in found.ids])


READER = CorruptionReader(
    info=DatasetInfo(
        name="imagenet-c",
        title="ImageNet-C, common corruptions",
        splits=("test",),
        default_split="test",
        counts={"test": len(CORRUPTIONS) * len(SEVERITIES) * _IMAGES},
        classes=1000,
        licence="images are their owners'; see the homepage",
        homepage="https://github.com/hendrycks/robustness",
        tree="[imagenet-c/][noise|blur|weather|digital|extra/]<corruption>/{1..5}/<WordNet id>/ILSVRC2012_val_*.JPEG",
        argument="CORRUPTION",
        notes=f"CORRUPTION: {', '.join(CORRUPTIONS)}; beside the 15: {', '.join(EXTRA)}",
    ),
    places=("imagenet-c", "ImageNet-C", "imagenet_c", "imagenet/imagenet-c", ""),
    holds=_holds,
    read=_read,
    covering=("test",),
)
