"""The images that stored features are of.

A data set of the registry is opened by its name. Of files of one's own the store keeps where they were, but a store may
come from somebody else, and must not lead to files or make requests on its word. So a recorded path is followed only if
nobody names another, it is of this machine, and what lies there is what was extracted: names, sizes, labels and factors
must have the recorded digest before an image is opened. Anything else needs the path from whoever runs the command.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection

from cvbench.errors import CvbenchError, DataUnavailableError, FingerprintMismatchError, UnknownNameError, UsageError
from cvbench.storage.datasets import (
    READERS,
    Dataset,
    absolute_spec,
    dataset_info,
    key_of_spec,
    open_dataset,
    path_of_spec,
    spec_of_key,
)
from cvbench.storage.features import FeatureStore


def open_stored(
    store: FeatureStore, dataset: str, split: str, *, given: str | None = None, data_root: str | None = None
) -> Dataset:
    """Open the images of a split of a store.

    Args:
        dataset, split: As stored.
        given: The spec as a person names it; None: by the registry, or as the store says.
        data_root: As for `open_dataset`.

    Raises:
        DataUnavailableError: They are not there, or only a person may say where they are.
        FingerprintMismatchError: They are not those that were extracted.
    """
    info = store.split(dataset, split)
    spec = given or spec_of_key(dataset)
    if spec == dataset and not _is_known(spec):
        spec = _recorded(dataset, info.source)
    opened = open_dataset(spec, data_root=data_root, split=split)
    if opened.digest != info.dataset_digest:
        raise FingerprintMismatchError(f"{spec} is not the data set, or not as it was, that was extracted")
    return opened


def _is_known(spec: str) -> bool:
    try:
        return not dataset_info(spec).of_files
    except CvbenchError:
        return False


def _is_of_files(kind: str) -> bool:
    try:
        return dataset_info(kind).of_files
    except CvbenchError:
        return False


def _recorded(dataset: str, source: str) -> str:
    """The recorded spec, if it may be looked at.

    Raises:
        DataUnavailableError: There is none, it is of another machine, or of no reader of files.
    """
    if not source:
        raise DataUnavailableError(f"the store does not keep where the images of {dataset} are")
    kind = source.partition(":")[0].rpartition("=")[2]
    if kind not in READERS or not READERS[kind].info.of_files:  # no plugin is imported for it either
        raise DataUnavailableError(f"the store says in an unknown form where the images of {dataset} are", where=source)
    if "://" in source:
        raise DataUnavailableError(f"the images of {dataset} are at {source}, and no store may have a request made")
    return source


def _are_others(one: str, two: str) -> bool:
    """Whether two paths are there and are not the same; of one that is gone nobody can say."""
    return os.path.exists(one) and os.path.exists(two) and not os.path.samefile(one, two)


def stored_key(store: FeatureStore, asked: str, held: Collection[str]) -> str:
    """The name in a store of a data set as a person names it: by its key, its spec, or a name of their own.

    Two folders of one name can stand in one store, one of them under a name of its own; what opened them is recorded.

    Args:
        asked: Such as "folder-birds", "folder:/data/birds" or "aviary".
        held: The names that the store has.

    Raises:
        UsageError: The store has other files under this name.
    """
    if asked in held:
        return asked
    own = [name for name in held if name.partition("-")[2] == asked and _is_of_files(name.partition("-")[0])]
    if len(own) == 1:
        return own[0]
    key = key_of_spec(asked)
    try:
        wanted = path_of_spec(absolute_spec(asked))
    except (UnknownNameError, UsageError):
        return key
    if wanted is None:
        return key
    places = {name: path_of_spec(source) for name, source in store.sources(held).items()}
    if wanted not in places.values():
        other = places.get(key)
        if other is not None and _are_others(other, wanted):
            raise UsageError(
                f"the store's {key} is of other files",
                where=store.url,
                why=f"it is of {other}, not of {wanted}",
                fix=f"--dataset {key} for those; else extract under another name, {shlex.quote(f'NAME={asked}')}",
            )
        return key
    return key if places.get(key) == wanted else next(name for name, place in places.items() if place == wanted)
