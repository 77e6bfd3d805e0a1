"""The counters of a run as Ray shows them: at the metrics endpoint of a real local Ray, as Prometheus reads it."""

from __future__ import annotations

import re
import time
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

DEADLINE = 90  # seconds; Ray sends its counters every second
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


def test_images_units_bad_samples_and_seconds(tmp_path: Path, ray_here: None) -> None:
    write_folder(tmp_path / "pets", 40, broken=(3, 7))
    before = shown()
    extract(replace(options(tmp_path), max_unreadable=0.1), Cluster("local", actors=1))
    end = time.monotonic() + DEADLINE

    def grown(name: str, stage: str = "") -> float:
        key = name, "extract", stage
        return shown().get(key, 0) - before.get(key, 0)

    while time.monotonic() < end and grown("images") < 40:
        time.sleep(0.5)
    assert grown("images") == 40
    assert grown("units") == 3
    assert grown("bad_samples") == 2
    assert grown("stage_seconds", "device") > 0
    assert grown("stage_seconds", "total") >= grown("stage_seconds", "device")


def test_failures_and_what_they_cost(tmp_path: Path, ray_here: None) -> None:
    store = FeatureStore.open(tmp_path / "store.zarr", mode="a")
    before = shown()

    def silent(event: Event) -> None: ...

    with recorded(store.objects, Cluster("local"), silent) as tell:
        tell(Started("counted", "digits/test", 10, 2, 0))
        tell(Failed("an actor was lost", 3))
        tell(Failed("another", 0))
    end = time.monotonic() + DEADLINE
    wanted = {("actor_failures", "counted", ""): 2.0, ("units_redone", "counted", ""): 3.0}
    while time.monotonic() < end:
        found = {key: shown().get(key, 0) - before.get(key, 0) for key in wanted}
        if found == wanted:
            return
        time.sleep(0.5)
    raise AssertionError(found)
