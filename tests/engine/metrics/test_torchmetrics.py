"""Accuracy and calibration against TorchMetrics, an implementation by others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cvbench.engine.metrics.accuracy import mean_per_class, per_class, top_k
from cvbench.engine.metrics.calibration import calibration
from cvbench.engine.metrics.scores import Scores, score_block
from cvbench.engine.statistics.options import IntervalOptions
from tests.seeds import seeded

N, CLASSES = 900, 12
FAST = IntervalOptions(resamples=20)
EPS = float(np.finfo(np.float32).eps)
"""TorchMetrics counts and divides in float32."""
SUMS = N * EPS / 2
"""The most by which a mean of N confidences in [0, 1] errs that float32 adds one by one."""


def drawn(sharpness: float) -> tuple[NDArray[np.float64], NDArray[np.int64], Scores]:
    """Logits that are right in part; some classes are rare, and the last has no sample."""
    rng = seeded(8)
    labels = np.minimum(rng.geometric(0.25, N) - 1, CLASSES - 2)
    logits = rng.normal(size=(N, CLASSES))
    logits[np.arange(N), labels] += 1
    return sharpness * logits, labels, score_block(sharpness * logits, labels)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k(k: int) -> None:
    from torchmetrics.functional.classification import multiclass_accuracy  # here: two seconds of a collection

    logits, labels, scores = drawn(1)
    expected = multiclass_accuracy(
        torch.from_numpy(logits), torch.from_numpy(labels), CLASSES, average="micro", top_k=k
    )
    # A share of float32 there; nearest to the same fraction here.
    assert top_k(scores, k, CLASSES).value == pytest.approx(float(expected), rel=EPS)


def test_accuracies_of_classes() -> None:
    from torchmetrics.functional.classification import multiclass_accuracy

    logits, labels, scores = drawn(1)
    z, y = torch.from_numpy(logits), torch.from_numpy(labels)
    each = multiclass_accuracy(z, y, CLASSES, average=None).numpy()
    found = np.array([one.value for one in per_class(scores.correct, labels, CLASSES)])
    present = np.bincount(labels, minlength=CLASSES) > 0
    assert 2 < present.sum() < CLASSES
    np.testing.assert_allclose(found[present], each[present], rtol=EPS)
    assert np.isnan(found[~present]).all()
    # Their mean over the classes that have a sample, of float32 shares.
    mean = mean_per_class(scores.correct, labels, FAST.confidence).value
    assert mean == pytest.approx(float(each[present].mean(dtype=np.float64)), rel=2 * EPS)


@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize("sharpness", [0.3, 1.0, 4.0])  # under-confident, near, over-confident
def test_expected_calibration_error(bins: int, sharpness: float) -> None:
    from torchmetrics.functional.classification import multiclass_calibration_error

    logits, labels, scores = drawn(sharpness)
    edges = np.linspace(0, 1, bins + 1)
    # Confidences and edges are float32 there, and an edge belongs to the bin above: who is on one is counted apart.
    clear = np.abs(scores.confidence[:, None] - edges[None, 1:]).min(axis=1) > 4 * EPS
    assert clear.mean() > 0.99
    kept = score_block(logits[clear], labels[clear])
    expected = multiclass_calibration_error(
        torch.from_numpy(logits[clear]).softmax(dim=1), torch.from_numpy(labels[clear]), CLASSES, n_bins=bins
    )
    assert calibration(kept, FAST, bins).ece.plain.value == pytest.approx(float(expected), abs=SUMS + EPS)
