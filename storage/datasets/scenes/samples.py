"""What a data set of scenes is: its splits' samples, and what their table says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from cvbench.storage.datasets.scenes.columns import Columns
from cvbench.storage.datasets.scenes.factors import CLASSES
from cvbench.storage.datasets.scenes.rule import class_of, usual
from cvbench.storage.datasets.scenes.scene import Scene

RANGE = 1_000_000
"""Seeds that each split has for itself, so that no scene is in two."""


@dataclass(frozen=True)
class Sample:
    """One scene of a data set."""

    id: str
    label: int
    scene: Scene


def _no_columns(samples: Sequence[Sample]) -> Columns:
    return {}


@dataclass(frozen=True)
class SceneSet:
    """One data set.

    Attributes:
        classes: Names by label.
        counts: Split -> how many scenes; the first one is the usual one if there is no "test".
        make: Split -> its samples.
        columns: What the sample table has beside `columns.columns_of`.
        whole: The splits that together hold every scene once; empty: all.
        notes: What to know of the images, one sentence a line.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    counts: Mapping[str, int]
    make: Callable[[str], list[Sample]]
    columns: Callable[[Sequence[Sample]], Columns] = _no_columns
    whole: tuple[str, ...] = ()
    notes: str = ""


def seeded(first: int, counts: Mapping[str, int], make: Callable[[int], Sample]) -> Callable[[str], list[Sample]]:
    """Split -> its samples: split by split, in the order of `counts`, the seeds of the ranges from `first` on."""
    begin = {split: (first + number) * RANGE for number, split in enumerate(counts)}
    return lambda split: [make(seed) for seed in range(begin[split], begin[split] + counts[split])]


def usual_sample(seed: int, **changes: int) -> Sample:
    """The scene of a seed by the usual rule, but for some of its fields."""
    kind = class_of(seed)
    return Sample(f"{CLASSES[kind]}/{seed}", kind, replace(usual(kind, seed), **changes))  # type: ignore[arg-type]
