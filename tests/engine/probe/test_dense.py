"""Probes of positions: the fit against scikit-learn, interpolation against its formula, and planted maps."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression

from cvbench.engine.pictures.geometry import Geometry
from cvbench.engine.pictures.masks import object_cells
from cvbench.engine.probe import dense
from cvbench.engine.probe.dense import RECIPE, fit_positions, interpolate, perfect_cells, predict_cells
from cvbench.engine.probe.options import ProbeOptions
from cvbench.engine.probe.overlap import image_counts, overlaps
from cvbench.engine.probe.parts import Part
from cvbench.engine.probe.recipes import UNVALIDATED
from cvbench.storage.datasets import open_dataset

I64 = NDArray[np.int64]
TOLERANCE = 1e-5
OPTIONS = ProbeOptions(RECIPE, tolerance=TOLERANCE)


def part(maps: NDArray[Any], labels: I64) -> Part:
    return Part(maps.reshape(-1, maps.shape[-1]).astype(np.float32), labels.ravel())


def positions(n: int, seed: int, side: int = 4, d: int = 6) -> tuple[NDArray[np.float32], I64]:
    """(n, side, side, d) maps, of which four channels tell classes apart, but not quite; classes 0, 2 and 3 of 4."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 2, 3], (n, side, side), p=[0.6, 0.2, 0.2])
    maps = rng.standard_normal((n, side, side, d)) + 5
    return (maps + 1.5 * np.eye(d)[labels]).astype(np.float32), labels


def test_the_fit_is_scikit_learns() -> None:
    maps, labels = positions(25, 0)
    given = part(maps, labels)
    found = fit_positions(given, None, OPTIONS, "cpu")
    c, n = UNVALIDATED[RECIPE], len(given)
    x = given.features.astype(np.float64)
    peer = LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(x, given.labels)
    own = np.searchsorted(found.names, given.labels)

    def objective(weight: NDArray[Any], bias: NDArray[Any]) -> float:
        logits = x @ weight + bias
        loss = (logsumexp(logits, axis=1) - logits[np.arange(n), own]).mean()
        return float(loss + (weight**2).sum() / (2 * c * n))

    weight, bias = (value[0].double().numpy() for value in (found.fit.weight, found.fit.bias))
    least = objective(peer.coef_.T, peer.intercept_)
    # Within the tolerance on the gradient f - f* <= |g|^2 / (2 mu), with mu = 1 / (C n) at least; and 8 roundings of
    # float32 in a sum of terms of the size of the logits.
    slack = TOLERANCE**2 * weight.size * c * n / 2 + 8 * np.finfo(np.float32).eps * np.abs(x @ weight).max()
    assert least - 1e-12 <= objective(weight, bias) <= least + slack
    fresh, _ = positions(40, 1)
    flat = fresh.reshape(-1, 6).astype(np.float64)
    expected = flat @ peer.coef_.T + peer.intercept_
    top = np.sort(expected, axis=1)
    clear = top[:, -1] - top[:, -2] > 2e-3
    assert clear.mean() > 0.98
    predicted = predict_cells(found, fresh, 4).ravel()
    np.testing.assert_array_equal(predicted[clear], peer.predict(flat)[clear])
    assert (found.names.tolist(), found.converged) == ([0, 2, 3], True)


def test_the_penalty_is_that_of_the_best_mean_iou() -> None:
    train, val = (part(*positions(n, seed)) for n, seed in ((6, 0), (30, 1)))
    found = fit_positions(train, val, OPTIONS, "cpu")
    tried = dict(found.tried)
    assert found.penalty == min(c for c, score in tried.items() if score == max(tried.values()))
    assert found.samples == (96, 480, 576)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for c, score in tried.items():
            if 1e-4 <= c <= 1e4:
                peer = LogisticRegression(C=c, tol=1e-8, max_iter=20_000).fit(train.features, train.labels)
                counts = image_counts(peer.predict(val.features)[None], val.labels[None], 4)
                assert score == pytest.approx(overlaps(counts)[0, 0], abs=0.02)  # a few positions at the border


@pytest.mark.parametrize(("shape", "side"), [((3, 3), 8), ((4, 6), 12), ((1, 2), 5), ((7, 7), 7)])
def test_logits_are_interpolated_between_the_centres_of_cells(shape: tuple[int, int], side: int) -> None:
    values = np.random.default_rng(0).standard_normal((2, 3, *shape))
    expected = np.empty((2, 3, side, side))
    for y in range(side):
        for x in range(side):
            corners = []
            for at, length in ((y, shape[0]), (x, shape[1])):
                place = min(max((at + 0.5) * length / side - 0.5, 0), length - 1)
                first = min(math.floor(place), length - 1)
                corners.append((first, min(first + 1, length - 1), place - first))
            (top, bottom, down), (left, right, across) = corners
            above = (1 - across) * values[..., top, left] + across * values[..., top, right]
            below = (1 - across) * values[..., bottom, left] + across * values[..., bottom, right]
            expected[:, :, y, x] = (1 - down) * above + down * below
    np.testing.assert_allclose(interpolate(torch.from_numpy(values), side).numpy(), expected, atol=1e-12)


def test_a_finer_grid_is_averaged() -> None:
    values = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 1, 16, 16)))
    found = interpolate(values, 4)[0, 0]
    ramp = torch.tensor([1, 3, 5, 7, 7, 5, 3, 1], dtype=torch.float64) / 32  # a triangle over two cells of the result
    inner = values[0, 0, 2:10, 2:10]
    assert float(found[1, 1]) == pytest.approx(float(ramp @ inner @ ramp), abs=1e-12)
    assert float(interpolate(torch.ones(1, 1, 16, 16), 5).std()) < 1e-6


def test_predictions_do_not_depend_on_how_many_images_are_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = fit_positions(part(*positions(20, 0)), None, OPTIONS, "cpu")
    maps, _ = positions(9, 3)
    whole = predict_cells(found, maps, 10)
    monkeypatch.setattr(dense, "_TOGETHER", 700)
    np.testing.assert_array_equal(predict_cells(found, maps, 10), whole)
    assert whole.shape == (9, 10, 10)
    assert set(np.unique(whole)) <= {0, 2, 3}


def scene_labels(split: str, count: int, side: int) -> I64:
    """(n, side, side) classes of real scenes, 0 the background."""
    scenes = open_dataset("scenes:96", split=split)
    geometry = Geometry((96, 96), 96)
    cells = np.stack([object_cells(scenes.mask(i), geometry, (side, side)) for i in range(count)])  # type: ignore[attr-defined]
    return np.where(cells, scenes.labels[:count, None, None] + 1, 0)


def test_maps_that_hold_the_mask_give_all_of_it_and_noise_gives_the_background() -> None:
    side, rng = 8, np.random.default_rng(0)
    labels = {"train": scene_labels("train", 150, side), "test": scene_labels("test", 60, side)}
    mixing = rng.standard_normal((11, 24))
    held, noise = {}, {}
    for split, own in labels.items():
        held[split] = (np.eye(11)[own] @ mixing).astype(np.float32) + 3
        noise[split] = rng.standard_normal((*own.shape, 24)).astype(np.float32)
    true = labels["test"]
    nothing = overlaps(image_counts(np.zeros_like(true), true, 11).sum(axis=0)[None])[0]
    for maps, planted in ((held, True), (noise, False)):
        fitted = [part(maps["train"][rows], labels["train"][rows]) for rows in (slice(0, 120), slice(120, 150))]
        probe = fit_positions(fitted[0], fitted[1], OPTIONS, "cpu")
        counts = image_counts(predict_cells(probe, maps["test"], side), true, 11)
        found = overlaps(counts.sum(axis=0)[None])[0]
        if planted:
            np.testing.assert_array_equal(found[:3], 1)
        else:
            np.testing.assert_allclose(found[:3], nothing[:3], atol=0.03)


def test_the_labels_of_a_grid_cannot_follow_an_outline() -> None:
    fine, coarse = scene_labels("test", 40, 32), scene_labels("test", 40, 4) > 0
    own = fine.reshape(40, -1).max(axis=1)[:, None, None]
    reached = []
    for cells in (coarse, scene_labels("test", 40, 16) > 0, fine > 0):
        best = perfect_cells(cells, 32) * own
        reached.append(float(overlaps(image_counts(best, fine, 11).sum(axis=0)[None])[0, 1]))
    assert reached[0] < reached[1] < reached[2] == 1
    assert 0.3 < reached[0] < 0.75
