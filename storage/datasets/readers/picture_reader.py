"""Published data sets whose images lie in few files: a row of data each, and a function that reads the files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cvbench.storage.datasets.formats.pictures import PictureDataset, PictureSamples
from cvbench.storage.datasets.readers.form_reader import WithForms
from cvbench.storage.datasets.readers.tree_reader import Located, Tree


@dataclass(frozen=True, eq=False, kw_only=True)
class PictureReader(Located):
    """The reader of one data set. It is pickled with its data set, so `holds` and `read` have names in a module.

    Attributes:
        read: Gives the samples of a split.
    """

    read: Callable[[Tree], PictureSamples]

    def open(self, argument: str, root: Path | None, split: str | None) -> PictureDataset:
        """One split; by default the data set's own default."""
        tree = self.tree(argument, root, split)
        found = self.read(tree)
        return PictureDataset(
            name=tree.form.name,
            split=tree.split,
            spec=tree.form.spec,
            classes=tuple(found.classes),
            ids=tuple(found.ids),
            labels=found.labels,
            pictures=found.pictures,
            reader=self,
            argument=argument,
            data_root=root,
            factors=found.factors,
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class PictureFormReader(WithForms, PictureReader):
    """The reader of a data set with several forms."""
