"""A plain loop whose recipe, tasks and receipts go through bytes, as they go to an actor and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from cvbench.engine.analyses.base import Result
from cvbench.jobs.running import executor
from cvbench.jobs.running.cluster import Cluster


def _carried(given: Any) -> Any:
    """What arrives of it elsewhere, by Ray's own pickling."""
    from ray import cloudpickle

    return cloudpickle.loads(cloudpickle.dumps(given))  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Travelled:
    """A recipe, or the worker that it built, that has arrived; `count` counts its tasks."""

    there: Any
    count: list[int]

    def build(self) -> Travelled:
        return Travelled(_carried(self.there).build(), self.count)

    def run(self, task: Any) -> Any:
        self.count[0] += 1
        return _carried(self.there.run(_carried(task)))


@contextmanager
def travelling() -> Iterator[None]:
    """Within it every loop of a job is such a loop.

    Raises:
        AssertionError: No task has gone that way.
    """
    plain, count = executor._in_this_process, [0]

    def loop(recipe: Any, *others: Any) -> Any:
        return plain(Travelled(recipe, count), *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executor, "_in_this_process", loop)
        yield
    assert count[0], "nothing has travelled"


def check_same_bits(run: Callable[[str, Cluster], Result], way: AbstractContextManager[None], cluster: Cluster) -> None:
    """Refuse a result that is another this way than from a plain loop.

    Args:
        run: Runs the job on a cluster, in a place of that name.
        way: Held around it.
        cluster: Of this way.
    """
    loop = run("loop", Cluster(address="none"))
    with way:
        other = run("other", cluster)
    for variable, (_, values) in loop.data.items():
        np.testing.assert_array_equal(values, other.data[variable][1])
    assert loop.attrs == other.attrs
