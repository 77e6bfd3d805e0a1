"""Data sets: one registry, one reader a file.

A spec is a name ("cub200") or a name with an argument ("folder:PATH", "dtd:3"); "+scale=2" after it makes a variant of
the images (`variant`), "@label=species" names columns (`columns`). "aviary=folder:PATH" gives files of one's own a
name, so that a store can hold two folders `birds`.

To add a data set, write a reader (`base.Reader`), of a published tree of image files a row of `tree_reader.TreeReader`,
and name it in READERS; a test class inherited from `DatasetTests` proves that it keeps the contract. A package beside
cvbench names its reader in the entry-point group `cvbench.datasets`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from cvbench.errors import DataUnavailableError, UnknownNameError, UsageError
from cvbench.hints import command
from cvbench.plugins import load_plugin, plugins
from cvbench.storage.datasets.base import Columned, Dataset, DatasetInfo, OfFiles, Reader, Variants
from cvbench.storage.datasets.columns import split_columns, with_columns
from cvbench.storage.datasets.formats import arrow, coco, folder, parquet, table, wds
from cvbench.storage.datasets.formats.files import FileDataset
from cvbench.storage.datasets.forms import form_of
from cvbench.storage.datasets.left_out import LeftOut
from cvbench.storage.datasets.readers import (
    caltech,
    cifar,
    clevr,
    cub,
    cue_conflict,
    digits,
    dsprites,
    dtd,
    eurosat,
    flowers,
    imagenet,
    imagenet_c,
    imagenet_shifts,
    kitti,
    pets,
    pug,
    resisc45,
    retinopathy,
    scenes,
    smallnorb,
    sun,
    svhn,
)
from cvbench.storage.datasets.roots import absolute_path
from cvbench.storage.datasets.roots import data_root as resolve_root
from cvbench.storage.datasets.spec import spec_parts
from cvbench.storage.datasets.unknown import unknown
from cvbench.storage.datasets.variant import VariantDataset, parse_name, split_transform, suffix, variant_name
from cvbench.storage.objects.keys import MAX_SOURCE

__all__ = [
    "READERS",
    "Dataset",
    "DatasetInfo",
    "absolute_spec",
    "dataset_info",
    "dataset_names",
    "every_split",
    "key_of_spec",
    "locate",
    "open_dataset",
    "path_of_spec",
    "read_in_part",
    "registered",
    "source_of",
    "spec_of_key",
    "typed_spec",
    "with_columns",
]

_EVERY: tuple[Reader, ...] = (
    arrow.READER,
    caltech.READER,
    cifar.READER_10,
    cifar.READER_100,
    clevr.READER,
    coco.READER,
    cub.READER,
    cue_conflict.READER,
    digits.READER,
    dsprites.READER,
    dtd.READER,
    eurosat.READER,
    flowers.READER,
    folder.READER,
    imagenet.READER,
    imagenet_c.READER,
    *imagenet_shifts.READERS,
    kitti.READER,
    parquet.READER,
    pets.READER,
    pug.READER,
    resisc45.READER,
    retinopathy.READER,
    *scenes.READERS,
    smallnorb.READER,
    sun.READER,
    svhn.READER,
    table.READER,
    wds.READER,
)
READERS: dict[str, Reader] = {reader.info.name: reader for reader in _EVERY}


PLUGINS = "cvbench.datasets"
"""The entry-point group of other packages' data sets: name -> `Reader`."""


def dataset_names() -> list[str]:
    """The names in the registry and of plugins, sorted; some need a path behind them: `folder:PATH`."""
    return sorted({*READERS, *plugins(PLUGINS)})


def _reader(name: str) -> Reader | None:
    """The reader of a name; a plugin's is imported.

    Raises:
        UsageError: A plugin's that cannot be imported, or is no reader of that name; or whose name cvbench has.
    """
    if name in READERS and name in plugins(PLUGINS):
        raise UsageError(
            f"a package adds a data set {name!r}, which cvbench has",
            where=", ".join(point.value for point in plugins(PLUGINS)[name]),
            fix="uninstall it, or give its data set another name",
        )
    if name not in plugins(PLUGINS):
        return READERS.get(name)
    reader: Reader = load_plugin(PLUGINS, name, Reader)  # type: ignore[type-abstract]
    if reader.info.name != name:
        raise UsageError(
            f"the plugin's data set {name!r} cannot be used",
            where=plugins(PLUGINS)[name][0].value,
            why=f"it calls itself {reader.info.name!r}",
            fix="the entry point's name and the reader's must be the same",
        )
    return reader


def _usable(name: str) -> Reader | None:
    """The reader of a name; None also for a plugin's that cannot be used, which must not hide what others have kept."""
    try:
        return _reader(name)
    except UsageError:
        return READERS.get(name)


def dataset_info(spec: str) -> DatasetInfo:
    """Look up a data set without opening it; an official form of it ("dtd:3") has facts of its own.

    Raises:
        UnknownNameError: Naming the nearest data sets, or forms.
    """
    reader, argument, _ = _split_spec(spec)
    return _info(reader, argument)


def spec_of_key(name: str) -> str:
    """The spec that opens the data set that a store keeps under `name`: the reverse of `Dataset.name`.

    A name that no registered data set has stays as it is; of a folder ("folder-birds") the store keeps no path.

    >>> spec_of_key("dtd-2"), spec_of_key("sun397-coop.scale-2"), spec_of_key("cub200"), spec_of_key("folder-birds")
    ('dtd:2', 'sun397:coop+scale=2', 'cub200', 'folder-birds')
    """
    base, transform = parse_name(name)
    for own in dataset_names():
        reader = _usable(own) if base.startswith(f"{own}-") else None
        if isinstance(reader, Variants):
            for form in (form_of(reader.info, label, reader.forms) for label in reader.forms):
                if form.name == base:
                    return form.spec + suffix(transform)
    return base + suffix(transform) if base in dataset_names() else name


def registered(name: str) -> str:
    """The registry's name of what a store keeps under `name`, whatever its form and transform; else the name.

    >>> registered("dtd-2"), registered("scenes-a-160"), registered("digits.scale-2"), registered("folder-birds")
    ('dtd', 'scenes-a', 'digits', 'folder-birds')
    """
    return split_transform(spec_of_key(name))[0].partition(":")[0]


def typed_spec(name: str) -> str:
    """The spec of `spec_of_key` to be typed: PATH stands for that of a folder or of shards, which no store keeps.

    A name that no data set of the registry has is taken for a folder's.

    >>> typed_spec("folder-birds"), typed_spec("folder-birds.scale-2"), typed_spec("dtd-2"), typed_spec("digits")
    ('folder:PATH', 'folder:PATH+scale=2', 'dtd:2', 'digits')
    """
    spec = spec_of_key(name)
    base, transform = parse_name(name)
    if spec != name or base in dataset_names():
        return spec
    reader = _usable(base.partition("-")[0])
    kind = reader.info.name if reader is not None and reader.info.of_files else "folder"
    return f"{kind}:PATH{suffix(transform)}"


def key_of_spec(spec: str) -> str:
    """The name under which a store keeps the data set that `spec` opens: the reverse of `spec_of_key`.

    What names no data set of the registry stays as it is.

    >>> key_of_spec("dtd:2"), key_of_spec("dtd:1"), key_of_spec("sun397:coop+scale=2"), key_of_spec("dtd-2")
    ('dtd-2', 'dtd', 'sun397-coop.scale-2', 'dtd-2')
    >>> key_of_spec("folder:./birds"), key_of_spec("aviary=folder:./birds")
    ('folder-birds', 'folder-aviary')
    """
    try:
        reader, argument, own = _split_spec(spec)
    except UnknownNameError:
        return spec
    if own:
        name = own_key(reader.info.name, own)
    elif isinstance(reader, OfFiles):
        name = reader.key(_absolute(reader, argument, None)) if argument else spec
    elif isinstance(reader, Variants):
        name = form_of(reader.info, argument, reader.forms).name
    else:
        name = reader.info.name
    transform = split_transform(spec)[1]
    return name if transform is None else variant_name(name, transform)


def absolute_spec(spec: str, *, data_root: str | Path | None = None) -> str:
    """The spec with any path in it made absolute, so that a process that runs elsewhere means the same files."""
    reader, argument, own = _split_spec(spec)
    if not reader.info.of_files or not argument:
        return spec
    changed = suffix(split_transform(spec)[1])
    named = f"{own}=" if own else ""
    return f"{named}{reader.info.name}:{_absolute(reader, argument, resolve_root(data_root))}{changed}"


def path_of_spec(spec: str) -> str | None:
    """The path, pattern or URL in a spec of files, with its transform but without columns; None of another spec, and of
    none. Nothing is looked up: a spec may be of somebody else's store.

    >>> path_of_spec("aviary=table:/birds.csv@label=species"), path_of_spec("folder:/a+scale=2"), path_of_spec("dtd")
    ('/birds.csv', '/a+scale=2', None)
    """
    try:
        name, argument, _ = spec_parts(spec)
        reader = _reader(name)
    except UsageError:
        return None
    if reader is None or not reader.info.of_files or not argument:
        return None
    return split_columns(argument)[0] + suffix(split_transform(spec)[1])


def locate(spec: str, *, data_root: str | Path | None = None) -> Path | None:
    """The folder of a data set's files, or None if it is not under the data root. Reads no image."""
    reader, argument, _ = _split_spec(spec)
    return reader.locate(argument, resolve_root(data_root))


def every_split(spec: str, *, data_root: str | Path | None = None) -> tuple[str, ...]:
    """The splits of a data set that together hold every image once."""
    reader, argument, _ = _split_spec(spec)
    return reader.every_split(argument, resolve_root(data_root))


def open_dataset(spec: str, *, data_root: str | Path | None = None, split: str | None = None) -> Dataset:
    """Open one split of a data set.

    Args:
        spec: "digits", "cub200", "dtd:3", "folder:PATH" and so on; a variant of it by "+scale=2" and the like.
        data_root: The folder that holds the data sets; else that of the environment variable CVBENCH_DATA.
        split: One of its splits; else its default.

    Raises:
        UnknownNameError: No such data set, split or transform.
        DataUnavailableError: The files are not there, or not all of them.
        IntegrityError: The index files contradict each other or are damaged.
    """
    dataset = open_listed(spec, data_root=data_root, split=split)
    if isinstance(dataset, FileDataset) and (missing := dataset.missing):
        raise DataUnavailableError(
            f"{dataset.name}/{dataset.split}: {len(missing):,} of {len(dataset):,} listed images are not there",
            where=dataset.where(missing[0]),
            fix=_if_elsewhere(spec, len(missing) == len(dataset))
            + command("datasets verify", spec, data_root=None if data_root is None else str(data_root)),
        )
    for entry in dataset.left_out:
        if entry.kind == "missing":
            raise DataUnavailableError(
                f"{dataset.name}/{dataset.split}: {entry.text}",
                where=spec,
                fix="get them too, or name the files that shall be read by a pattern, such as train-0000{0..2}-*",
            )
    transform = split_transform(spec)[1]
    return dataset if transform is None else VariantDataset(dataset, transform)


def _if_elsewhere(spec: str, every: bool) -> str:
    """Advice where none of the images that a list names lies where it says; else ""."""
    reader = _split_spec(spec)[0]
    named = isinstance(reader, Columned) and "root" in reader.roles
    return "if they lie in another folder: --columns root=FOLDER; else " if every and named else ""


def read_in_part(dataset: Dataset) -> tuple[LeftOut, ...]:
    """Entries that say that an open data set is not all of what lies there, or of what was published."""
    try:
        published = dataset_info(dataset.spec).counts.get(dataset.split, len(dataset))
    except UnknownNameError:  # of no reader of the registry
        return dataset.left_out
    if len(dataset) == published:
        return dataset.left_out
    kind = "fewer" if len(dataset) < published else "more"
    counts = f"{len(dataset):,} are there, {published:,} were published"
    return (LeftOut(kind, abs(len(dataset) - published), why=counts), *dataset.left_out)


def source_of(dataset: Dataset) -> str:
    """The spec that a store keeps of an open data set: that of files of one's own; "" of one that its name opens.

    A path that no terminal could show is not kept.
    """
    try:
        of_files = dataset_info(dataset.spec).of_files
    except UnknownNameError:  # of no reader of the registry
        return ""
    return dataset.spec if of_files and dataset.spec.isprintable() and len(dataset.spec) < MAX_SOURCE else ""


def open_listed(spec: str, *, data_root: str | Path | None = None, split: str | None = None) -> Dataset:
    """Open as `open_dataset`, but leave images that are listed and missing for the caller to find (`verify` does).

    A variant has the files of its base, which is what is opened.
    """
    reader, argument, own = _split_spec(spec)
    known = _info(reader, argument).splits
    if split is not None and known and split not in known:
        raise UnknownNameError.among(f"split of {reader.info.name}", split, known, fix=f"splits: {', '.join(known)}")
    dataset = reader.open(argument, resolve_root(data_root), split)
    if not own:
        return dataset
    listed: Any = dataset  # of files, so a dataclass
    named: Dataset = replace(listed, name=own_key(reader.info.name, own), spec=f"{own}={dataset.spec}")
    return named


def own_key(kind: str, own: str) -> str:
    """The name in a store of files that are called by a name of one's own.

    Raises:
        UsageError: It means something else there.

    >>> own_key("folder", "Aviary")
    'folder-aviary'
    """
    name = f"{kind}-{own.lower()}"
    if parse_name(name)[1] is not None:
        raise UsageError(f"{own!r} cannot name a data set: a transform is called so", fix=f"aviary={kind}:PATH")
    return name


def _absolute(reader: Reader, argument: str, root: Path | None) -> str:
    """The argument with its path made absolute; the columns behind it stay."""
    path, pairs = split_columns(argument) if isinstance(reader, Columned) else (argument, "")
    return absolute_path(path, root) + pairs


def _info(reader: Reader, argument: str) -> DatasetInfo:
    return reader.variant(argument) if argument and isinstance(reader, Variants) else reader.info


def _split_spec(spec: str) -> tuple[Reader, str, str]:
    """The reader, what follows the colon, and the name of one's own, "" if there is none."""
    name, argument, own = spec_parts(spec)
    reader = _reader(name)
    if reader is None:
        kinds = [f"{one}:" for one in dataset_names() if isinstance(_usable(one), OfFiles)]
        raise unknown(spec, name, argument, dataset_names(), kinds, _opened)
    if argument is not None and not reader.info.argument:
        raise UsageError(f"{name} takes no argument", where=spec, fix=name)
    if own and not reader.info.of_files:
        raise UsageError(f"{name} has a name already", where=spec, fix=f"{name}, or {own}=folder:PATH")
    return reader, argument or "", own


def _opened(spec: str) -> list[Dataset]:
    return [open_listed(spec, split=split) for split in every_split(spec)]
