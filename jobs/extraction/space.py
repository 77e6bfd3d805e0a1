"""Bytes of an extraction: of each layer, and whether there is room for them."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cvbench.errors import ResourceError
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.reading.views import is_in_part
from cvbench.jobs.running.sizes import enough, human

if TYPE_CHECKING:
    from cvbench.storage.features import ArraySpec, GroupKey
    from cvbench.storage.features.units import Unit

SMALLEST_UNIT = 4  # samples, as the option takes them
SPARE = 0.05  # share of the free disk that stays free


@dataclass(frozen=True)
class LayerPlan:
    """One array: `samples` rows are still to be written."""

    group: GroupKey
    tap: str
    shape: tuple[int, ...]
    dtype: str
    samples: int

    @property
    def bytes_per_sample(self) -> int:
        """Uncompressed bytes of one row."""
        return math.prod(self.shape) * (2 if self.dtype == "float16" else 4)

    @property
    def bytes(self) -> int:
        """Uncompressed bytes still to be written."""
        return self.samples * self.bytes_per_sample


def plan_layers(
    groups: Mapping[GroupKey, Sequence[ArraySpec]], pending: Mapping[GroupKey, Mapping[Unit, Sequence[str]]]
) -> list[LayerPlan]:
    """One `LayerPlan` for each array; `pending` says which taps of each unit are missing."""
    rows: dict[tuple[GroupKey, str], int] = Counter()
    for group, units in pending.items():
        for unit, taps in units.items():
            for tap in taps:
                rows[group, tap] += len(unit)
    return [
        LayerPlan(group, array.tap, array.shape, array.dtype, rows[group, array.tap])
        for group, arrays in groups.items()
        for array in arrays
    ]


def free_bytes(store: str) -> int | None:
    """Free bytes where a local store is or will be; None for URLs, which do not say."""
    if "://" in store:
        return None
    path = Path(store)
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def advise(
    layers: Iterable[LayerPlan], budget: int, unit: int, otherwise: str = "another --store", *, frozen: bool = False
) -> str | None:
    """None if `layers` fit into `budget` bytes; else the options that would make them fit, in whole units of samples.

    Args:
        layers, budget, unit: What is to be written, and what may be.
        otherwise: What gives room for all.
        frozen: The store has the split, and its unit stays.
    """
    layers = list(layers)
    total = sum(layer.bytes for layer in layers)
    if total <= budget:
        return None
    maps = [layer for layer in layers if is_in_part(layer.group.view)]
    others = total - sum(layer.bytes for layer in maps)
    if maps and others <= budget:
        option, left, per_sample = "--maps", budget - others, sum(layer.bytes_per_sample for layer in maps)
        named = " and ".join(f"--view {view}" for view in dict.fromkeys(layer.group.view for layer in maps))
        either = f"leave {named} out; or {otherwise}; or fewer --taps"
    else:
        option, left, per_sample = "--limit", budget, sum(layer.bytes_per_sample for layer in layers)
        either = f"{otherwise}; or fewer --taps"
    if most := left // per_sample // unit * unit:
        return f"{option} {most} fits ({human(per_sample)} per image); or {either}"
    smaller = left // per_sample
    if frozen or smaller < SMALLEST_UNIT:
        return either
    fits = f"--unit {smaller} --batch-size {smaller} {option} {smaller} fits"
    return f"{either}; or a smaller unit: {fits} (whole units of {unit} are written)"


def check_space(layers: Iterable[LayerPlan], options: ExtractOptions, unit: int, *, frozen: bool) -> None:
    """Refuse before the first write what will not fit.

    Raises:
        ResourceError: More bytes than `options.max_bytes`, or than the disk has free; says which option would fit.
    """
    layers = list(layers)
    total = sum(layer.bytes for layer in layers)
    for budget, why, otherwise in budgets(options, total):
        advice = advise(layers, budget, unit, otherwise, frozen=frozen)
        if advice is not None:
            raise ResourceError(
                f"{human(total)} are to be written and {human(budget)} may be",
                where=options.store,
                why=why,
                fix=advice,
            )


def budgets(options: ExtractOptions, total: int) -> list[tuple[int, str, str]]:
    """Each number of bytes that may be written, why no more, and what gives room for `total`."""
    free = free_bytes(options.store)
    budgets = []
    if free is not None:
        why = f"{human(free)} are free on the disk of the store"
        budgets.append((int(free * (1 - SPARE)), why, "another --store"))
    if options.max_bytes is not None:
        budgets.append((options.max_bytes, "--max-bytes", f"--max-bytes {enough(total)}"))
    return budgets
