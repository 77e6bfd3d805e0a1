"""What one actor does with one unit: decode once, run every backbone, write the views, commit.

Four steps overlap: decoders work ahead of the device, the device runs the next batch while the last one is
copied out, one thread encodes and writes, and a second unit may decode while the first is committed. Memory is bounded
by a few batches and by one unfinished chunk per array.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cvbench.engine.arrays.cuda import device_module
from cvbench.engine.models.views import Request
from cvbench.errors import IntegrityError
from cvbench.jobs.extraction.live import LivePass, LiveTask, commit_live
from cvbench.jobs.extraction.memory import SMALLER_BATCH, device_memory
from cvbench.jobs.running.seen import seen_store
from cvbench.jobs.running.versions import versions
from cvbench.storage.features import BadSample, GroupKey, UnitWriter
from cvbench.storage.features.units import Unit

if TYPE_CHECKING:
    import torch

    from cvbench.engine.models.backbones import Backbone, BackboneSpec
    from cvbench.engine.models.host_copy import HostCopy
    from cvbench.engine.pictures.decode import Geometry
    from cvbench.jobs.extraction.decoding.choice import Decoding
    from cvbench.jobs.extraction.decoding.feed import Batch

WRITES_AHEAD = 3  # batches that may wait for the writing thread
SMALLER = f"{SMALLER_BATCH}, or fewer --taps or --analyze"


@dataclass(frozen=True)
class UnitTask:
    """One unit and what is missing of it: the taps of each (backbone, view)."""

    unit: Unit
    work: tuple[tuple[GroupKey, tuple[str, ...]], ...]
    live: tuple[str, ...] = ()  # live analyses without a partial


@dataclass(frozen=True)
class UnitReceipt:
    """Receipt for a unit. `seconds` are wall clock per step; steps overlap, so they do not add up to `total`."""

    unit: int
    samples: int
    bad: tuple[BadSample, ...]
    nonfinite: Mapping[str, int]  # "<backbone>/<view>/<tap>" -> values
    seconds: Mapping[str, float]
    notes: tuple[str, ...] = ()  # of the backbones


@dataclass(frozen=True)
class ExtractRecipe:
    """Everything an actor needs to compute any unit of one dataset; plain values, so that it travels."""

    store: str
    dataset: str
    data_root: str | None
    split: str
    dataset_digest: str
    seed: int
    batch: int
    backbones: tuple[tuple[BackboneSpec, str], ...]  # spec, digest of its weights
    device: str
    precision: str
    dtype: str
    keep_bits: int | None
    threads: int  # of torch in this process: on a CPU those of the forward pass, on a GPU those of each resize
    decoding: Decoding
    provenance: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # backbone -> of its weights, see `lineage`
    live: tuple[LiveTask, ...] = ()
    compiled: bool = False

    def build(self) -> ExtractWorker:
        """Load data set and weights, and check that they are what the plan was made for.

        Raises:
            IntegrityError: The data set or the weights differ from the driver's.
            ClusterError: This node does not see the driver's store.
        """
        here = versions()  # of this process: another than the driver's is recorded as it is
        provenance = {name: here.get(name, value) for name, value in self.provenance.items()}
        return ExtractWorker(replace(self, provenance=provenance))


class ExtractWorker:
    """Holds the backbones on one device, the data set and the store; what belongs to one unit is handed along."""

    def __init__(self, recipe: ExtractRecipe) -> None:
        import torch

        from cvbench.engine.models.backbones import load_backbone
        from cvbench.engine.models.host_copy import Copies
        from cvbench.jobs.extraction.decoding.feed import Feed
        from cvbench.jobs.extraction.decoding.processes import Nursery
        from cvbench.storage.datasets import open_dataset
        from cvbench.storage.features.order import sample_order

        torch.set_num_threads(recipe.threads)
        if recipe.live and recipe.device == "cuda":
            device_module()  # before any weights are loaded
        self.recipe = recipe
        nursery = Nursery() if recipe.decoding.processes else None  # it imports while the weights are read
        dataset = open_dataset(recipe.dataset, data_root=recipe.data_root, split=recipe.split)
        self.store = seen_store(recipe.store, dataset.name, recipe.split)
        _same("data set", recipe.dataset, recipe.dataset_digest, dataset.digest)
        self.backbones: dict[str, Backbone] = {}
        for spec, digest in recipe.backbones:
            made: dict[str, Any] = {"precision": recipe.precision, "compiled": recipe.compiled}
            with device_memory("the weights", spec.key, "one --backbone at a time"):
                backbone = load_backbone(spec, device=recipe.device, **made)
            _same("weights", spec.key, digest, backbone.weights_digest)
            self.backbones[spec.key] = backbone
        self.copies = Copies(recipe.device)
        self.feed = Feed(
            dataset,
            sample_order(len(dataset), recipe.seed),
            [backbone.preprocess.geometry for backbone in self.backbones.values()],
            batch=recipe.batch,
            copies=self.copies,
            decoding=recipe.decoding,
            nursery=nursery,
        )
        self._device_turn = threading.Lock()
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="write")

    def run(self, task: UnitTask) -> UnitReceipt:
        """Compute and commit one unit.

        Raises:
            IntegrityError: An object of this unit exists and is damaged.
            ResourceError: The disk is full, or the device out of memory.
        """
        begin = time.perf_counter()
        seconds = dict.fromkeys(("decode_wait", "device", "write_wait", "commit"), 0.0)
        bad: list[BadSample] = []
        measured = [at for at in self.recipe.live if at.analysis.name in task.live]
        live = LivePass(measured, self.recipe.threads, self.recipe.device)
        with ExitStack() as stack:
            batches = stack.enter_context(closing(self.feed.start(task.unit)))
            writers = {
                group: stack.enter_context(self.store.writer(group, taps, task.unit)) for group, taps in task.work
            }
            waiting: deque[Future[None]] = deque()
            stack.callback(_drain, waiting)  # before the writers close: none may still be written to
            with self._device_turn:
                tick = time.perf_counter()
                for batch in batches:
                    seconds["decode_wait"] += time.perf_counter() - tick
                    tick = time.perf_counter()
                    outputs = self.forward(batch, task, live)
                    seconds["device"] += time.perf_counter() - tick
                    tick = time.perf_counter()
                    bad.extend(batch.bad)
                    waiting.append(self._writing.submit(_write, writers, batch, outputs, task.unit))
                    if len(waiting) > WRITES_AHEAD:
                        waiting.popleft().result()
                    seconds["write_wait"] += time.perf_counter() - tick
                    tick = time.perf_counter()
            tick = time.perf_counter()
            while waiting:
                waiting.popleft().result()
            nonfinite = self._commit(writers, bad)
            commit_live(self.store, task.unit, measured, live)
            seconds["commit"] = time.perf_counter() - tick
        seconds["total"] = time.perf_counter() - begin
        notes = tuple(note for backbone in self.backbones.values() for note in backbone.notes)
        return UnitReceipt(task.unit.index, len(task.unit), tuple(bad), nonfinite, seconds, notes)

    def forward(self, batch: Batch, task: UnitTask, live: LivePass) -> dict[GroupKey, dict[str, HostCopy]]:
        """One pass of every backbone that has work in this task; the copies to the host are under way on return."""
        outputs: dict[GroupKey, dict[str, HostCopy]] = {}
        uploaded: dict[Geometry, torch.Tensor] = {}
        recipe = self.recipe
        live.begin(batch.offset, batch.size, [sample.row - task.unit.start - batch.offset for sample in batch.bad])
        for name, backbone in self.backbones.items():
            groups = {group.view: (group, taps) for group, taps in task.work if group.backbone == name}
            observed = live.taps(name)
            if not groups and not observed:
                continue
            requests = [Request(view, tap) for view, (_, taps) in groups.items() for tap in taps]
            geometry = backbone.preprocess.geometry
            with device_memory(f"a batch of {recipe.batch}", name, SMALLER):
                if geometry not in uploaded:  # once for all backbones that share it
                    uploaded[geometry] = self.copies.up(batch.images[geometry])
                images = uploaded[geometry]
                results = backbone.run(
                    images,
                    requests,
                    dtype=recipe.dtype,
                    keep_bits=recipe.keep_bits,
                    observed=observed,
                    observe=live.observer(name),
                )
            for request, copy in self.copies.down(results).items():
                outputs.setdefault(groups[request.view][0], {})[request.tap] = copy
        with device_memory(f"a batch of {recipe.batch}", "live analyses", SMALLER):
            live.end()
        return outputs

    def _commit(self, writers: Mapping[GroupKey, UnitWriter], bad: list[BadSample]) -> dict[str, int]:
        nonfinite: dict[str, int] = {}
        for group, writer in writers.items():
            origin = self.recipe.origins.get(group.backbone, {})
            commit = writer.commit(bad, {**self.recipe.provenance, **origin})
            for tap, record in commit.taps.items():
                if record.nonfinite:
                    nonfinite[f"{group.backbone}/{group.view}/{tap}"] = record.nonfinite
        return nonfinite


def _write(
    writers: Mapping[GroupKey, UnitWriter],
    batch: Batch,
    outputs: Mapping[GroupKey, Mapping[str, HostCopy]],
    unit: Unit,
) -> None:
    """Hand one batch to the writers: padding rows are dropped, rows of unreadable samples become NaN."""
    gaps = [sample.row - unit.start - batch.offset for sample in batch.bad]
    for group, taps in outputs.items():
        for tap, copy in taps.items():
            rows = copy.numpy()[: batch.size]
            if gaps:
                rows = rows.copy()
                rows[gaps] = np.nan
            writers[group].write(tap, batch.offset, rows)


def _drain(waiting: deque[Future[None]]) -> None:
    for future in waiting:
        future.cancel()
    wait(waiting)


def _same(kind: str, name: str, planned: str, found: str) -> None:
    if planned != found:
        raise IntegrityError(
            f"the {kind} of an actor differs from the one the run was planned with",
            where=name,
            why=f"digest {found[:12]}... instead of {planned[:12]}...",
            fix="give every node the same files",
        )
