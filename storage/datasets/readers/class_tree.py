"""Trees of class folders whose classes are known beforehand: `<folder>/<class>/<image>`.

The label comes from the folder's name, never from its rank: a rank would shift with the first folder that is missing.
So a tree may be incomplete (`cvbench datasets verify` reports what is missing), but it may not hold a folder that is no
class, since then it is another data set than it is taken for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.formats.files import Samples
from cvbench.storage.datasets.formats.scan import image_files, subfolders, visible
from cvbench.storage.datasets.left_out import Tally
from cvbench.storage.datasets.readers.imagenet_classes import WNID
from cvbench.storage.objects.folders import listing


def image_stem(sample: str) -> str:
    """The base name without suffix: what the annotations of an image are found by.

    >>> image_stem("n01440764/ILSVRC2012_val_00000293.JPEG")
    'ILSVRC2012_val_00000293'
    """
    name = sample.rpartition("/")[2]
    return name.rpartition(".")[0] or name


def is_number(name: str) -> bool:
    """Whether a folder is named by digits only."""
    return name.isascii() and name.isdecimal()


def holds(folder: Path, *, wnids: bool = False, numbers: bool = False, names: Iterable[str] = ()) -> bool:
    """Whether a folder holds at least one class folder of a kind: a WordNet id, a number, or one of `names`."""
    if not folder.is_dir():
        return False
    chosen = frozenset(names)
    return any(
        (name in chosen or (wnids and WNID.fullmatch(name) is not None) or (numbers and is_number(name)))
        and entry.is_dir()
        for entry in visible(folder)
        if (name := entry.name)
    )


def named_folders(folder: Path, classes: Mapping[str, int], info: DatasetInfo) -> list[tuple[int, str]]:
    """(label, name) of the class folders by label; names are class names.

    Args:
        classes: Class name -> label.

    Raises:
        IntegrityError: A folder is no class.
    """
    names = subfolders(folder)
    if foreign := [name for name in names if name not in classes]:
        raise _foreign(folder, foreign, names, info)
    return sorted((classes[name], name) for name in names)


def numbered_folders(folder: Path, count: int, info: DatasetInfo) -> list[tuple[int, str]]:
    """(label, name) of folders that are named by their label, "7" or "0007", in numeric order.

    Sorted as strings they would be 0, 1, 10, 100, 101, ..., which mislabels nearly every image.

    Args:
        count: Number of classes; labels are below it.

    Raises:
        IntegrityError: A folder that is no such number, or two of the same number.
    """
    names = subfolders(folder)
    if foreign := [name for name in names if not is_number(name) or int(name) >= count]:
        raise _foreign(folder, foreign, names, info)
    found = sorted((int(name), name) for name in names)
    for (label, one), (other, two) in pairwise(found):
        if label == other:
            raise IntegrityError(
                f"{info.name}: the folders {one!r} and {two!r} are the same class", where=str(folder / one)
            )
    return found


def read_images(
    folder: Path, classes: Sequence[str], labelled: Iterable[tuple[int, str]], info: DatasetInfo
) -> Samples:
    """Every image directly in the class folders, folder by folder as they are given, files sorted as strings.

    An empty class folder is no error here.

    Raises:
        DataUnavailableError: There is no image at all.
    """
    ids: list[str] = []
    labels: list[int] = []
    sizes: list[int] = []
    tally = Tally()
    for label, name in labelled:
        found = image_files(folder / name, tally)
        ids += [f"{name}/{file}" for file, _ in found]
        labels += [label] * len(found)
        sizes += [size for _, size in found]
    if not ids:
        raise DataUnavailableError(
            f"{info.name}: the class folders hold no image",
            where=str(folder),
            why=f"expected {', '.join(info.tree.splitlines())}; found {listing(folder)}",
            fix=f"unpack the archive again; it is at {info.homepage}",
        )
    return Samples(classes, ids, labels, np.array(sizes, dtype=np.int64), left_out=tally.result())


def _foreign(folder: Path, foreign: Sequence[str], names: Sequence[str], info: DatasetInfo) -> IntegrityError:
    numbers = sum(map(is_number, names))
    wnids = sum(WNID.fullmatch(name) is not None for name in names)
    what = f"{len(foreign):,} of {len(names):,} folders are no class of {info.name}: {', '.join(foreign[:3])}"
    why = f"expected {', '.join(info.tree.splitlines())}"
    if numbers and wnids:
        why += f"; here {numbers:,} folders are named by numbers and {wnids:,} by WordNet ids"
    elif numbers == len(names):
        why += "; numbers can follow several orders (the development kit's is not the sorted one)"
    return IntegrityError(
        what,
        where=str(folder / foreign[0]),
        why=why,
        fix="if it is the right data set, move what does not belong to it away",
    )
