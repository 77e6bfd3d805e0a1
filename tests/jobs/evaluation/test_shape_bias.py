"""Shape bias from a store, against direct computations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvbench.errors import EvaluationSuspectError, UsageError
from cvbench.jobs.evaluation.shape_bias import evaluate
from cvbench.jobs.reading.selection import Selection
from cvbench.storage.annotations import SHAPE_CATEGORIES, shape_indices
from tests.jobs.evaluation.birds import SHARED, one
from tests.jobs.logits_store import write_logits


def cue_conflict(folder: Path, strength: float, width: int = 1000) -> tuple[str, Any, Any, Any]:
    """Every pair of shape and texture, five times."""
    shape, texture = np.repeat(np.arange(16), 80), np.tile(np.arange(16), 80)
    logits = np.random.default_rng(0).standard_normal((1280, width)).astype(np.float32)
    if width == 1000:
        first = np.array([which[0] for which in shape_indices().values()])
        for kind, more in ((shape, strength), (texture, strength * 0.9)):
            logits[np.arange(1280), first[kind]] += np.float32(more)
    names = np.array(SHAPE_CATEGORIES)
    factors = {"shape": names[shape], "texture": names[texture]}
    place: dict[str, Any] = {"dataset": "cue-conflict", "split": "test", "unit": 256}
    url = write_logits(folder, {"vit": logits}, shape, SHAPE_CATEGORIES, factors=factors, **place)
    return url, logits.astype(np.float64), shape, texture


def test_shape_bias_from_a_store(tmp_path: Path) -> None:
    url, logits, shape, texture = cue_conflict(tmp_path / "s.zarr", 6.0)
    result = evaluate(Selection(url), SHARED).result
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    decided = np.stack([p[:, list(which)].mean(axis=1) for which in shape_indices().values()], axis=1).argmax(axis=1)
    conflict = shape != texture
    by_shape, by_texture = (decided == shape) & conflict, (decided == texture) & conflict
    row = one(result, metric="shape bias", factor="")
    assert row.value == pytest.approx(by_shape.sum() / (by_shape.sum() + by_texture.sum()))
    assert one(result, metric="decided by shape").n == 1200
    bears = shape == 1
    expected = (by_shape & bears).sum() / ((by_shape | by_texture) & bears).sum()
    assert one(result, metric="shape bias", factor="bear").value == pytest.approx(expected)


def test_shape_bias_needs_an_imagenet_classifier_that_sees_something(tmp_path: Path) -> None:
    url, *_ = cue_conflict(tmp_path / "a.zarr", 0.0, width=16)
    with pytest.raises(UsageError, match="the 1000 outputs of ImageNet-1k, the classifier has 16"):
        evaluate(Selection(url), SHARED)
    url, *_ = cue_conflict(tmp_path / "b.zarr", 0.0)
    with pytest.raises(EvaluationSuspectError, match="near chance"):
        evaluate(Selection(url), SHARED)
