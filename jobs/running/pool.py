"""The driver's loop over Ray actors: what one answer costs does not grow with the tasks that are done or waiting."""

from __future__ import annotations

import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from cvbench.errors import ClusterError, CvbenchError, IncompleteError, TransientError, lacking
from cvbench.jobs.running.cluster import WorkerRecipe
from cvbench.jobs.running.logs import LOGS
from cvbench.jobs.running.progress import Failed, Listener, Note, Repeated, silent
from cvbench.jobs.running.session import RaySession
from cvbench.jobs.running.versions import Hello, compare, versions

Task = TypeVar("Task")
Receipt = TypeVar("Receipt")

FIRST_DEADLINE = 1800.0  # seconds: nothing to go by yet, and the first task of an actor loads the weights
LEAST_DEADLINE = 60.0
TURN = 1.0  # seconds between two looks at what is overdue
REMEMBERED = 1000  # durations that the deadline goes by
SAID_EVERY = 30.0  # seconds between two words of what is waited for
FIRST_SAID = 3.0  # seconds: an actor on a node that is there needs fewer
LAST_LINES = 40  # of an actor that was lost, that are told
MOST_ACTORS = 1024  # that a cluster which grows is asked for


class _Slot:
    """The place of one actor, and what it was given."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.running: dict[Any, int] = {}  # object ref -> task number
        self.retired = False
        self.hello: Hello | None = None  # what it said when it had its place


class _Open:
    """The slots that can take a task, those with fewest first: every actor gets one before any gets a second.

    An entry may be old; it holds only if its slot still runs as many tasks as its row says.
    """

    def __init__(self, most: int) -> None:
        self._rows: list[deque[_Slot]] = [deque() for _ in range(most)]

    def put(self, slot: _Slot) -> None:
        if len(slot.running) < len(self._rows):
            self._rows[len(slot.running)].append(slot)

    def take(self) -> _Slot | None:
        for depth, row in enumerate(self._rows):
            while row:
                slot = row.popleft()
                if not slot.retired and len(slot.running) == depth:
                    return slot
        return None

    def idle(self) -> bool:
        return any(not slot.retired and not slot.running for slot in self._rows[0])


class Pool(Generic[Task, Receipt]):
    """Hands out tasks, collects receipts, replaces the dead, repeats the overdue."""

    def __init__(
        self,
        session: RaySession,
        recipe: WorkerRecipe[Task, Receipt],
        tasks: Sequence[Task],
        on_done: Callable[[Task, Receipt], None],
        listen: Listener = silent,
    ) -> None:
        self.session = session
        self.recipe = recipe
        self.tasks = tasks
        self.on_done = on_done
        self.listen = listen
        self.slots: set[_Slot] = set()
        self.open = _Open(session.cluster.in_flight)
        self.queue: deque[int] = deque(range(len(tasks)))
        self.where: dict[Any, _Slot] = {}  # object ref -> who runs it
        self.started: dict[Any, float] = {}
        self.copies: Counter[int] = Counter()  # task number -> how many run it now
        self.failures: Counter[int] = Counter()
        self.done: set[int] = set()
        self.durations: deque[float] = deque(maxlen=REMEMBERED)
        self.deaths = 0  # since the last receipt
        self.looked = time.monotonic()
        self.coming: dict[Any, _Slot] = {}  # object ref of a greeting -> the actor that has no place yet
        self.grows = False
        self.alone = time.monotonic()  # since when no actor is there
        self.said = self.alone + FIRST_SAID - SAID_EVERY  # when it was said last what is waited for
        self.versions = versions()
        self.notes: set[str] = set()

    def run(self) -> None:
        """Do every task once; see `run_tasks`."""
        wanted, self.grows = self.session.demand()
        try:
            for _ in range(min(wanted, len(self.tasks))):
                self._add_actor()
            while len(self.done) < len(self.tasks):
                self._hand_out()
                self._collect()
                if time.monotonic() - self.looked >= TURN:
                    self.looked = time.monotonic()
                    self._repeat_overdue()
                    self._look_for_actors()
        finally:
            for slot in self.slots:
                _kill(slot.handle)

    def _add_actor(self) -> None:
        """Ask for an actor; it gets tasks once it has a place and has said so, which may take a node's start."""
        slot = _Slot(self.session.actor(self.recipe))
        self.slots.add(slot)
        self.coming[slot.handle.hello.remote()] = slot

    def _greeted(self, ref: Any) -> None:
        """An actor that was asked for is there, or is not to be."""
        import ray

        slot = self.coming[ref]
        try:
            slot.hello = ray.get(ref)
        except ray.exceptions.RayActorError as error:
            self._replace(slot, error)
            return
        del self.coming[ref]
        if slot.hello is not None:
            self._say(compare(self.versions, slot.hello))
        self.open.put(slot)
        if self.grows and not self.coming:  # all are there that were asked for: there may be more
            left = min(len(self.tasks) - len(self.done), MOST_ACTORS) - len(self.slots)
            for _ in range(min(left, len(self.slots))):
                self._add_actor()

    def _say(self, note: str | None) -> None:
        if note is not None and note not in self.notes:
            self.notes.add(note)
            self.listen(Note(note))

    def _look_for_actors(self) -> None:
        """Say what is waited for; give up where there has been no actor for too long."""
        now, there = time.monotonic(), len(self.slots) - len(self.coming)
        if there:
            self.alone = now
            return
        if now - self.alone > self.session.cluster.wait:
            raise self.session.lacking(now - self.alone, len(self.slots))
        if now - self.said > SAID_EVERY:
            self.said = now
            self.listen(Note(self.session.waiting(there, len(self.slots))))

    def _hand_out(self) -> None:
        while self.queue:
            if self.queue[0] in self.done:  # the repeat of an overdue task that came in time
                self.queue.popleft()
                continue
            slot = self.open.take()
            if slot is None:
                return
            number = self.queue.popleft()
            ref = slot.handle.run.remote(self.tasks[number])
            slot.running[ref] = number
            self.where[ref] = slot
            self.started[ref] = time.monotonic()
            self.copies[number] += 1
            self.open.put(slot)

    def _collect(self) -> None:
        """Wait for one answer, a second at most, and take all that are there."""
        import ray

        ready, running = ray.wait([*self.where, *self.coming], num_returns=1, timeout=TURN)
        if ready and running:
            ready += ray.wait(running, num_returns=len(running), timeout=0)[0]
        for ref in ready:
            if ref in self.coming:
                self._greeted(ref)
                continue
            slot = self.where.get(ref)
            if slot is None:  # its actor was replaced a moment ago
                continue
            try:
                receipt = ray.get(ref)
            except ray.exceptions.RayActorError as error:
                self._replace(slot, error)
            except ray.exceptions.RayTaskError as error:
                number, _ = self._take(ref)
                self._failed(number, error)
            else:
                self._succeeded(*self._take(ref), receipt)

    def _take(self, ref: Any) -> tuple[int, float]:
        """The number of the task that has answered, and how many seconds it took; its actor may take another."""
        slot = self.where.pop(ref)
        number = slot.running.pop(ref)
        self.open.put(slot)
        self._ended(number)
        return number, time.monotonic() - self.started.pop(ref)

    def _ended(self, number: int) -> None:
        self.copies[number] -= 1
        if not self.copies[number]:
            del self.copies[number]

    def _succeeded(self, number: int, seconds: float, receipt: Receipt) -> None:
        self.deaths = 0
        self.durations.append(seconds)
        if number not in self.done:  # else: the repeat of an overdue task won
            self.done.add(number)
            self.on_done(self.tasks[number], receipt)

    def _failed(self, number: int, error: Any) -> None:
        cause = lacking(error.cause) or error.cause
        passing = isinstance(cause, TransientError) or cause is not error.cause  # of that node, or for a while
        if isinstance(cause, CvbenchError) and not passing:  # deliberate: another attempt gives the same
            raise cause
        if number in self.done:
            return
        self.failures[number] += 1
        self.listen(Failed(f"{type(cause).__name__}: {cause}"[:500], 1))
        if self.failures[number] >= self.session.cluster.attempts:
            if passing:
                raise cause
            raise IncompleteError(
                f"a unit failed {self.failures[number]} times",
                where=str(self.tasks[number]),
                why=f"{type(cause).__name__}: {cause}",
                fix="the same command tries again; everything committed is kept",
            ) from error
        self.queue.appendleft(number)

    def _replace(self, slot: _Slot, error: Exception) -> None:
        """A dead actor's tasks go back to the queue; a new actor takes its place."""
        self.deaths += 1
        there = slot.hello
        given_back = sum(number not in self.done for number in slot.running.values())
        node, process = (there.node, there.pid) if there is not None else ("", 0)
        self.listen(Failed(str(error).splitlines()[0][:500], given_back, node, process, tuple(_last_words(slot))))
        if self.deaths > 3 * max(len(self.slots), 2):
            raise ClusterError(
                f"{self.deaths} actors died without finishing one unit",
                why="; ".join([str(error).splitlines()[0], *_last_words(slot)[-3:]]),
                fix="check the memory of the nodes (--batch-size, --backbone one at a time); the same command resumes",
            ) from error
        for ref, number in slot.running.items():
            del self.where[ref], self.started[ref]
            self._ended(number)
            if number not in self.done:
                self.queue.appendleft(number)
        self.coming = {ref: other for ref, other in self.coming.items() if other is not slot}
        slot.retired = True
        self.slots.remove(slot)
        _kill(slot.handle)
        self._add_actor()

    def _repeat_overdue(self) -> None:
        """Give a task past its deadline to an idle actor as well; give up an actor at three times the deadline.

        Ray never reports an actor that is stopped or hangs in a file system, so the driver keeps the time itself.
        """
        deadline = self._deadline()
        now = time.monotonic()
        late = [ref for ref, began in self.started.items() if now - began > deadline]
        if not late:
            return
        lost = {self.where[ref] for ref in late if now - self.started[ref] > 3 * deadline}
        repeated, before = set(self.queue), len(self.queue)
        for ref in late:
            number = self.where[ref].running[ref]
            alone = self.copies[number] == 1 and number not in self.done and number not in repeated
            if alone and self.where[ref] not in lost and self.open.idle():
                self.queue.append(number)
                repeated.add(number)
        if len(self.queue) > before:
            self.listen(Repeated(len(self.queue) - before))
        for slot in lost:
            self._replace(slot, TimeoutError(f"no answer for {3 * deadline:.0f} s"))

    def _deadline(self) -> float:
        if self.session.cluster.deadline is not None:
            return self.session.cluster.deadline
        if len(self.durations) < 3:
            return FIRST_DEADLINE
        return max(LEAST_DEADLINE, 5 * statistics.median(self.durations))


def _last_words(slot: _Slot) -> list[str]:
    """The last lines that an actor wrote."""
    return [] if slot.hello is None else [*LOGS.tail(slot.hello.address, slot.hello.pid)][-LAST_LINES:]


def _kill(handle: Any) -> None:
    import ray

    ray.kill(handle, no_restart=True)
