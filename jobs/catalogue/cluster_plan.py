"""`cvbench cluster plan`: what an extraction takes on a cluster, and what that costs by a person's own prices.

It is `cvbench plan`, summed over data sets, and each number says what it was reckoned from.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from cvbench.errors import UsageError
from cvbench.jobs.extraction.options import ExtractOptions, Rates
from cvbench.jobs.extraction.plan import PlanReport, plan
from cvbench.jobs.extraction.space import LayerPlan
from cvbench.jobs.running.sizes import human
from cvbench.options import Option

MOST_BYTES = 1 << 16
"""Of a file of prices."""


@dataclass(frozen=True)
class Prices:
    """Prices that a person pays, in one currency; what is not given costs nothing and is said not to be counted."""

    prices: Annotated[
        str | None, Option("TOML file of prices: gpu_hour, head_hour, gb_month, put_1000; options go before.")
    ] = None
    gpu_hour: Annotated[float | None, Option("Price of a GPU for an hour, its share of the node.", least=0)] = None
    head_hour: Annotated[float | None, Option("Price of the head for an hour.", least=0)] = None
    gb_month: Annotated[float | None, Option("Price of a GB kept for a month.", least=0)] = None
    put_1000: Annotated[float | None, Option("Price of 1,000 writing requests to the store.", least=0)] = None
    months: Annotated[float, Option("Months that the store is kept.", least=0)] = 1.0
    start_minutes: Annotated[float, Option("Minutes from a node's order to its first unit.", least=0)] = 10.0


@dataclass(frozen=True)
class Line:
    """One estimate: its value in its unit, as it is shown, and what it was reckoned from."""

    name: str
    value: float
    unit: str
    shown: str
    basis: str


@dataclass(frozen=True)
class ClusterPlan:
    """Estimates, and what would make it fit where it does not."""

    lines: tuple[Line, ...]
    advice: tuple[str, ...]
    notes: tuple[str, ...] = ()


def cluster_plan(jobs: Sequence[ExtractOptions], gpus: int, rates: Rates, prices: Prices) -> ClusterPlan:
    """Reckon; nothing runs.

    Args:
        jobs: One extraction for each data set.
        gpus: GPUs that compute side by side.

    Raises:
        UsageError: The file of prices cannot be read.
        CvbenchError: As `plan`.
    """
    known = _prices(prices)
    reports = [plan(job, gpus=gpus, rate=rates.rate, disk_mb_s=rates.disk_mb_s, published=True) for job in jobs]
    sharded = "://" in jobs[0].store
    lines = [*_work(reports, gpus, prices.start_minutes), *_store(reports, sharded=sharded)]
    return ClusterPlan(
        (*lines, *_costs({line.name: line.value for line in lines}, known, prices.months)),
        tuple(report.advice for report in reports if report.advice),
        tuple(dict.fromkeys(note for report in reports for note in report.notes)),
    )


def _prices(prices: Prices) -> dict[str, float]:
    """Name -> price, of the file and of the options, which go before."""
    names = [one.name for one in fields(Prices) if one.name not in ("prices", "months", "start_minutes")]
    found = _of_file(prices.prices, names) if prices.prices else {}
    typed = {name: getattr(prices, name) for name in names}
    return {**found, **{name: value for name, value in typed.items() if value is not None}}


def _of_file(path: str, names: Sequence[str]) -> dict[str, float]:
    try:
        with Path(path).expanduser().open("rb") as file:
            text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES} bytes")
        table: dict[str, Any] = tomllib.loads(text.decode())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError("the prices cannot be read", where=path, why=str(error), fix="TOML: gpu_hour = 2.5") from error
    for name, value in table.items():
        good = name in names and isinstance(value, int | float) and not isinstance(value, bool)
        if not good or not 0 <= value < math.inf:
            raise UsageError(f"{name} = {value!r} is no price", where=path, fix=f"numbers for: {', '.join(names)}")
    return {name: float(value) for name, value in table.items()}


def _work(reports: Sequence[PlanReport], gpus: int, start_minutes: float) -> Iterator[Line]:
    samples = sum(report.samples for report in reports)
    sets = ", ".join(f"{report.dataset}/{report.split}" for report in reports)
    yield Line("samples", samples, "samples", f"{samples:,}", sets)
    computing = sum(report.hours_expected for report in reports)
    slowest = max(reports, key=lambda report: report.hours_expected)
    basis = f"the slowest stage of each data set; {slowest.bottleneck}: {slowest.rates[slowest.bottleneck]}"
    yield Line("computing", computing, "hours", f"{computing:.2f} h", basis)
    starting = start_minutes / 60 if computing else 0.0
    yield Line("starting", starting, "hours", f"{starting * 60:.0f} min", "--start-minutes, assumed, once")
    total = computing + starting
    yield Line("hours", total, "hours", f"{total:.2f} h", "computing and starting, on nodes that stay")
    yield Line("GPU-hours", total * gpus, "GPU-hours", f"{total * gpus:.2f}", f"hours x {gpus} GPUs (--gpus)")


def _store(reports: Sequence[PlanReport], *, sharded: bool) -> Iterator[Line]:
    size = sum(report.bytes_total for report in reports)
    yield Line("bytes", size, "bytes", human(size), "still to be written, before any codec")
    puts = sum(_objects(report, layer, sharded=sharded) for report in reports for layer in report.layers)
    commits = sum(_left(report) * len({layer.group.path for layer in report.layers}) for report in reports)
    basis = f"{puts:,} objects of features and {commits:,} commits; without retries, listings, and reading the images"
    yield Line("requests", puts + commits, "writes", f"{puts + commits:,} writes", basis)


def _left(report: PlanReport) -> int:
    return report.units_total - report.units_done


def _objects(report: PlanReport, layer: LayerPlan, *, sharded: bool) -> int:
    """Objects that an array still gets."""
    from cvbench.storage.features.units import layout

    unit = max(1, -(-report.samples // max(report.units_total, 1)))
    rows, shard = layout(unit, layer.bytes_per_sample, spatial=len(layer.shape) > 1, sharded=sharded)
    return -(-layer.samples // (shard or rows))


def _costs(found: dict[str, float], known: dict[str, float], months: float) -> Iterator[Line]:
    """Lines of what has a price, and their sum."""
    amounts = {
        "gpu_hour": ("GPUs", found["GPU-hours"], "GPU-hours"),
        "head_hour": ("head", found["hours"], "hours"),
        "gb_month": ("store", found["bytes"] / 1e9 * months, f"GB x months ({months:g})"),
        "put_1000": ("requests", found["requests"] / 1000, "thousand writes"),
    }
    total = 0.0
    for name, price in known.items():
        what, amount, unit = amounts[name]
        total += amount * price
        basis = f"{amount:,.2f} {unit} at {price:g}"
        yield Line(f"cost of {what}", amount * price, "your currency", f"{amount * price:,.2f}", basis)
    if known:
        missing = [name for name in amounts if name not in known]
        basis = f"not counted: {', '.join([*missing, 'traffic'])}"
        yield Line("cost", total, "your currency", f"{total:,.2f}", basis)
