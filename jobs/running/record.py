"""What a run leaves of itself: a log in the store, and counters of Ray where it runs on one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cvbench.errors import CvbenchError
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.progress import Advanced, Ended, Event, Failed, Listener, Note, Repeated, Started
from cvbench.jobs.running.versions import versions
from cvbench.storage.objects.base import Objects
from cvbench.storage.runs.log import RunLog


@contextmanager
def recorded(objects: Objects, cluster: Cluster, listen: Listener, log: RunLog | None = None) -> Iterator[Listener]:
    """Give a listener that passes all on and records it, if there is any work; the end is recorded whatever it is.

    Args:
        objects: Of the store.
        cluster: Where the run is.
        listen: What the events are passed on to.
        log: Begun already, by whoever wrote to the store before.
    """
    record = _Record(objects, cluster, listen, log)
    try:
        yield record
    except BaseException as error:
        record.end(error)
        raise
    record.end(None)


class _Record:
    def __init__(self, objects: Objects, cluster: Cluster, listen: Listener, log: RunLog | None) -> None:
        self._objects, self._cluster, self._listen = objects, cluster, listen
        self._log = log
        self._counters: _Counters | None = None

    def __call__(self, event: Event) -> None:
        self._keep(event)
        self._listen(event)

    def _keep(self, event: Event) -> None:
        if isinstance(event, Started):
            if not event.units:  # a run that finds nothing to do leaves no trace
                return
            if self._log is None:
                self._log = RunLog(self._objects)
                self._log.begin()
            cluster = self._cluster
            about = {"place": cluster.address if not cluster.joined else "cluster", "device": cluster.device}
            samples = {"total": event.total, "units": event.units, "skipped": event.skipped}
            self._log.add(
                "started", {"job": event.job, "title": event.title, **samples, **about, "versions": versions()}
            )
        elif self._log is None:
            return
        elif isinstance(event, Advanced):
            seconds = {name: round(value, 4) for name, value in event.seconds.items()}
            fields = {"unit": event.unit, "samples": event.samples, "bad": event.bad, "seconds": seconds}
            self._log.add("unit", fields, matters=False)
        elif isinstance(event, Failed):
            fields = {"what": event.what, "node": event.node, "process": event.process, "units": event.units}
            self._log.add("failure", {**fields, "lines": list(event.lines)})
        elif isinstance(event, Repeated):
            self._log.add("repeated", {"units": event.units})
        elif isinstance(event, Note):
            self._log.add("note", {"text": event.text}, matters=False)
        if not isinstance(event, Ended):
            self._count(event)

    def _count(self, event: Event) -> None:
        if self._cluster.address == "none":
            return
        if self._counters is None:
            self._counters = _Counters()
        self._counters.take(event)

    def end(self, error: BaseException | None) -> None:
        """Record the end, and write what is held."""
        log = self._log
        if log is None:
            return
        said: dict[str, Any] = {"outcome": "done" if error is None else "failed", "left_out": log.left_out}
        if isinstance(error, KeyboardInterrupt):
            said["outcome"] = "interrupted"
        elif isinstance(error, CvbenchError):
            said["error"] = error.as_dict()
        elif error is not None:
            said["error"] = {"code": "bug", "what": f"{type(error).__name__}: {error}"[:500]}
        log.add("ended", said)
        log.flush()


class _Counters:
    """Counters of Ray, which its dashboard and Prometheus show; none where no Ray is connected."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        self._job = ""

    def take(self, event: Event) -> None:
        """Add what an event says."""
        ray: Any = sys.modules.get("ray")
        if isinstance(event, Started):
            self._job = event.job
        if ray is None or not ray.is_initialized():
            return
        if isinstance(event, Advanced):
            self._add("images", event.samples)
            self._add("units", 1)
            self._add("bad_samples", event.bad)
            for stage, seconds in event.seconds.items():
                self._add("stage_seconds", seconds, stage=stage)
        elif isinstance(event, Failed):
            self._add("actor_failures", 1)
            self._add("units_redone", event.units)
        elif isinstance(event, Repeated):
            self._add("units_redone", event.units)

    def _add(self, name: str, value: float, **tags: str) -> None:
        if value <= 0:  # Ray's counters take no zero
            return
        if name not in self._made:
            from ray.util.metrics import Counter

            make: Any = Counter
            self._made[name] = make(f"cvbench_{name}", f"cvbench: {name}", tag_keys=("job", *tags))
        self._made[name].inc(value, tags={"job": self._job, **tags})
