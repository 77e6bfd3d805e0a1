"""PUG: ImageNet's labels, from the authors' repository or from beside the images."""

from __future__ import annotations

from pathlib import Path

from cvbench.storage.annotations.find import find_file
from cvbench.storage.datasets.readers.pug_classes import PUG_FILE, PugClasses, read_pug_classes

_FOLDERS = ("PUG_ImageNet", "PUG_IMAGENET", "pug-imagenet", "PUG/PUG_ImageNet", "PUG/PUG_IMAGENET")
_HOMEPAGE = "https://github.com/facebookresearch/PUG (folder PUG_ImageNet)"


def load_pug_classes(place: str | Path) -> PugClasses:
    """Read the ImageNet classes that each label of PUG: ImageNet stands for.

    Args:
        place: The json file, its folder, a checkout of the repository, or the data root.

    Raises:
        DataUnavailableError: The file is not there.
        IntegrityError: It is no map of labels to class indices.
    """
    return read_pug_classes(find_file(place, (PUG_FILE,), _FOLDERS, "PUG: ImageNet", _HOMEPAGE))
