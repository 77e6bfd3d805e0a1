"""`cvbench plan`: bytes, hours and the bottleneck of an extraction, before anything runs or weights are loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cvbench.errors import AccessError, DataUnavailableError, ResourceError, UsageError
from cvbench.jobs.extraction.arrays import (
    Published,
    arrays_of,
    check_unit,
    check_views_of,
    existing_store,
    frozen_split,
    refuse_other_sizes,
    units_of,
)
from cvbench.jobs.extraction.backbones import descriptions_of
from cvbench.jobs.extraction.decoding.choice import KEPT, THREADS_MOST, DecodeIn, in_processes
from cvbench.jobs.extraction.options import AUTO, CPU_BATCH, ExtractOptions, resolved
from cvbench.jobs.extraction.precision import held_precisions
from cvbench.jobs.extraction.rates import CardRates, card_asked, card_named
from cvbench.jobs.extraction.room import check_sizes
from cvbench.jobs.extraction.space import LayerPlan, advise, budgets, free_bytes, plan_layers
from cvbench.jobs.running.place import cores_here
from cvbench.jobs.running.sizes import human

if TYPE_CHECKING:
    from cvbench.engine.models.backbones import Description
    from cvbench.storage.datasets import Dataset
    from cvbench.storage.features import FeatureStore
    from cvbench.storage.features.units import Unit

DECODE_SECONDS = 0.0015  # one core, one 500 x 375 JPEG, decode and antialiased resize (measured)
ASSUMED = "v100"  # the card of a plan that names none, on a machine without one
GFLOPS_PER_CORE = 2 * 33.0 * 1.5  # assumed: one CPU core in float32, of its products
WRITE_SECONDS = 1e-9  # assumed: one core, one value that an operation writes; of small networks half of the time
CORES = 4  # CPU cores of a GPU of which nobody says how many it has
COMPILE_SECONDS = 60.0  # of one backbone in one worker (assumed; `bench/compile.py` measures it)
COMPILE_GAIN = 1.2  # assumed of a GPU: timm's published rates at 224 pixels rise by 1.13 to 1.42


@dataclass(frozen=True)
class PlanReport:
    """Forecast of a run. Hours are estimated by stage from the stated rates; the slowest stage is the bottleneck."""

    dataset: str
    split: str
    samples: int
    units_total: int
    units_done: int
    layers: tuple[LayerPlan, ...]
    bytes_total: int
    free_bytes: int | None
    fits: bool
    advice: str | None
    hours: dict[str, float]
    rates: dict[str, str]
    bottleneck: str
    gpus: int = 0
    compile: str = ""  # whether compiling pays, in words
    notes: tuple[str, ...] = ()
    published: bool = False  # the images are not here: their number is that of the registry

    @property
    def bytes_by_view(self) -> dict[str, int]:
        """Uncompressed bytes still to be written, by view."""
        totals: Counter[str] = Counter()
        for layer in self.layers:
            totals[layer.group.view] += layer.bytes
        return dict(totals)

    @property
    def hours_expected(self) -> float:
        """Stages overlap: the slowest one decides."""
        return max(self.hours.values())


def check_together(jobs: Sequence[ExtractOptions]) -> None:
    """Before the first of several extractions: every data set is there, every name is known, all bytes fit together.

    Raises:
        CvbenchError: Whatever would refuse one of them; ResourceError if only their sum does not fit.
    """
    if len(jobs) < 2:
        return
    total = sum(plan(job).bytes_total for job in jobs)
    for budget, why, otherwise in budgets(jobs[0], total):
        if total > budget:
            raise ResourceError(
                f"{human(total)} are to be written for {len(jobs)} data sets together and {human(budget)} may be",
                where=jobs[0].store,
                why=why,
                fix=f"{otherwise}, fewer --dataset, --limit or fewer --taps; `cvbench plan` says what each takes",
            )


def plan(
    options: ExtractOptions,
    *,
    gpus: int = 0,
    rate: float | None = None,
    card: str | None = None,
    disk_mb_s: float = 1000.0,
    published: bool = False,
    cores: int | None = None,
) -> PlanReport:
    """Forecast `extract` with the same options; nothing runs, no weights are loaded.

    Args:
        options: As for `extract`.
        gpus: GPUs of the run; 0 is this machine's CPU cores.
        rate: Images per second and GPU (or core) through all backbones together; None scales an assumed rate by the
            models' multiply-adds.
        card: Of the GPUs: see `jobs.extraction.rates`; None is this machine's, else a V100.
        disk_mb_s: Write bandwidth of the store in MB/s.
        published: Reckon with the published number of images where they are not here.
        cores: CPU cores of each GPU; None assumes `CORES`.
    """
    options = resolved(options)
    dataset = _opened(options, published)
    descriptions = descriptions_of(options)
    store, notes = _looked_into(options.store)
    notes = (*notes, *check_views_of(descriptions, options))
    work = _work(options, dataset, descriptions, store)
    total = sum(layer.bytes for layer in work.layers)
    held = held_precisions(store)
    precision = held[0] if options.precision == AUTO and len(held) == 1 else options.precision
    forward = forward_rate(precision, descriptions, gpus, rate, card)
    decode = decode_rate(options.decode_in, gpus, cores)
    hours, rates = _hours(work.samples_left, total, forward, decode, gpus or cores_here(), disk_mb_s)
    advices = (
        advise(work.layers, budget, work.unit, otherwise, frozen=work.frozen)
        for budget, _, otherwise in budgets(options, total)
    )
    advice = next(filter(None, advices), None)
    return PlanReport(
        dataset=dataset.name,
        split=dataset.split,
        samples=work.samples,
        units_total=work.units,
        units_done=work.units - work.units_left,
        layers=work.layers,
        bytes_total=total,
        free_bytes=free_bytes(options.store),
        fits=advice is None,
        advice=advice,
        hours=hours,
        rates=rates,
        bottleneck=max(hours, key=lambda stage: hours[stage]),
        gpus=gpus,
        compile=compile_words(hours["forward"], gpus, len(descriptions)),
        notes=notes,
        published=isinstance(dataset, Published),
    )


@dataclass(frozen=True)
class _Work:
    """Samples and units of an extraction, those that are left of them, and its arrays; `unit` is frozen or will be."""

    samples: int
    samples_left: int
    units: int
    units_left: int
    unit: int
    frozen: bool
    layers: tuple[LayerPlan, ...]


def _work(
    options: ExtractOptions,
    dataset: Dataset | Published,
    descriptions: Sequence[Description],
    store: FeatureStore | None,
) -> _Work:
    from cvbench.storage.features import GroupKey
    from cvbench.storage.features.units import unit_size

    frozen = frozen_split(store, dataset)
    if frozen:
        refuse_other_sizes(options, frozen, options.store)
    else:
        check_sizes(options, len(dataset))
    size = options.unit or (frozen.unit if frozen else unit_size(len(dataset), options.batch_size or CPU_BATCH))
    if batch := options.batch_size or (frozen.batch if frozen else None):
        check_unit(size, batch)
    groups = {
        GroupKey(dataset.name, dataset.split, description.spec.key, view): arrays
        for description in descriptions
        for view, arrays in arrays_of(description, options).items()
    }
    units = {group: units_of(options, len(dataset), size, group.view) for group in groups}
    pending = {
        group: store.pending(group, taps, units[group]) if store else dict.fromkeys(units[group], taps)
        for group, taps in ((group, [array.tap for array in arrays]) for group, arrays in groups.items())
    }
    covered: set[Unit] = set().union(*units.values())
    left: set[Unit] = set().union(*pending.values())
    return _Work(
        samples=sum(map(len, covered)),
        samples_left=sum(map(len, left)),
        units=len(covered),
        units_left=len(left),
        unit=size,
        frozen=frozen is not None,
        layers=tuple(plan_layers(groups, pending)),
    )


def _looked_into(url: str) -> tuple[FeatureStore | None, tuple[str, ...]]:
    """The store if there is one, and what is said of one that we may not look into: a plan needs none."""
    try:
        return existing_store(url), ()
    except AccessError as error:
        return None, (f"planned as for a new store: {url} cannot be looked into, {error.what}; {error.fix}",)


def _opened(options: ExtractOptions, published: bool) -> Dataset | Published:
    """The data set, or with `published` what the registry knows of one that is not here."""
    from cvbench.storage.datasets import dataset_info, key_of_spec, open_dataset
    from cvbench.storage.datasets.variant import split_transform

    try:
        return open_dataset(options.dataset, data_root=options.data_root, split=options.split)
    except DataUnavailableError:
        base = split_transform(options.dataset)[0]
        if not published or ":" in base:
            raise
        info = dataset_info(base)
        split = options.split or info.default_split
        if split not in info.counts:
            raise
        return Published(key_of_spec(options.dataset), split, info.counts[split])


def compile_words(forward_hours: float, gpus: int, backbones: int) -> str:
    """Whether --compile pays, in words.

    Args:
        forward_hours: Expected of the forward passes without it.
        gpus: Of the run; 0 is CPU cores.
        backbones: Each is compiled by every worker.

    >>> compile_words(0.1, 1, 2)
    'does not pay: it takes about 2 min at first and would save 1 min of the forward passes (assumed)'
    """
    if not gpus:
        return "does not pay on a CPU, where the rate hardly changes (bench/compile.py)"
    cost, saved = COMPILE_SECONDS * backbones / 60, forward_hours * (1 - 1 / COMPILE_GAIN) * 60
    pays = "pays" if saved > 2 * cost else "does not pay"
    return (
        f"{pays}: it takes about {cost:.0f} min at first and would save {saved:.0f} min of the forward passes (assumed)"
    )


def forward_rate(
    precision: str,
    descriptions: Sequence[Description],
    gpus: int,
    rate: float | None = None,
    card: str | None = None,
) -> tuple[float, str]:
    """Images per second of one GPU or core through all backbones, and in words where that comes from.

    Raises:
        UsageError: The card does not compute in this precision.
    """
    kind = "GPU" if gpus else "CPU core"
    if rate is not None:
        return rate, f"{rate:,.1f} images/s per {kind}, given by --rate"
    work = [description.work for description in descriptions]
    giga = max(sum(one.flops for one in work) / 1e9, 1e-6)
    if not gpus:
        written = sum(one.elements for one in work)
        each = 1 / (giga / GFLOPS_PER_CORE + written * WRITE_SECONDS)
        basis = f"assumed of one core in float32 for {giga:.3g} GFLOP and {written / 1e6:.3g} M values per image"
        return each, f"{each:,.1f} images/s per {kind}, {basis}"
    known = card_asked(card) if card else _card_here()
    precision = known.named(precision)
    if precision not in known.images:
        raise UsageError(f"a {known.name.upper()} does not compute in {precision}", fix=f"--precision {known.best}")
    each = known.gflops(precision) / giga
    basis = f"by the model of docs/scale.md of a {known.name.upper()} in {precision} for {giga:.1f} GFLOP per image"
    return each, f"{each:,.1f} images/s per {kind}, {basis}"


def _card_here() -> CardRates:
    """The card of this machine, where there is one that is known; else the one assumed."""
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return card_named(name) or card_asked(ASSUMED)


def decode_rate(asked: DecodeIn, gpus: int, cores: int | None = None) -> tuple[float, str]:
    """Images a second that are decoded for one worker, and in words whence.

    >>> round(decode_rate("auto", 1, 16)[0]), round(decode_rate("threads", 1, 16)[0])
    (9333, 1740)
    """
    one = f"{DECODE_SECONDS * 1e3:.1f} ms per image and core"
    if not gpus:
        return 1 / DECODE_SECONDS, f"{one}, {cores_here()} cores"
    each = cores or CORES
    basis = "" if cores else " (assumed; --threads says how many)"
    if in_processes(asked, "cuda", each):
        processes = max(1, each - KEPT)
        return processes / DECODE_SECONDS, f"{one}, {processes} processes beside each of {gpus} GPUs{basis}"
    rate = min(each / DECODE_SECONDS, THREADS_MOST)
    most = f", which share a lock: {THREADS_MOST:,.0f} images/s at most (a model)" if rate == THREADS_MOST else ""
    return rate, f"{one}, {each} threads beside each of {gpus} GPUs{basis}{most}"


def _hours(
    samples: int, volume: int, forward: tuple[float, str], decode: tuple[float, str], workers: int, disk_mb_s: float
) -> tuple[dict[str, float], dict[str, str]]:
    """Hours by stage, and in words the rates they come from.

    Args:
        forward, decode: Images per second of one worker, and whence.
    """
    each, stated = forward
    hours = {
        "forward": samples / (each * workers) / 3600,
        "decode": samples / (decode[0] * workers) / 3600,
        "write": volume / (disk_mb_s * 1e6) / 3600,
    }
    rates = {
        "forward": f"{stated}, {workers} of them",
        "decode": decode[1],
        "write": f"{disk_mb_s:,.0f} MB/s to the store",
    }
    return hours, rates
