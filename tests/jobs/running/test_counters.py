"""The counters of a run as Ray shows them: at the metrics endpoint of a real local Ray, as Prometheus reads it."""

from __future__ import annotations

import itertools
import re
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.progress import Event, Failed, Started
from cvbench.jobs.running.record import recorded
from cvbench.storage.features import FeatureStore
from tests.jobs.extraction.test_extract import options
from tests.jobs.images import write_folder
from tests.waiting import looks

DEADLINE = 150  # seconds; Ray sends its counters every second
_marks = itertools.count()
LINE = re.compile(r"^ray_cvbench_(\w+?)(?:_total)?\{(.*)\} ([0-9.e+]+)$", re.MULTILINE)


def shown() -> dict[tuple[str, str, str], float]:
    """(counter, job, stage) -> value, at the endpoints of all nodes."""
    import ray

    nodes: Any = ray.nodes  # untyped
    found: dict[tuple[str, str, str], float] = {}
    for node in nodes():
        with urllib.request.urlopen(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics") as page:
            for name, labels, value in LINE.findall(page.read().decode()):
                named = dict(re.findall(r'(\w+)="([^"]*)"', labels))
                found[name, named.get("job", ""), named.get("stage", "")] = float(value)
    return found


def settled() -> dict[tuple[str, str, str], float]:
    """What is shown once all is that this process has counted.

    It sends counters one round after the other. A round may have passed one of ours before it came to a mark that was
    made later; the next has not.
    """
    marked()
    return marked()


def marked() -> dict[tuple[str, str, str], float]:
    """What is shown with a new counter."""
    from ray.util.metrics import Counter

    mark = f"mark_{next(_marks)}"
    make: Any = Counter  # untyped
    make(f"cvbench_{mark}").inc(1)
    for _ in looks(DEADLINE):
        if (mark, "", "") in (found := shown()):
            return found
    raise AssertionError


def grown(
    before: dict[tuple[str, str, str], float], after: dict[tuple[str, str, str], float], job: str
) -> dict[str, float]:
    """Counter, or stage of the seconds, of a job -> what was added to it."""
    own = {key: value - before.get(key, 0) for key, value in after.items() if key[1] == job}
    return {stage or name: value for (name, _, stage), value in own.items()}


def test_images_units_bad_samples_and_seconds(tmp_path: Path, ray_here: None) -> None:
    write_folder(tmp_path / "pets", 40, broken=(3, 7))
    before = settled()
    extract(replace(options(tmp_path), max_unreadable=0.1), Cluster("local", actors=1))
    found = grown(before, settled(), "extract")
    assert (found["images"], found["units"], found["bad_samples"]) == (40, 3, 2)
    assert 0 < found["device"] <= found["total"]


def test_failures_and_what_they_cost(tmp_path: Path, ray_here: None) -> None:
    store = FeatureStore.open(tmp_path / "store.zarr", mode="a")
    before = settled()

    def silent(event: Event) -> None: ...

    with recorded(store.objects, Cluster("local"), silent) as tell:
        tell(Started("counted", "digits/test", 10, 2, 0))
        tell(Failed("an actor was lost", 3))
        tell(Failed("another", 0))
    assert grown(before, settled(), "counted") == {"actor_failures": 2, "units_redone": 3}
