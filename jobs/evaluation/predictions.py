"""`cvbench eval import`: predictions of another tool become the `logits` of a backbone, which all of `eval` reads.

Logits are kept as they are; probabilities as their logarithm, of which the softmax gives them back. A predicted class,
with its probability or without, is kept as just that (`imported`). What is not known is not computed: the array says
which it is. What the file holds beside it is said, and kept in the commit records.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IncompleteError, IntegrityError, UsageError
from cvbench.jobs.evaluation.imported import CLASSES, FORM, PREDICTIONS, compact
from cvbench.jobs.evaluation.imported_classes import class_columns
from cvbench.jobs.evaluation.labels import are_wnids, label_space
from cvbench.jobs.evaluation.options import ImportOptions
from cvbench.jobs.evaluation.samples import VIEW
from cvbench.jobs.extraction.options import CPU_BATCH
from cvbench.jobs.reading.images import stored_key
from cvbench.jobs.running.places import absolute
from cvbench.jobs.running.progress import Advanced, Ended, Listener, Note, Started, silent
from cvbench.storage.datasets import open_dataset, source_of, spec_of_key
from cvbench.storage.features import ArraySpec, BadSample, FeatureStore, GroupKey, SplitInfo, Unit
from cvbench.storage.features.order import sample_order
from cvbench.storage.features.units import plan_units, unit_size
from cvbench.storage.predictions import Asked, Predictions, match_names, read_predictions, shown

ABSENT = "no-prediction"
_TINY = np.float32(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Imported:
    """Report of an import; `missing` samples have no prediction, `extra` predictions have no sample."""

    dataset: str
    split: str
    backbone: str
    kind: str
    samples: int
    missing: int
    extra: int


def import_predictions(options: ImportOptions, listen: Listener = silent) -> Imported:
    """Write a file's predictions into the store; the same call again does nothing.

    Raises:
        UsageError: Names, classes or a format that do not fit.
        IncompleteError: Samples without a prediction, and `partial` is not set; nothing is written.
        FingerprintMismatchError: The store holds other logits of a backbone of this name.
    """
    path = Path(options.file)
    asked = Asked(options.name_column, options.class_column, options.probability_column)
    predictions = read_predictions(path, options.values, asked)
    store = FeatureStore.open(absolute(options.store), mode="a")
    info = _split(store, options)
    where = f"{info.dataset}/{info.split}"
    at = _places(info, predictions, options)
    missing = int((at < 0).sum())
    if missing and not options.partial:
        first = info.ids[np.flatnonzero(at < 0)[0]]
        raise IncompleteError(
            f"{missing:,} of the {info.n:,} samples of {where} have no prediction",
            where=f"{path}: such as {first}",
            fix="a file with all of them, or --partial: they then count as failed",
        )
    width, classes, notes = _classes(info, predictions, options, where)
    extra = len(predictions) - (info.n - missing)
    if extra:
        matched = set(at.tolist())
        first = next(i for i in range(len(predictions)) if i not in matched)
        named = f", such as {shown(predictions.names[first])}" if predictions.names else ""
        notes.append(f"{extra:,} predictions are of no sample of {where}; they are left out{named}")
    group = GroupKey(info.dataset, info.split, options.backbone, VIEW)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    fingerprint = _fingerprint(info, predictions, options, digest)
    store.agree(group, fingerprint)
    info = store.begin(info)
    store.declare(group, fingerprint, [_array(predictions, width)])
    pending = list(store.pending(group, [VIEW], plan_units(info.n, info.unit)))
    listen(Started("eval import", where, info.n, len(pending), info.n - sum(map(len, pending))))
    for note in notes:
        listen(Note(note))
    said = {"imported": True, "read": list(predictions.read), "unread": list(predictions.unread), "extra": extra}
    for unit in pending:
        _write(store, group, unit, info, at, lambda rows: _rows(predictions, classes, rows), said)
        listen(Advanced("eval import", unit.index, len(unit)))
    listen(Ended("eval import"))
    return Imported(info.dataset, info.split, options.backbone, predictions.kind, info.n, missing, extra)


def _fingerprint(info: SplitInfo, predictions: Predictions, options: ImportOptions, digest: str) -> dict[str, Any]:
    """All that decides what is stored of a file."""
    made: dict[str, Any] = {"dataset_digest": info.dataset_digest, "imported": digest}
    made |= {"kind": predictions.kind, "view": VIEW}
    if predictions.values is None:
        made["form"] = FORM
    if options.by_order:  # the same file by name is another mapping of its rows to samples
        made["by_order"] = True
    for name in ("name_column", "class_column", "probability_column"):
        if getattr(options, name) is not None:
            made[name] = getattr(options, name)
    if options.classes != "auto":
        made["classes"] = options.classes
    return made


def _array(predictions: Predictions, width: int) -> ArraySpec:
    dims = ("sample", "channel")
    if predictions.values is not None:
        return ArraySpec(VIEW, (width,), "float32", dims, {PREDICTIONS: VIEW})
    columns = 1 if predictions.probability is None else 2
    return ArraySpec(VIEW, (columns,), "float64", dims, {PREDICTIONS: predictions.kind, CLASSES: width})


def _split(store: FeatureStore, options: ImportOptions) -> SplitInfo:
    """The split as the store has frozen it, else that of the opened data set in a new order."""
    all_splits = store.splits()
    asked = stored_key(store, options.dataset, {name for name, _ in all_splits})
    by_name = asked != options.dataset and ":" not in options.dataset  # a name of one's own
    there = [
        key for key in all_splits if options.dataset in (key[0], spec_of_key(key[0])) or (by_name and asked == key[0])
    ]
    held = [key for key in there if options.split in (None, key[1])]
    if len(held) == 1:
        return store.split(*held[0])
    if held:
        raise UsageError(
            f"the store holds several splits of {options.dataset}",
            where=store.url,
            fix=f"--split {' or '.join(split for _, split in held)}",
        )
    dataset = open_dataset(options.dataset, data_root=options.data_root, split=options.split)
    if (asked, dataset.split) in all_splits:
        return store.split(asked, dataset.split)
    order = sample_order(len(dataset), 0)
    return SplitInfo(
        dataset=dataset.name,
        split=dataset.split,
        n=len(dataset),
        dataset_digest=dataset.digest,
        seed=0,
        unit=unit_size(len(dataset), CPU_BATCH),
        batch=CPU_BATCH,
        classes=dataset.classes,
        ids=np.array(dataset.ids, dtype=np.str_)[order],
        labels=dataset.labels[order],
        factors={name: values[order] for name, values in dataset.factors.items()},
        source=source_of(dataset),
    )


def _places(info: SplitInfo, predictions: Predictions, options: ImportOptions) -> NDArray[np.int64]:
    """(n,) int64 row of the file for each store position; -1: none."""
    if not options.by_order and predictions.names is not None:
        return match_names([str(name) for name in info.ids], predictions.names, options.file)
    if not options.by_order:
        raise UsageError(
            "the predictions do not name their samples",
            where=options.file,
            why=f"it also holds {', '.join(map(str, predictions.unread[:6]))}" if predictions.unread else None,
            fix=("--name-column, if one of these names them; " if predictions.unread else "")
            + "--by-order, if they are in the order of the data set: by class and file name, as datasets are listed",
        )
    if len(predictions) != info.n:
        raise UsageError(
            f"{len(predictions):,} predictions for {info.n:,} samples cannot be matched by order", where=options.file
        )
    return sample_order(info.n, info.seed)


def _classes(
    info: SplitInfo, predictions: Predictions, options: ImportOptions, where: str
) -> tuple[int, NDArray[np.int64] | None, list[str]]:
    """Width of the logits, the predicted classes as columns, and what must be said."""
    notes = []
    if predictions.unread:
        names = ", ".join(map(str, predictions.unread[:6])) + (", ..." if len(predictions.unread) > 6 else "")
        notes.append(f"{len(predictions.unread)} columns of {Path(options.file).name} are not read: {names}")
    if predictions.values is not None:
        width = predictions.values.shape[1]
        if not _foreign(info):
            label_space(info.classes, width, where)  # refuses a width that fits no class
        return width, None, notes
    imagenet = are_wnids(info.classes) or _foreign(info)
    width = 1000 if imagenet else len(info.classes)
    columns, said = class_columns(predictions, info.classes, imagenet, options.classes, where)
    p = predictions.probability
    if p is not None and width > 1 and (p * width <= 1).any():
        raise IntegrityError(
            f"the probability {p.min():.3g} of a predicted class is not above 1/{width}",
            where=where,
            why=f"the largest of {width} probabilities that sum to 1 always is",
        )
    return width, columns, notes + said


def _foreign(info: SplitInfo) -> bool:
    """Data sets with classes of their own that are scored by a classifier of ImageNet."""
    return info.dataset in ("pug-imagenet", "cue-conflict")


def _rows(
    predictions: Predictions, classes: NDArray[np.int64] | None, rows: NDArray[np.int64]
) -> NDArray[np.float32] | NDArray[np.float64]:
    """(m, columns) as they are stored, of rows of the file."""
    if predictions.values is not None:
        values = predictions.values[rows]
        return np.log(np.maximum(values, _TINY)) if predictions.kind == "probabilities" else values
    assert classes is not None
    return compact(classes[rows], None if predictions.probability is None else predictions.probability[rows])


def _write(
    store: FeatureStore,
    group: GroupKey,
    unit: Unit,
    info: SplitInfo,
    at: NDArray[np.int64],
    values_of: Callable[[NDArray[np.int64]], NDArray[Any]],
    said: Mapping[str, Any],
) -> None:
    with store.writer(group, [VIEW], unit) as writer:
        rows = at[unit.start : unit.stop]
        absent = np.flatnonzero(rows < 0).tolist()
        bad = [BadSample(unit.start + i, str(info.ids[unit.start + i]), ABSENT, "not in the file") for i in absent]
        writer.exclude(bad)
        values = values_of(np.maximum(rows, 0))
        values[absent] = np.nan
        writer.write(VIEW, 0, values)
        writer.commit(provenance=said)
