"""A Ray in virtual time: actors answer after a drawn number of seconds, die, or lag; nothing sleeps.

The driver's own loop runs on it, so that what it costs can be measured, and what it does with a thousand actors tested.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from cvbench.jobs.running.cluster import Cluster


class ActorError(Exception):
    """As ray.exceptions.RayActorError: the actor is gone."""


class TaskError(Exception):
    """As ray.exceptions.RayTaskError: the task raised `cause`."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass(frozen=True)
class Fate:
    """How long a task takes, in seconds, and how actors and tasks fail.

    Attributes:
        seconds: Of a usual task; drawn within a fifth of it.
        dying: Share of the actors that die within a minute.
        failing: Share of the runs of a task that raise an error.
        cause: That error; another attempt cures it.
        lagging: Share of the runs that take twenty times as long.
        tick: Answers arrive together, at multiples of so many seconds.
    """

    seconds: float = 20.0
    dying: float = 0.0
    failing: float = 0.0
    cause: Exception = field(default_factory=lambda: OSError("a read failed"))
    lagging: float = 0.0
    tick: float = 0.0


@dataclass
class _Actor:
    ray: VirtualRay
    dies: float
    alive: bool = True
    free: list[float] = field(default_factory=lambda: [0.0])  # one task computes at a time, in the order of arrival
    running: set[int] = field(default_factory=set)

    @property
    def run(self) -> SimpleNamespace:
        return SimpleNamespace(remote=lambda task: self.ray.submit(self, task))

    @property
    def hello(self) -> SimpleNamespace:
        return SimpleNamespace(remote=lambda: self.ray.greet(self))


class VirtualRay:
    """What `Pool` uses of the module `ray`, of a session, and of `time`."""

    def __init__(self, fate: Fate, cluster: Cluster, seed: int = 0) -> None:
        self.fate = fate
        self.cluster = cluster
        self.now = 0.0
        self.busy = 0.0  # seconds of computing that were of use
        self.deaths = 0
        self.exceptions = SimpleNamespace(RayActorError=ActorError, RayTaskError=TaskError)
        self._draw = random.Random(seed)
        self._refs = itertools.count()
        self._events: list[tuple[float, int]] = []
        self._answers: dict[int, tuple[_Actor, float, Any]] = {}
        self._ready: dict[int, None] = {}

    def monotonic(self) -> float:
        return self.now

    def demand(self) -> tuple[int, bool]:
        return self.cluster.actors or 1, False

    def greet(self, actor: _Actor) -> int:
        """An actor is there at once."""
        ref = next(self._refs)
        self._answers[ref] = (actor, 0.0, None)
        self._ready[ref] = None
        return ref

    def actor(self, recipe: object) -> _Actor:
        rate = self.fate.dying / 60
        return _Actor(self, self.now + (self._draw.expovariate(rate) if rate else float("inf")))

    def submit(self, actor: _Actor, task: Any) -> int:
        assert len(actor.running) < self.cluster.in_flight
        ref = next(self._refs)
        draw = self._draw
        seconds = self.fate.seconds * draw.uniform(0.8, 1.2) * (20 if draw.random() < self.fate.lagging else 1)
        begins = max(self.now, actor.free[0])
        ends = begins + seconds
        answer: Any = task
        if actor.dies < ends:
            ends, answer = max(self.now, actor.dies), ActorError("the node is gone")
        elif draw.random() < self.fate.failing:
            answer = TaskError(self.fate.cause)
        actor.free[0] = ends
        actor.running.add(ref)
        self._answers[ref] = (actor, ends - begins, answer)
        tick = self.fate.tick
        heapq.heappush(self._events, (math.ceil(ends / tick) * tick if tick else ends, ref))
        return ref

    def wait(self, refs: Sequence[int], num_returns: int, timeout: float) -> tuple[list[int], list[int]]:
        until = self.now + timeout
        while len(self._ready) < num_returns and self._events and self._events[0][0] <= until:
            at, ref = heapq.heappop(self._events)
            self.now = max(self.now, at)
            if ref in self._answers:
                self._ready[ref] = None
        if not self._ready:
            self.now = until
        ready = [ref for ref in refs if ref in self._ready][:num_returns]
        taken = set(ready)
        return ready, [ref for ref in refs if ref not in taken]

    def get(self, ref: int) -> Any:
        actor, seconds, answer = self._answers.pop(ref)
        self._ready.pop(ref, None)
        actor.running.discard(ref)
        if isinstance(answer, Exception):
            raise answer
        self.busy += seconds
        return answer

    def kill(self, actor: _Actor, no_restart: bool) -> None:
        assert no_restart
        self.deaths += actor.dies <= self.now
        for ref in actor.running:
            self._answers.pop(ref, None)
            self._ready.pop(ref, None)
        actor.running.clear()
