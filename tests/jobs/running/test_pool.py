"""The driver's loop with many actors, in virtual time."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import pytest

from cvbench.errors import ClusterError, IntegrityError, ResourceError, TransientError
from cvbench.jobs.running import pool
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.progress import Failed
from tests.jobs.running.virtual import Fate, VirtualRay


def drive(patch: pytest.MonkeyPatch, ray: VirtualRay, tasks: int) -> Counter[int]:
    """How often each task was reported."""
    patch.setitem(sys.modules, "ray", ray)
    patch.setattr(pool, "time", ray)
    reported: Counter[int] = Counter()
    pool.Pool(ray, None, range(tasks), lambda task, receipt: reported.update([task])).run()  # type: ignore[arg-type]
    return reported


@pytest.mark.parametrize(
    "fate",
    [
        Fate(),
        Fate(dying=0.2, failing=0.05),
        Fate(dying=0.05, lagging=0.02),
        Fate(seconds=0.001),
        Fate(tick=60, dying=0.05),
    ],
    ids=["quiet", "dying and failing", "stragglers", "short", "together"],
)
@pytest.mark.parametrize("seed", [1, 2])
def test_every_task_is_reported_once_whatever_happens(monkeypatch: pytest.MonkeyPatch, fate: Fate, seed: int) -> None:
    ray = VirtualRay(fate, Cluster(address="virtual", actors=64, attempts=8), seed)
    reported = drive(monkeypatch, ray, 2_000)
    assert reported == dict.fromkeys(range(2_000), 1)


PASSING = [TransientError("503"), MemoryError("9 GiB"), RuntimeError("can't start new thread")]


@pytest.mark.parametrize("cause", PASSING, ids=repr)
def test_what_may_be_well_elsewhere_is_tried_again_and_then_said_as_it_is(
    monkeypatch: pytest.MonkeyPatch, cause: Exception
) -> None:
    few = VirtualRay(Fate(failing=0.05, cause=cause), Cluster(address="virtual", actors=4, attempts=8))
    assert drive(monkeypatch, few, 200) == dict.fromkeys(range(200), 1)
    all_of_them = VirtualRay(Fate(failing=1.0, cause=cause), Cluster(address="virtual", actors=4, in_flight=1))
    with pytest.raises(ResourceError):
        drive(monkeypatch, all_of_them, 1)
    assert all_of_them.now > 3 * 0.8 * 20  # three attempts


@pytest.mark.parametrize("cause", [ResourceError("no space left"), IntegrityError("damaged")], ids=repr)
def test_what_another_attempt_does_not_cure_ends_the_run_at_once(
    monkeypatch: pytest.MonkeyPatch, cause: Exception
) -> None:
    ray = VirtualRay(Fate(failing=1.0, cause=cause), Cluster(address="virtual", actors=4))
    with pytest.raises(type(cause)):
        drive(monkeypatch, ray, 100)
    assert ray.now < 2 * 20


@pytest.mark.parametrize(("actors", "deaths"), [(1, 7), (2, 7), (10, 31)])
def test_actors_that_only_die_end_the_run(monkeypatch: pytest.MonkeyPatch, actors: int, deaths: int) -> None:
    """Three for each place, and six at least; `test_executor` has it of real ones."""
    ray = VirtualRay(Fate(seconds=1e6, dying=1.0), Cluster(address="virtual", actors=actors))
    with pytest.raises(ClusterError, match=f"{deaths} actors died without finishing one unit"):
        drive(monkeypatch, ray, 100)


def test_actors_are_kept_busy_while_nodes_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = VirtualRay(Fate(dying=0.01), Cluster(address="virtual", actors=200))
    drive(monkeypatch, ray, 200 * 60)
    assert ray.deaths > 20
    assert ray.busy / (200 * ray.now) > 0.95


def test_every_actor_gets_a_task_before_any_gets_two(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = VirtualRay(Fate(), Cluster(address="virtual", actors=40))
    taken: list[object] = []
    submit = ray.submit

    def watched(actor: Any, task: int) -> int:
        taken.append(actor)
        return submit(actor, task)

    monkeypatch.setattr(ray, "submit", watched)
    drive(monkeypatch, ray, 100)
    assert len({id(actor) for actor in taken[:40]}) == 40
    assert len({id(actor) for actor in taken[40:80]}) == 40


def test_what_the_driver_keeps_does_not_grow_with_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = VirtualRay(Fate(seconds=0.5), Cluster(address="virtual", actors=8))
    kept: list[int] = []
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(pool, "time", ray)

    def look(task: int, receipt: int) -> None:
        entries = sum(map(len, driver.open._rows))
        kept.append(len(driver.where) + len(driver.started) + len(driver.copies) + entries)

    driver = pool.Pool(ray, None, range(4_000), look)  # type: ignore[arg-type]
    driver.run()
    assert max(kept) <= 16 * 8
    assert len(driver.durations) == pool.REMEMBERED


@pytest.mark.parametrize("in_flight", [1, 2])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_lost_actor_costs_no_more_than_what_was_in_its_hands(
    monkeypatch: pytest.MonkeyPatch, in_flight: int, seed: int
) -> None:
    """Handed out again: as many tasks as one actor has at a time, at most, for each that was lost."""
    ray = VirtualRay(Fate(dying=0.3), Cluster(address="virtual", actors=32, in_flight=in_flight), seed)
    handed: Counter[int] = Counter()
    lost: list[int] = []
    submit = ray.submit

    def counted(actor: Any, task: int) -> int:
        handed[task] += 1
        return submit(actor, task)

    monkeypatch.setattr(ray, "submit", counted)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(pool, "time", ray)

    def listen(event: object) -> None:
        if isinstance(event, Failed):
            lost.append(event.units)

    pool.Pool(ray, None, range(3_000), lambda task, receipt: None, listen).run()  # type: ignore[arg-type]
    assert len(lost) > 100
    assert max(lost) == in_flight
    assert sum(handed.values()) - 3_000 == sum(lost), "nothing but what was lost is done again"
