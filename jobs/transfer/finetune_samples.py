"""Which of the samples a run trains on, and which of them validate it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.finetune.augment import draw
from cvbench.jobs.transfer.finetune_task import FinetuneTask
from cvbench.storage.datasets.formats.lists import last_share

if TYPE_CHECKING:
    from cvbench.storage.datasets import Dataset

I64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of the training splits, split after split.

    Attributes:
        train: Those to train on, ascending.
        held: Those that validate, ascending; empty if a split of its own does, or nothing.
    """

    train: I64
    held: I64


def rows_of(task: FinetuneTask, splits: Sequence[Dataset]) -> Rows:
    """The rows of a run: a function of the names of the samples and of the seed.

    Without `recipe.examples` all are trained on, but for those that validate. With them, as many as they say are drawn
    of the first split, and as many of the others, or of the last `task.share` of the only one, where VTAB has its
    validation split.

    Args:
        task: `share`, `validate`, `recipe` and `seed` count.
        splits: Those of `task.train`.
    """
    first, n = len(splits[0]), sum(map(len, splits))
    held = np.array(last_share(splits[0].ids, task.share) if task.share else [], dtype=np.int64)
    rest = np.setdiff1d(np.arange(n), held)
    validates = held if task.validate else held[:0]
    if task.recipe.examples is None:
        return Rows(rest if task.validate else np.arange(n), validates)
    own, others = rest[rest < first], rest[rest >= first]
    if not task.validate:
        others = np.concatenate([held, others])
    many, few = task.recipe.examples
    if not len(others):  # nothing validates: all from the one split there is
        many, few = many + few, 0
    rng = draw(task.seed, 3)
    chosen = [rng.permutation(own)[:many], rng.permutation(others)[:few]]
    return Rows(np.sort(np.concatenate(chosen)).astype(np.int64), validates)
