"""Oxford-IIIT Pets (Parkhi et al. 2012): 7,349 photographs of 37 breeds of cats and dogs.

    images/<Breed>_<n>.jpg
    annotations/{trainval,test}.txt     <Breed>_<n> <class, from 1> <1 cat, 2 dog> <breed within species>

Labels are the class column less one. They follow the names without regard to case; sorting file names would not, since
cats are capitalised and dogs are not. What else lies there is not read: `list.txt`, trimaps and their AppleDouble files
(`._x.png`), .mat files among the images. Some files called .jpg are PNG or GIF, and two JPEG streams are damaged
(chihuahua_121, beagle_116): images are recognised by their content.
"""

from __future__ import annotations

from pathlib import Path

from cvbench.errors import IntegrityError
from cvbench.storage.datasets.base import DatasetInfo, check_unique
from cvbench.storage.datasets.formats.files import Samples
from cvbench.storage.datasets.formats.lists import below, lines
from cvbench.storage.datasets.forms import COOP
from cvbench.storage.datasets.readers.coop import CoopReader
from cvbench.storage.datasets.readers.tree_reader import Tree

_SPLITS = ("trainval", "test")
_JSON = "split_zhou_OxfordPets.json"

Entry = tuple[str, int]  # id of the image, class from 0


def _holds(folder: Path, root: Path) -> bool:
    lists = (*(f"annotations/{split}.txt" for split in _SPLITS), _JSON)
    return (folder / "images").is_dir() and any((folder / name).is_file() for name in lists)


def _read(tree: Tree) -> Samples:
    """In the order of the split's list."""
    folder = tree.folder / "annotations"
    paths = {name: folder / f"{name}.txt" for name in _SPLITS}
    tree.need(folder, *(path.name for path in paths.values()), fix="annotations.tar.gz has them")
    breeds: dict[int, str] = {}
    listed = {name: _entries(path, breeds) for name, path in paths.items()}
    everything = [entry for entries in listed.values() for entry in entries]
    check_unique([image for image, _ in everything], str(folder))
    if sorted(breeds) != list(range(len(breeds))):
        raise IntegrityError("the classes are not numbered from 1 without a gap", where=str(folder))
    chosen = everything if tree.split == "all" else listed[tree.split]
    if not chosen:
        raise tree.empty(folder)
    classes = [breeds[label] for label in range(len(breeds))]
    return Samples(classes, [f"{image}.jpg" for image, _ in chosen], [label for _, label in chosen])


def _entries(path: Path, breeds: dict[int, str]) -> list[Entry]:
    """The entries of a list; `breeds`, label -> name, is filled, and a label with two names refused."""
    entries = []
    for place, text in lines(path):
        if text.startswith("#"):
            continue
        fields = text.split()
        if len(fields) != 4 or not all(field.isdecimal() for field in fields[1:]) or int(fields[1]) < 1:
            raise IntegrityError(f"cannot read the line {text!r}", where=place)
        image, label = below(fields[0], place), int(fields[1]) - 1
        breed = image.rpartition("_")[0]
        if not breed or breeds.setdefault(label, breed) != breed:
            raise IntegrityError(f"class {label + 1} is {breeds.get(label)!r} and {breed!r}", where=place)
        entries.append((image, label))
    return entries


READER = CoopReader(
    info=DatasetInfo(
        name="pets",
        title="Oxford-IIIT Pets",
        splits=(*_SPLITS, "all"),
        default_split="test",
        counts={"trainval": 3_680, "test": 3_669, "all": 7_349},
        classes=37,
        licence="CC BY-SA 4.0; images are their photographers'",
        homepage="https://www.robots.ox.ac.uk/~vgg/data/pets/",
        tree="[oxford-iiit-pet/]images/<Breed>_<n>.jpg\n[oxford-iiit-pet/]annotations/{trainval,test}.txt",
        argument="coop",
        notes=f"chihuahua_121 and beagle_116 are damaged JPEGs\ncoop: the splits of {_JSON}",
        held_out=0.2,  # VTAB's 2,944 and 736
    ),
    forms=("official", COOP),
    coop_file=_JSON,
    places=("", "oxford-iiit-pet", "oxford_pets", "pets"),
    holds=_holds,
    read=_read,
    images="images",
)
