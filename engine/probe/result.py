"""From the logits of the test samples to a labelled result: top-1, top-5, mean per class, each with its interval.

The interval is over the test samples, given the fitted probes: a test sample counts with the share of the seeds that
get it right, and Wilson's interval of the mean share is taken at its effective size. What the seeds differ by is beside
it (`seed_*`), and not part of the interval. Backbones are compared on the same samples, see `compare`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.probe.compare import differences, last_pairs
from cvbench.engine.probe.parts import ProbeRun
from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.intervals import mean_share, stratified, wilson
from cvbench.engine.statistics.verdict import FAMILY

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

NUMBERS = ("top1", "top5", "mean_per_class")


@dataclass(frozen=True, eq=False)
class Targets:
    """The test samples.

    Attributes:
        positions: (n,) int64 place in the store.
        labels: (n,) int64.
        classes: Names by label.
    """

    positions: I64
    labels: I64
    classes: tuple[str, ...]


def ranks(logits: NDArray[np.float32], labels: I64) -> I64:
    """(n,) how many classes come before the true one; of equal logits the lower index comes first, as in `argmax`."""
    own = logits[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(logits.shape[1]) < labels[:, None]
    before: I64 = ((logits > own) | ((logits == own) & earlier)).sum(axis=1)
    return before


def probe_result(
    layers: Sequence[Layer],
    runs: Sequence[Sequence[ProbeRun]],
    tested: Targets,
    attrs: Mapping[str, Any],
    confidence: float = 0.95,
) -> Result:
    """The labelled result of L layers, S seeds, K classes, n test samples.

    Args:
        layers, runs: For each layer its runs, S each.
        tested: The test samples.
        attrs: What the result is of: joins its attributes.
        confidence: Of the intervals.

    Returns:
        For each of `NUMBERS`: itself, _low, _high (layer), seed_<name> (layer, seed); recall, _low, _high (layer,
        class); penalty (layer, seed); predicted (layer, seed, sample) int64; members (class,) int64. NaN where
        undefined: top-5 of fewer than six classes, the recall of a class without a test sample. Of two backbones and
        more what `compare.differences` gives, (pair): the attribute `pairs` has the numbers of their layers.
    """
    count = len(tested.classes)
    members = np.bincount(tested.labels, minlength=count)
    found = [np.stack([ranks(run.logits, tested.labels) for run in its]) for its in runs]
    named = _by_layer(runs, found, tested, confidence)
    named["members"] = (("class",), members)
    pairs = last_pairs(layers) if count > 1 else []
    apart = differences([rank < 1 for rank in found], pairs, tested.labels, confidence) if pairs else {}
    named |= {key: (("pair",), values) for key, values in apart.items()}
    return Result(
        name="probe",
        coords={
            "layer": [str(layer) for layer in layers],
            "seed": list(range(len(runs[0]))),
            "class": list(tested.classes),
            "sample": tested.positions.tolist(),
        },
        data=named,
        attrs={
            **attrs,
            "layers": [{"backbone": layer.backbone, "tap": layer.tap} for layer in layers],
            "pairs": [list(pair) for pair in pairs],
            "samples": len(tested.labels),
            "confidence": confidence,
            "interval": "over test samples, given the fitted probes: Wilson's at the effective size; of differences "
            "Tango's",
            "family": FAMILY,
            "tried": [[[list(pair) for pair in run.tried] for run in its] for its in runs],
            "fitted_on": [[list(run.samples) for run in its] for its in runs],
            "notes": list(_notes(layers, runs, members)),
        },
    )


def _by_layer(
    runs: Sequence[Sequence[ProbeRun]], found: Sequence[I64], tested: Targets, confidence: float
) -> dict[str, tuple[tuple[str, ...], NDArray[Any]]]:
    """The numbers of every layer with their dimensions, by name as in `probe_result`.

    Args:
        runs: For each layer its runs.
        found: For each layer (S, n) ranks.
    """
    shape, seeds, count = (len(runs),), len(runs[0]), len(tested.classes)
    data: dict[str, Any] = {f"{name}{end}": np.full(shape, np.nan) for name in NUMBERS for end in ("", "_low", "_high")}
    data |= {f"recall{end}": np.full((*shape, count), np.nan) for end in ("", "_low", "_high")}
    data |= {f"seed_{name}": np.full((*shape, seeds), np.nan) for name in NUMBERS}
    data["penalty"] = np.array([[run.penalty for run in its] for its in runs])
    data["predicted"] = np.array([[run.logits.argmax(axis=1) for run in its] for its in runs], dtype=np.int64)
    for at, rank in enumerate(found):
        for name, value in summarise(rank, tested.labels, count, confidence).items():
            data[name][at] = value
    dims = {1: ("layer",), 2: ("layer", "class"), 3: ("layer", "seed", "sample")}
    return {
        key: (("layer", "seed") if key.startswith("seed_") or key == "penalty" else dims[value.ndim], value)
        for key, value in data.items()
    }


def summarise(rank: I64, labels: I64, classes: int, confidence: float) -> dict[str, float | F64]:
    """The numbers of one layer, by name as in `probe_result`.

    Args:
        rank: (S, n) of each seed.
        labels: (n,).
    """
    names, own = np.unique(labels, return_inverse=True)
    found: dict[str, float | F64] = {}
    for k, name in ((1, "top1"), (5, "top5")):
        if classes > k:
            hits = rank < k
            found[f"seed_{name}"] = hits.mean(axis=1)
            found |= _ends(name, _share(hits, confidence))
    hits = rank < 1
    if classes > 1:
        found["seed_mean_per_class"] = np.stack(
            [np.bincount(own, weights=row) / np.bincount(own) for row in hits]
        ).mean(axis=1)
        found |= _ends("mean_per_class", stratified(hits.mean(axis=0), own).share(confidence, len(labels)))
        table = {f"recall{end}": np.full(classes, np.nan) for end in ("", "_low", "_high")}
        for place, label in enumerate(names):
            for key, value in _ends("recall", _share(hits[:, own == place], confidence)).items():
                table[key][label] = value
        found |= table
    return found


def _share(hits: NDArray[np.bool_], confidence: float) -> Estimate:
    """Mean of (S, n) hits, over samples."""
    if len(hits) == 1:
        return wilson(int(hits.sum()), hits.shape[1], confidence)
    return mean_share(hits.mean(axis=0), confidence)


def _ends(name: str, found: Estimate) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _notes(layers: Sequence[Layer], runs: Sequence[Sequence[ProbeRun]], members: I64) -> list[str]:
    notes = []
    absent = int((members == 0).sum())
    if absent:
        notes.append(f"{absent} of {len(members)} classes have no test sample and are left out of the mean per class")
    for layer, its in zip(layers, runs, strict=True):
        if any(run.converged is False for run in its):
            notes.append(f"{layer}: the final fit stopped before its tolerance (rounding, or the limit of iterations)")
        if any(run.tried and run.penalty in (run.tried[0][0], run.tried[-1][0]) for run in its):
            notes.append(f"{layer}: the best penalty is the strongest or weakest that was tried")
        if any(np.isneginf(run.logits).all(axis=1).any() for run in its):
            notes.append(f"{layer}: the probe diverged")
    return notes
