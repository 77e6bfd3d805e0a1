"""The splits `split_zhou_<Name>.json` that CoOp (Zhou et al. 2022) and its successors train and test on.

    {"train": [[<path below the folder of images>, <label from 0>, <class name>], ...], "val": [...], "test": [...]}

The file lies beside the data set's folder of images or one level above. Labels and class names are the file's own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from cvbench.errors import IntegrityError
from cvbench.storage.datasets.base import DatasetInfo, check_unique
from cvbench.storage.datasets.formats.files import Samples, read_bounded
from cvbench.storage.datasets.formats.lists import below
from cvbench.storage.datasets.forms import COOP
from cvbench.storage.datasets.readers.form_reader import WithForms
from cvbench.storage.datasets.readers.tree_reader import Tree, TreeReader
from cvbench.storage.datasets.roots import lacks
from cvbench.texts import parse_json

SPLITS = ("train", "val", "test", "all")
MAX_BYTES = 64 * 1024 * 1024
"""The largest file that is read; SUN397's, the longest, has 3 MB."""

Entries = list[tuple[str, int]]


@dataclass(frozen=True, eq=False, kw_only=True)
class CoopReader(WithForms, TreeReader):
    """The reader of a data set that CoOp has split too: `COOP` is one of its forms.

    Attributes:
        coop_file: CoOp's file; its paths start from `images` too.
    """

    coop_file: str

    def variant(self, argument: str) -> DatasetInfo:
        """Facts known of another form."""
        if self.form(argument).label == COOP:
            return coop_info(self.info, self.coop_file)
        return super().variant(argument)

    def samples(self, tree: Tree) -> Samples:
        """Read the samples of the tree, or those of CoOp's file."""
        if tree.form.label == COOP:
            return read_coop(tree, self.coop_file, tree.folder / self.images)
        return self.read(tree)


def coop_info(info: DatasetInfo, file: str) -> DatasetInfo:
    """Facts known of the form before its file is read: nothing but the names of the splits."""
    return replace(
        info,
        splits=SPLITS,
        default_split="test",
        counts={},
        classes=None,
        tree=f"{info.tree}\n{file}",
        notes="",
        split_rule=f"the splits of {file}",
        held_out=0.0,
    )


def read_coop(tree: Tree, file: str, images: Path) -> Samples:
    """One split.

    Args:
        file: Name of the JSON file.
        images: The folder that its paths start from.

    Raises:
        DataUnavailableError: The file is not there.
        IntegrityError: It has another form.
    """
    path = next((folder / file for folder in (images, *images.parents[:2]) if (folder / file).is_file()), None)
    if path is None:
        fix = "get it where CoOp's DATASETS.md says, and put it beside the folder of images"
        raise lacks(tree.form.spec, [file], images.parent, fix)
    splits, classes = _read(path)
    check_unique([name for entries in splits.values() for name, _ in entries], str(path))
    entries = [entry for key in SPLITS[:3] if tree.split in (key, "all") for entry in splits[key]]
    if not entries:
        raise tree.empty(path)
    return Samples(classes, [name for name, _ in entries], [label for _, label in entries])


def _read(path: Path) -> tuple[dict[str, Entries], tuple[str, ...]]:
    """The entries of each split, and the class names by label."""
    too_large = "the file is larger than any list of splits"
    data = read_bounded(path, MAX_BYTES, what="the list of splits", too_large=too_large)
    content = parse_json(data, "the list of splits is no JSON", str(path))
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in SPLITS[:3]):
        raise IntegrityError("not a list of splits: expected train, val and test", where=str(path))
    names: dict[int, str] = {}
    splits: dict[str, Entries] = {key: [] for key in SPLITS[:3]}
    for key, entries in splits.items():
        for number, entry in enumerate(content[key]):
            where = f"{path}: {key}[{number}]"
            match entry:
                case [str(name), int(label), str(title)] if type(label) is int and label >= 0:
                    entries.append((below(name, where), label))
                case _:
                    raise IntegrityError(f"expected [path, label, class name], found {str(entry)[:80]}", where=where)
            if names.setdefault(label, title) != title:
                raise IntegrityError(f"label {label} is {names[label]!r} and {title!r}", where=where)
    if sorted(names) != list(range(len(names))):
        raise IntegrityError("the labels are not numbered from 0 without a gap", where=str(path))
    return splits, tuple(names[label] for label in range(len(names)))
