"""Runs units of work, on Ray actors or in this process, for every job alike.

A job hands over a *recipe* (how to build a worker; it travels to the actors) and *tasks* (small picklable values).
A worker must be idempotent: a task may run twice, if an actor dies, is overdue or freezes; the late result is dropped.
The store's ledger makes that harmless. Nothing that matters is kept here: the same command goes on where this ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from cvbench.jobs.running.cluster import Cluster, WorkerRecipe
from cvbench.jobs.running.pool import Pool
from cvbench.jobs.running.progress import Listener, Note, silent
from cvbench.jobs.running.session import RaySession

Task = TypeVar("Task")
Receipt = TypeVar("Receipt")

WORTH_A_RAY = 90.0
"""Seconds of work for one core that are worth the start of a Ray and of a worker on each other core."""


def run_tasks(
    recipe: WorkerRecipe[Task, Receipt],
    tasks: Sequence[Task],
    cluster: Cluster,
    on_done: Callable[[Task, Receipt], None] = lambda task, receipt: None,
    listen: Listener = silent,
) -> None:
    """Run every task once, in any order, and report each as it ends; `listen` is told what a person should know.

    Raises:
        CvbenchError: The first error that another attempt would not cure, as the worker raised it.
        IncompleteError: A task failed `cluster.attempts` times.
        ClusterError: Ray cannot be reached, no actor comes, one computes with other versions than this process, or
            actors die without any progress.
    """
    if not tasks:
        return
    for note in cluster.notes:
        listen(Note(note))
    if cluster.address == "none":
        left = _in_this_process(recipe, tasks, cluster, on_done)
        if not left:
            return
        listen(Note(f"{len(left)} of {len(tasks)} units are left: they go on on a private Ray, which uses all cores"))
        tasks, cluster = left, replace(cluster, address="local", notes=())
    with RaySession(cluster) as session:
        Pool(session, recipe, tasks, on_done, listen).run()


def _in_this_process(
    recipe: WorkerRecipe[Task, Receipt],
    tasks: Sequence[Task],
    cluster: Cluster,
    on_done: Callable[[Task, Receipt], None],
) -> Sequence[Task]:
    """Run tasks one after the other; what is left is too long for it, if the cluster `spills`."""
    worker = recipe.build()
    begin = time.monotonic()
    for done, task in enumerate(tasks, start=1):
        on_done(task, worker.run(task))
        each = (time.monotonic() - begin) / done
        if cluster.spills and each * (len(tasks) - done) > WORTH_A_RAY:
            return tasks[done:]
    return ()
