"""Groups of data sets: "@robustness" on the command line stands for its members."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from cvbench.errors import UnknownNameError

_ROBUSTNESS = ("imagenetv2-matched-frequency", "imagenet-a", "imagenet-r", "imagenet-sketch")
_TRANSFER = ("eurosat", "sun397", "flowers102", "dtd", "cifar100", "caltech101", "pets")
_VTAB_NATURAL = ("caltech101:102", "cifar100", "dtd", "flowers102", "pets", "sun397", "svhn")
_VTAB_SPECIALIZED = ("resisc45", "eurosat", "retinopathy")
_VTAB_STRUCTURED = (
    "clevr",
    "clevr:distance",
    "dsprites",
    "dsprites:orientation",
    "kitti",
    "smallnorb",
    "smallnorb:elevation",
)
_SCENES = ("scenes-v2", "scenes-a", "scenes-r", "scenes-sketch")
_SCENES_TRANSFER = (
    "scenes-textures",
    "scenes-counts",
    "scenes-colours",
    "scenes-orientations",
    "scenes-positions",
    "scenes-subclasses",
    "scenes-backgrounds",
)

GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "@robustness": _ROBUSTNESS,
        "@transfer": _TRANSFER,
        "@vtab": (*_VTAB_NATURAL, *_VTAB_SPECIALIZED, *_VTAB_STRUCTURED),
        "@scenes-robustness": _SCENES,
        "@scenes-transfer": _SCENES_TRANSFER,
        "@paper": ("cub200", "cifar10", "imagenet-val", "pug-imagenet", *_ROBUSTNESS, *_TRANSFER),
    }
)
"""What each group holds: shifts of ImageNet, sets to transfer to, 17 of VTAB's 19 tasks, shifts and tasks of `scenes`,
and every set of the study. VTAB's other two are published as HDF5 (Patch Camelyon) and TFRecords (DMLab)."""


def expand(specs: Iterable[str]) -> list[str]:
    """The specs with groups replaced by their members, in order, each once.

    Raises:
        UnknownNameError: There is no such group.

    >>> expand(["cub200", "@robustness"])
    ['cub200', 'imagenetv2-matched-frequency', 'imagenet-a', 'imagenet-r', 'imagenet-sketch']
    """
    found: list[str] = []
    for spec in specs:
        if not spec.startswith("@"):
            found.append(spec)
        elif spec in GROUPS:
            found += GROUPS[spec]
        else:
            raise UnknownNameError.among("group of data sets", spec, GROUPS, fix=f"groups: {', '.join(GROUPS)}")
    return list(dict.fromkeys(found))
