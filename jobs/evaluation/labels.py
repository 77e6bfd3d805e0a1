"""From the classes of a data set to the outputs of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import UsageError
from cvbench.storage.annotations.synsets import classifier_synsets
from cvbench.storage.datasets.readers.imagenet_classes import (
    WNID,
    class_indices,
    imagenet_columns,
    imagenet_wnids,
)

I64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LabelSpace:
    """Map from the outputs of a classifier to the classes of a data set.

    Attributes:
        columns: (k,) int64 ascending, the outputs that take part; None: all, as they are.
        targets: Label of the data set -> position among them; -1: the classifier lacks the class.
        width: Outputs that take part.
        protocol: The rule in words, kept with every result.
    """

    columns: I64 | None
    targets: I64
    width: int
    protocol: str

    def labels(self, predicted: I64) -> I64:
        """Positions among the outputs -> labels of the data set; -1 where the output is of none of its classes."""
        back = np.full(self.width, -1, np.int64)
        known = self.targets >= 0
        back[self.targets[known]] = np.flatnonzero(known)
        found: I64 = back[predicted]
        return found


def are_wnids(classes: Sequence[str]) -> bool:
    """Whether all are WordNet ids of ImageNet-1k."""
    known = class_indices()
    return bool(classes) and all(WNID.fullmatch(name) and name in known for name in classes)


def answers(classes: Sequence[str]) -> tuple[str, ...]:
    """The answers of a classifier on a data set: ImageNet's 1000 if its classes are of it, else these."""
    return imagenet_wnids() if are_wnids(classes) else tuple(classes)


def answer_columns(classes: Sequence[str]) -> I64:
    """(len(classes),) int64, the position of each among `answers`."""
    return imagenet_columns(classes) if are_wnids(classes) else np.arange(len(classes))


def label_space(classes: Sequence[str], outputs: int, where: str, *, masked: bool = True) -> LabelSpace:
    """The outputs that a data set of these classes is scored over.

    WordNet ids: the columns of the classes, in ascending order, out of a classifier of ImageNet-1k (or, by its number
    of outputs, of ImageNet-21k or -12k). Other classes: output i is class i, so the numbers must agree.

    Args:
        classes: Class names by label.
        outputs: Of the classifier.
        where: For messages.
        masked: Select the columns of the data set's classes; False: argmax over all 1000.

    Raises:
        UsageError: The classifier has another number of classes.
    """
    if not are_wnids(classes):
        if len(classes) != outputs:
            raise _mismatch(classes, outputs, where)
        return LabelSpace(None, np.arange(outputs), outputs, f"all {outputs} outputs; output i is class i")
    if outputs == 1000:
        columns = imagenet_columns(classes)
        if len(classes) == 1000 or not masked:
            return LabelSpace(None, columns, 1000, "all 1000 outputs")
        return _selected(columns, f"{len(classes)} of 1000 outputs, selected before argmax and softmax")
    synsets = classifier_synsets(outputs)
    if synsets is None:
        raise _mismatch(classes, outputs, where)
    place = {name: i for i, name in enumerate(synsets)}
    columns = np.array([place.get(name, -1) for name in classes], dtype=np.int64)
    lacking = int((columns < 0).sum())
    note = f"; it lacks {lacking} of the classes, which are never right" if lacking else ""
    return _selected(columns, f"{len(classes) - lacking} of {outputs} outputs of an ImageNet-21k/12k head{note}")


def _selected(columns: I64, protocol: str) -> LabelSpace:
    used = np.sort(columns[columns >= 0])
    targets = np.where(columns >= 0, np.searchsorted(used, columns), -1).astype(np.int64)
    return LabelSpace(used, targets, len(used), protocol)


def _mismatch(classes: Sequence[str], outputs: int, where: str) -> UsageError:
    shown = ", ".join(classes[:3]) + (", ..." if len(classes) > 3 else "")
    what = "WordNet ids of ImageNet" if are_wnids(classes) else "of its own"
    return UsageError(
        f"the classifier has {outputs:,} outputs, the data set {len(classes):,} classes {what}",
        where=where,
        why=f"its classes are {shown}; outputs and classes are matched by WordNet id, or by number and order",
        fix="a backbone whose classifier was trained on these classes (--weights FILE.safetensors), or a linear probe",
    )
