"""SUN397 (Xiao et al. 2010): 108,754 photographs of 397 kinds of scenes, in ten official partitions.

    SUN397/<letter>/<class>[/<subclass>]/sun_<16 letters>.jpg
    SUN397/ClassName.txt                            lines /a/abbey, in the order of the labels
    {Training,Testing}_{01..10}.txt                 lines /a/abbey/sun_....jpg, of Partitions.zip

"sun397" is partition 01, "sun397:2" to "sun397:10" are the others; each has 50 images of a class to train and 50 to
test. "all" is every file there is. The lists may lie in the folder, beside it, or in `Partitions/` in either place.
Classes are called without their letter: "church/outdoor". Many files called .jpg are BMP, PNG or GIF; two cannot be
decoded (c/church/outdoor/sun_bhenjvsvrtumjuri.jpg, t/track/outdoor/sun_aophkoiosslinihb.jpg).
"""

from __future__ import annotations

from pathlib import Path

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets.base import DatasetInfo, check_unique
from cvbench.storage.datasets.formats.files import Samples
from cvbench.storage.datasets.formats.lists import below, images_of, lines
from cvbench.storage.datasets.forms import COOP
from cvbench.storage.datasets.readers.coop import CoopReader
from cvbench.storage.datasets.readers.tree_reader import Tree
from cvbench.storage.objects.folders import listing

_LIST = {"train": "Training_{:02d}.txt", "test": "Testing_{:02d}.txt"}
_NAMES = "ClassName.txt"
_JSON = "split_zhou_SUN397.json"


def _holds(folder: Path, root: Path) -> bool:
    """Whether it is the folder of the letters."""
    known = any((place / _NAMES).is_file() for place in (folder, folder.parent))
    return (folder / "a").is_dir() and (known or (folder / "a" / "abbey").is_dir())


def _read(tree: Tree) -> Samples:
    """In the order of the split's list; "all" by class, then by name."""
    names = _find(tree.folder, _NAMES, "the SUN397 archive")
    classes = [below(text.lstrip("/"), place) for place, text in lines(names)]  # a/abbey
    check_unique(classes, str(names))
    label_of = {name: label for label, name in enumerate(classes)}
    if tree.split == "all":
        ids = [f"{name}/{file}" for name in classes for file in sorted(_files(tree.folder / name))]
    else:
        partition = _LIST[tree.split].format(int(tree.form.label))
        ids = _listed(_find(tree.folder, partition, "Partitions.zip"), label_of)
    if not ids:
        raise tree.empty(tree.folder)
    titles = [name.partition("/")[2] or name for name in classes]
    check_unique(titles, str(names))
    return Samples(titles, ids, [label_of[image.rpartition("/")[0]] for image in ids])


def _files(folder: Path) -> list[str]:
    return [name for name in images_of(folder) if name.startswith("sun_")]


def _listed(path: Path, label_of: dict[str, int]) -> list[str]:
    """The images of a partition's list, as paths below the folder."""
    ids = []
    for place, text in lines(path):
        image = below(text.lstrip("/"), place)
        if image.rpartition("/")[0] not in label_of:
            raise IntegrityError(f"{text!r} is in none of the classes of {_NAMES}", where=place)
        ids.append(image)
    check_unique(ids, str(path))
    return ids


def _find(folder: Path, name: str, source: str) -> Path:
    """A list, in one of the places where people unpack it."""
    places = [place for base in (folder, folder.parent) for place in (base, base / "Partitions")]
    path = next((place / name for place in places if (place / name).is_file()), None)
    if path is None:
        raise DataUnavailableError(
            f"sun397 lacks {name}",
            where=str(folder),
            why=f"it is neither there nor in Partitions/ nor one level above; found {listing(folder)}",
            fix=f"it is in {source}, at {READER.info.homepage}",
        )
    return path


READER = CoopReader(
    info=DatasetInfo(
        name="sun397",
        title="SUN397",
        splits=("train", "test", "all"),
        default_split="test",
        counts={"train": 19_850, "test": 19_850, "all": 108_754},
        classes=397,
        licence="images are their owners'; research purposes, cite Xiao et al. 2010",
        homepage="https://vision.princeton.edu/projects/2010/SUN/",
        tree="[sun397/]SUN397/<letter>/<class>[/<subclass>]/sun_*.jpg\n"
        "[sun397/]SUN397/ClassName.txt\n[sun397/][SUN397/][Partitions/]{Training,Testing}_{01..10}.txt",
        argument="1..10|coop",
        notes=f"1..10: the official partition, 1 if none is given; coop: the splits of {_JSON}\n"
        "two files cannot be decoded: sun_bhenjvsvrtumjuri.jpg, sun_aophkoiosslinihb.jpg",
        split_rule="an official partition, 50 and 50 images of a class; VTAB splits all, 76,128/10,875/21,750",
    ),
    forms=(*(str(partition) for partition in range(1, 11)), COOP),
    coop_file=_JSON,
    places=("SUN397", "sun397/SUN397", "SUN397/SUN397", "sun397", ""),
    holds=_holds,
    read=_read,
)
