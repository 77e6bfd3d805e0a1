"""`folder:PATH`: any tree of class folders.

    PATH/<class>/**/<image>                     split "all"
    PATH/{train,val,test}/<class>/**/<image>    if PATH has no other folders; the default is test, else val, else train

Classes are folder names sorted as strings, files are sorted within each folder: torchvision's `ImageFolder` order. A
name counts as an image's by its suffix in any case; hidden files and folders are ignored, links to folders are followed
at the class level only (deeper they could form loops).
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import numpy as np

from cvbench.errors import DataUnavailableError, IntegrityError, UnknownNameError, UsageError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.files import FileDataset, file_sizes
from cvbench.storage.datasets.roots import absolute_path, listing

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
SPLITS = ("test", "val", "train")


class FolderReader:
    """The reader of `folder:PATH`."""

    info = DatasetInfo(
        name="folder",
        title="Any tree of class folders (folder:PATH)",
        splits=(),
        default_split="all",
        counts={},
        classes=None,
        licence="yours",
        homepage="your own images",
        tree=f"PATH/[{{train,val,test}}/]<class>/<image>{{{','.join(SUFFIXES)}}}",
        argument="PATH",
    )

    def locate(self, argument: str, root: Path | None) -> Path | None:
        """The folder itself, if it is one."""
        if not argument:
            return None
        path = folder_path(argument, root)
        return path if path.is_dir() else None

    def every_split(self, argument: str, root: Path | None) -> tuple[str, ...]:
        """The splits that together hold every image once."""
        return tuple(folder_splits(folder_path(_required(argument), root)))

    def key(self, argument: str) -> str:
        """The name of the data set in a store."""
        return _key(Path(argument))

    def open(self, argument: str, root: Path | None, split: str | None) -> FileDataset:
        """One split of the tree; a relative PATH is below the data root, or the working folder if there is none."""
        path = folder_path(_required(argument), root)
        splits = folder_splits(path)
        chosen = split or splits[0]
        if chosen not in splits:
            raise UnknownNameError.among(f"split of {path}", chosen, splits, fix=f"splits: {', '.join(splits)}")
        return _read_tree(path, splits, chosen)


READER = FolderReader()


def _required(argument: str) -> str:
    if not argument:
        raise UsageError("folder needs a path", fix="folder:PATH, such as folder:./birds")
    return argument


def folder_path(argument: str, root: Path | None) -> Path:
    """The absolute folder that `folder:<argument>` means.

    Raises:
        UsageError: It is a URL.
    """
    if "://" in argument:
        raise UsageError(
            f"a folder of images is read from this machine, not from {argument}",
            fix="copy it, or pack it into shards: wds:URL and parquet:URL are read from anywhere",
        )
    return Path(absolute_path(argument, root))


def folder_splits(path: Path) -> list[str]:
    """The splits of a tree, its default first.

    Only a PATH whose every folder is called train, val or test, and holds folders, has splits: "train" may be a class.
    """
    if not path.is_dir():
        raise DataUnavailableError(
            "the folder of images is not there",
            where=str(path),
            why=f"{listing(path)}; its parent holds: {listing(path.parent)}",
            fix="give the path of a folder with one sub-folder for each class; a relative one is below --data-root",
        )
    names = _folders(path)
    if names and all(name in SPLITS and _folders(path / name) for name in names):
        return [name for name in SPLITS if name in names]
    return ["all"]


def _read_tree(path: Path, splits: list[str], split: str) -> FileDataset:
    tops = [""] if splits == ["all"] else splits
    classes = sorted({name for top in tops for name in _folders(path / top)})
    if not classes:
        raise DataUnavailableError(
            "no class folders: the images of each class must be in a folder of its own",
            where=str(path),
            why=f"expected PATH/<class>/<image>; found {listing(path)}",
            fix=f"mkdir {path / 'birds'} and move the images there, even if there is one class only",
        )
    top = "" if split == "all" and splits == ["all"] else split
    ids: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = _images(path, f"{top}/{name}" if top else name)
        if not found and (path / top / name).is_dir():
            raise DataUnavailableError(
                f"the class folder {name!r} holds no image",
                where=str(path / top / name),
                why=f"expected files {', '.join(SUFFIXES)}; found {listing(path / top / name)}",
                fix="remove the folder, or put its images there",
            )
        ids += found
        labels += [label] * len(found)
    return FileDataset(
        name=_key(path),
        split=split,
        spec=f"folder:{path}",
        classes=tuple(classes),
        ids=tuple(ids),
        labels=np.array(labels, dtype=np.int64),
        root=path,
        sizes=file_sizes(path, ids),
    )


def _key(path: Path) -> str:
    """The data set's key in a store, such as "folder-birds"."""
    slug = re.sub(r"[^a-z0-9._-]+", "-", path.name.lower()).strip("-.")
    return f"folder-{slug or hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]}"


def _folders(path: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith("."))
    except OSError as err:
        raise _unreadable(err) from err


def _images(root: Path, folder: str) -> list[str]:
    """Paths of the images in and below a class folder, relative to `root`, in `ImageFolder`'s order."""
    found: list[str] = []
    for current, _below, files in sorted(os.walk(root / folder, onerror=_raise)):
        inner = Path(current).relative_to(root / folder)
        if any(part.startswith(".") for part in inner.parts):
            continue
        start = (Path(folder) / inner).as_posix()
        names = (name for name in sorted(files) if not name.startswith(".") and name.lower().endswith(SUFFIXES))
        found += [f"{start}/{name}" for name in names]
    for name in found:
        if not _is_text(name):
            raise IntegrityError("a file name is not valid UTF-8", where=repr(name), fix="rename the file")
    return found


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # os.fsdecode leaves lone surrogates, which no store can hold
        return False
    return True


def _unreadable(err: OSError) -> DataUnavailableError:
    return DataUnavailableError("a folder of images cannot be read", where=str(err.filename), why=err.strerror)


def _raise(err: OSError) -> None:
    """What os.walk would otherwise leave out silently; a class that a split does not have is no error."""
    if not isinstance(err, FileNotFoundError):
        raise _unreadable(err) from err
