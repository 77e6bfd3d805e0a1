"""Principal components as colours, against scikit-learn's PCA, with and without a common basis."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from cvbench.engine.analyses.maps.colours import principal_colours


def drawn() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(3, 5, 4, 7)) * np.arange(1, 8) + rng.normal(size=(3, 1, 1, 7)) * 3


def reference(positions: np.ndarray) -> tuple[np.ndarray, float]:
    """(positions, 3) in [0, 1] by scikit-learn, and the share of the variance."""
    found = PCA(3, svd_solver="full").fit(positions)
    loadings = found.components_
    signs = np.sign(loadings[np.arange(3), np.abs(loadings).argmax(axis=1)])
    scores = found.transform(positions) * signs
    return (scores - scores.min(0)) / np.ptp(scores, axis=0), float(found.explained_variance_ratio_.sum())


@pytest.mark.parametrize("common", [True, False])
def test_colours_are_the_scaled_scores_of_scikit_learn(common: bool) -> None:
    maps = drawn()
    colours, shares = principal_colours(maps.astype(np.float32), common=common)
    assert colours.shape == (3, 5, 4, 3)
    assert colours.dtype == np.float32
    for part in [slice(0, 3)] if common else [slice(i, i + 1) for i in range(3)]:
        expected, share = reference(maps[part].reshape(-1, 7))
        np.testing.assert_allclose(colours[part].reshape(-1, 3), expected, atol=1e-5)
        np.testing.assert_allclose(shares[part], share, rtol=1e-6)
        np.testing.assert_array_equal(colours[part].reshape(-1, 3).min(0), 0)
        np.testing.assert_array_equal(colours[part].reshape(-1, 3).max(0), 1)


def test_what_has_no_component_is_grey() -> None:
    flat = np.full((2, 3, 3, 4), 7.3)
    colours, shares = principal_colours(flat, common=True)
    assert (colours == 0.5).all()
    assert shares.tolist() == [0.0, 0.0]
    line = np.zeros((1, 2, 3, 4))
    line[0, ..., 1] = np.arange(6).reshape(2, 3)
    colours, shares = principal_colours(line, common=False)
    np.testing.assert_allclose(colours[0, ..., 0].ravel(), np.arange(6) / 5, atol=1e-6)
    assert (colours[..., 1:] == 0.5).all()
    np.testing.assert_allclose(shares, 1.0)
    assert principal_colours(flat[:0], common=False)[0].shape == (0, 3, 3, 3)
