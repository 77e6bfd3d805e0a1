"""Which stored samples a probe is fitted, validated and tested on; and whether these are all that there should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import NOT_FINITE, Layer
from cvbench.engine.probe.options import ProbeOptions
from cvbench.engine.probe.parts import Part
from cvbench.errors import (
    CvbenchError,
    DataUnavailableError,
    IncompleteError,
    IntegrityError,
    UnknownNameError,
    UsageError,
)
from cvbench.jobs.reading.again import extract_again
from cvbench.jobs.reading.completeness import check_complete
from cvbench.jobs.reading.images import stored_key
from cvbench.jobs.reading.matrix import Matrices
from cvbench.jobs.reading.reading import Reading, read
from cvbench.jobs.reading.selection import Selected, Selection
from cvbench.jobs.transfer.probe_options import ProbeRequest
from cvbench.storage.datasets import DatasetInfo, dataset_info, every_split, spec_of_key
from cvbench.storage.datasets.formats.layout import ALL
from cvbench.storage.datasets.formats.lists import last_share
from cvbench.storage.features import FeatureStore

TRAINING = ("train", "trainval")


@dataclass(frozen=True, eq=False)
class Splits:
    """The features of one data set, by role: "train", "test" and, where there is a validation split, "val".

    Attributes:
        held: (n_train,) bool, the training samples that validate instead of a split; None if none do.
        share: That share of the whole split; 0 if none.
        rule: How the data set's splits were made, if not by its authors.
        notes: What a reader must know: which samples are not there.
    """

    roles: dict[str, Matrices]
    held: NDArray[np.bool_] | None
    share: float
    rule: str
    notes: tuple[str, ...]

    @property
    def names(self) -> dict[str, str]:
        """Role -> name of the split."""
        return {role: matrices.selected.split for role, matrices in self.roles.items()}

    def parts(self, layer: Layer) -> dict[str, Part]:
        """The samples by role; memory is the features of one layer.

        Raises:
            IntegrityError: Features that are not finite.
        """
        parts = {role: Part(_finite(its, layer), its.samples.labels) for role, its in self.roles.items()}
        if self.held is not None:
            given = parts["train"]
            parts |= {"train": given.rows(np.flatnonzero(~self.held)), "val": given.rows(np.flatnonzero(self.held))}
        return parts

    def identity(self) -> dict[str, Any]:
        """Identity of these samples, by role, for the results that depend on them."""
        roles = {
            role: {
                **matrices.identity,
                "units": [(unit.start, unit.stop) for unit in matrices.selected.units],
            }
            for role, matrices in self.roles.items()
        }
        return {**roles, "held out": self.share} if self.held is not None else roles


def open_splits(store: FeatureStore, dataset: str, request: ProbeRequest, options: ProbeOptions) -> Splits:
    """The samples of every role, at the same layers.

    Raises:
        DataUnavailableError: A split is not in the store; says which command adds it.
        IncompleteError: Features of a part of a split, or a data set with fewer samples than published.
        UsageError: Layers that differ between the splits, or samples without a label.
        IntegrityError: Classes that differ.
    """
    key = stored_key(store, dataset, {name for name, _ in store.splits()})
    known = _known(key)
    train, names = training_split(store, key, request.train)
    val = request.val or ("val" if "val" in names and train != "trainval" else None)
    wanted = {"train": train, "test": request.test} | ({} if val is None else {"val": val})
    asked = Selection(request.store, key, None, request.backbones, request.view, request.taps)
    roles = {role: Matrices.of(read_split(store, replace(asked, split=split))) for role, split in wanted.items()}
    notes = [note for matrices in roles.values() for note in _check_whole(matrices, request)]
    for role, matrices in roles.items():
        check_same(role, matrices, roles["test"])
    share = known.held_out if known is not None and val is None and train in TRAINING else 0.0
    held = _held_out(roles["train"], share) if share > 0 and options.hold_out is None else None
    rule = known.split_rule if known is not None else ""
    return Splits(roles, held, share if held is not None else 0.0, rule, tuple(notes))


def training_split(store: FeatureStore, key: str, asked: str | None) -> tuple[str, Sequence[str]]:
    """The split to fit on, as asked or the data set's own; and the splits that the data set is known to have."""
    known = _known(key)
    names = known.splits if known is not None else [split for name, split in store.splits() if name == key]
    return asked or next((name for name in TRAINING if name in names), TRAINING[0]), names


def _known(key: str) -> DatasetInfo | None:
    """Facts that the registry knows of a data set of the store; None if it is a folder of one's own."""
    try:
        return dataset_info(spec_of_key(key))
    except UnknownNameError:
        return None


def _held_out(train: Matrices, share: float) -> NDArray[np.bool_] | None:
    """(n,) which training samples validate: the same of the whole split, however much of it the store holds."""
    chosen = np.isin(train.rows, last_share([str(name) for name in train.info.ids], share))
    return chosen if chosen.any() and not chosen.all() else None


def _check_whole(matrices: Matrices, request: ProbeRequest) -> list[str]:
    selected, info, store = matrices.selected, matrices.info, matrices.store
    notes = check_complete(
        spec_of_key(selected.dataset), selected.split, info.n, where=store.url, partial=request.partial
    )
    if selected.samples == info.n:
        return notes
    if not request.partial:
        raise IncompleteError(
            f"{selected.view} features of {selected.samples:,} of the {info.n:,} samples of {matrices.where} are there",
            where=store.url,
            why="a transfer's number is over the whole data set",
            fix=extract_again(store, (selected.dataset, selected.split), backbones=_names(selected), view=selected.view)
            + "  # all of it; or --partial",
        )
    return [*notes, f"partial: {selected.samples:,} of the {info.n:,} samples of {matrices.where}"]


def check_same(role: str, other: Reading, test: Reading) -> None:
    """Refuse a split whose layers or classes are not those of the test split, or that has a sample without a label.

    Raises:
        UsageError: Layers differ, or a label is missing.
        IntegrityError: Classes differ.
    """
    if other.selected.layers != test.selected.layers:
        mine, its = (", ".join(map(str, m.selected.layers)) for m in (test, other))
        raise UsageError(
            f"{other.where} and {test.where} hold other layers",
            why=f"{test.where}: {mine}; {other.where}: {its}",
            fix="--backbone and --taps that both have, or extract what is missing",
        )
    if other.info.classes != test.info.classes:
        raise IntegrityError(f"the classes of {other.where} are not those of {test.where}", where=test.store.url)
    missing = int((other.classes < 0).sum())
    if missing:
        raise UsageError(f"{missing} samples of {other.where} have no label", where=f"the {role} split")


def _names(selected: Selected) -> list[str]:
    return list(dict.fromkeys(layer.backbone for layer in selected.layers))


def read_split(store: FeatureStore, selection: Selection) -> Reading:
    """Read the layers of one split.

    Args:
        store: Where.
        selection: With data set, as stored, and split.

    Raises:
        DataUnavailableError: The store has not this split, or not this view of it; says which command adds it.
        UnknownNameError: No such backbone or layer.
    """
    dataset, split, view = str(selection.dataset), str(selection.split), selection.view
    held = {name for its, name in store.splits() if its == dataset}
    try:
        if split in held:
            return read(selection, store)
    except (DataUnavailableError, UnknownNameError) as error:
        if "backbone" in error.what or "tap" in error.what:
            raise
    raise DataUnavailableError(
        f"the store holds no {view} features of {dataset}/{split}",
        where=store.url,
        why=f"of {dataset} it holds {', '.join(sorted(held)) or 'nothing'}; a probe trains on one and tests on another",
        fix=_other_splits(store, dataset, split)
        or extract_again(store, (dataset, split), backbones=selection.backbones, view=view)
        + "  # or other splits: --train-split, --val-split, --test-split",
    )


def _other_splits(store: FeatureStore, dataset: str, split: str) -> str:
    """Advice where the images of one's own are one split, of which no other can be extracted; else ""."""
    try:
        every = every_split(store.spec_to_type(dataset, split))
    except CvbenchError:  # its images are not here: the command that extracts says so
        return ""
    if split in every or set(every) != {ALL} or _has(dataset, split):
        return ""
    return "all of its images are one split: folders train and test below it, or a column `split` of its table"


def _has(dataset: str, split: str) -> bool:
    """Whether the registry knows of a split, be it a part of others."""
    known = _known(dataset)
    return known is not None and split in known.counts


def _finite(matrices: Matrices, layer: Layer) -> NDArray[np.float32]:
    values = np.asarray(matrices.read(layer), dtype=np.float32)
    bad = int((~np.isfinite(values).all(axis=1)).sum())
    if bad:
        raise IntegrityError(
            f"{layer} of {matrices.where} holds values that are not finite, in {bad} of {len(values)} samples",
            fix=NOT_FINITE,
        )
    return values
