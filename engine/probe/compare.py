"""The probes of two backbones on the same test samples: what they differ by, of the last probed layer of each.

A test sample counts with the share of the seeds by which the one is right, less that of the other. With one seed this
is a paired comparison of two classifiers (Tango's interval, McNemar's exact test); with several the interval is Tango's
at the effective size of the mean. It is over the test samples, given the fitted probes, as that of each number is.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer
from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.intervals import mean_signed, stratified
from cvbench.engine.statistics.paired import compare
from cvbench.engine.statistics.verdict import judge

I64 = NDArray[np.int64]
Hits = NDArray[np.bool_]

COMPARED = ("top1", "mean_per_class")


def last_pairs(layers: Sequence[Layer]) -> list[tuple[int, int]]:
    """The numbers of the last layers of each two backbones.

    >>> last_pairs([Layer("a", "x"), Layer("a", "y"), Layer("b", "x")])
    [(1, 2)]
    """
    last = {layer.backbone: at for at, layer in enumerate(layers)}
    return list(combinations(last.values(), 2))


def difference(a: Hits, b: Hits, labels: I64, confidence: float = 0.95) -> dict[str, Estimate]:
    """Accuracy of A less that of B, by name as `COMPARED`.

    Args:
        a, b: (S, n) bool, which of the same n >= 1 samples each of S probes gets right.
        labels: (n,) int64 >= 0; classes without a sample are left out of the mean per class.
    """
    apart = a.mean(axis=0) - b.mean(axis=0)
    top1 = compare(a[0], b[0], confidence).difference if len(a) == 1 else mean_signed(apart, confidence)
    own = np.unique(labels, return_inverse=True)[1]
    return {"top1": top1, "mean_per_class": stratified(apart, own).signed(confidence, len(labels))}


def differences(
    hits: Sequence[Hits], pairs: Sequence[tuple[int, int]], labels: I64, confidence: float
) -> dict[str, NDArray[np.float64]]:
    """Every pair's differences, judged: those of one number are a family (Holm).

    Args:
        hits: (S, n) of each layer.
        pairs: Numbers of layers, the first less the second.
        labels: (n,).
        confidence: Of the intervals.

    Returns:
        For each of `COMPARED` `difference_<name>` with _low, _high, _p and _resolved (1, 0, NaN), (pair,) each.
    """
    found: dict[str, Any] = {}
    every = [difference(hits[one], hits[two], labels, confidence) for one, two in pairs]
    for name in COMPARED:
        judged = judge([one[name] for one in every], confidence=confidence)
        columns = {
            "": [one.found.value for one in judged],
            "_low": [one.found.low for one in judged],
            "_high": [one.found.high for one in judged],
            "_p": [one.p for one in judged],
            "_resolved": [one.verdict.code for one in judged],
        }
        found |= {f"difference_{name}{end}": np.array(values, dtype=np.float64) for end, values in columns.items()}
    return found
