"""What others have noted about images of ImageNet, and how classes of other data sets map to its 1000.

An annotation is found by an image's stem (`image_stem`): its base name without suffix. The files are the user's, since
their licences do not let them be shipped; one that is missing says where to get it.
"""

from __future__ import annotations

from cvbench.storage.annotations.flags import flags_in_table
from cvbench.storage.annotations.imagenet_x import (
    IMAGENET_X_FACTORS,
    METACLASSES,
    ImageNetX,
    load_imagenet_x,
    load_metaclasses,
)
from cvbench.storage.annotations.pug import load_pug_classes
from cvbench.storage.annotations.real import load_real
from cvbench.storage.datasets.readers.class_tree import image_stem
from cvbench.storage.datasets.readers.cue_conflict import SHAPE_CATEGORIES, shape_indices
from cvbench.storage.datasets.readers.pug_classes import PUG_GROUPS, PUG_SUBSETS, PugClasses

__all__ = [
    "IMAGENET_X_FACTORS",
    "METACLASSES",
    "PUG_GROUPS",
    "PUG_SUBSETS",
    "SHAPE_CATEGORIES",
    "ImageNetX",
    "PugClasses",
    "flags_in_table",
    "image_stem",
    "load_imagenet_x",
    "load_metaclasses",
    "load_pug_classes",
    "load_real",
    "shape_indices",
]
