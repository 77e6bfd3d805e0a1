"""Published data sets that are trees of image files: a row of data each, and a function that reads the tree's lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cvbench.errors import DataUnavailableError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.formats.files import FileDataset, Samples
from cvbench.storage.datasets.formats.lists import images_of
from cvbench.storage.datasets.forms import Form
from cvbench.storage.datasets.roots import absent, first_match, lacks
from cvbench.storage.objects.folders import listing


@dataclass(frozen=True)
class Tree:
    """One split that is to be read.

    Attributes:
        info: What is known of the data set.
        form: Which form of it; a data set without several has one without a label.
        folder: Where the tree is.
        root: The data root below which it was found.
    """

    info: DatasetInfo
    form: Form
    folder: Path
    root: Path
    split: str

    def empty(self, where: Path, *, shown: bool = False) -> DataUnavailableError:
        """The error for a split without images; `where` says so, and if it is `shown`, what is there."""
        why = f"found {listing(where)}" if shown else None
        return DataUnavailableError(f"{self.form.spec}/{self.split} has no images", where=str(where), why=why)

    def need(self, folder: Path, *names: str, fix: str | None = None) -> None:
        """Refuse a tree that has not all of these files in a folder of it.

        Raises:
            DataUnavailableError: With the names of those that are missing.
        """
        if missing := [name for name in names if not (folder / name).is_file()]:
            raise lacks(self.form.spec, missing, folder, fix)


@dataclass(frozen=True, eq=False)
class Located:
    """Place of a published data set under a data root.

    Attributes:
        places: Folders below the data root where it is looked for, in this order; "" is the data root itself.
        holds: (folder, data root) -> whether the folder is that of the data set, complete or not.
        covering: The splits that together hold every image once.
        own_places: Whether nobody else has folders of these names: then what is in one says why it is not taken.
    """

    info: DatasetInfo
    places: tuple[str, ...]
    holds: Callable[[Path, Path], bool]
    covering: tuple[str, ...] = field(default=("all",), kw_only=True)
    own_places: bool = field(default=False, kw_only=True)

    def locate(self, argument: str, root: Path | None) -> Path | None:
        """Find the tree, without reading it; None if nowhere under `root`."""
        return None if root is None else first_match(root, self.places, lambda folder: self.holds(folder, root))

    def every_split(self, argument: str, root: Path | None) -> tuple[str, ...]:
        """The splits that together hold every image once."""
        return self.covering

    def tree(self, argument: str, root: Path | None, split: str | None) -> Tree:
        """Find what is to be read of one split; by default the data set's own default.

        Raises:
            DataUnavailableError: The tree is nowhere under `root`.
            UnknownNameError: There is no such form.
        """
        form = self.form(argument)
        folder = self.locate(argument, root)
        if root is None or folder is None:
            raise absent(self.info, root, self.places if self.own_places else ())
        return Tree(self.info, form, folder, root, split or self.info.default_split)

    def form(self, argument: str) -> Form:
        """The form that the argument names."""
        return Form("", self.info.name, self.info.name)


@dataclass(frozen=True, eq=False)
class TreeReader(Located):
    """The reader of one data set of image files.

    Attributes:
        read: Gives the samples of a split.
        images: The folder of the tree from which the samples' ids start.
    """

    read: Callable[[Tree], Samples]
    images: str = ""

    def open(self, argument: str, root: Path | None, split: str | None) -> FileDataset:
        """One split; by default the data set's own default."""
        tree = self.tree(argument, root, split)
        return self.samples(tree).dataset(tree.form.name, tree.split, tree.form.spec, tree.folder / self.images)

    def samples(self, tree: Tree) -> Samples:
        """Read the samples of the tree."""
        return self.read(tree)


def read_classes(
    tree: Tree,
    folder: Path,
    classes: Sequence[str],
    part: Callable[[list[str]], list[str]],
    check: Callable[[Path, list[str]], None] | None = None,
) -> Samples:
    """The images of class folders, by class and number, where a rule says which of a class's images a split has.

    Args:
        folder: That of the class folders.
        part: Gives those of a class's images that `tree.split` holds; "all" holds every one.
        check: Refuses a class folder by what is in it.

    Raises:
        DataUnavailableError: There is none.
    """
    ids: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        images = [f"{name}/{file}" for file in images_of(folder / name)]
        if check is not None:
            check(folder / name, images)
        chosen = images if tree.split == "all" else part(images)
        ids += chosen
        labels += [label] * len(chosen)
    if not ids:
        raise tree.empty(folder, shown=True)
    return Samples(classes, ids, labels)
