"""Statistics of whole matrices on dask arrays: the same as in memory, on threads and on Ray."""

from __future__ import annotations

from pathlib import Path

import dask.array
import numpy as np
import pytest
from numpy.typing import NDArray

from cvbench.engine.arrays import pca
from cvbench.errors import IntegrityError, UsageError
from cvbench.jobs.analyses.principal_scores import dask_scheduler, matrix_moments, principal_scores, standardised
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.reading.matrix import Matrices
from cvbench.jobs.reading.options import Selection
from cvbench.jobs.reading.reading import read
from cvbench.jobs.running.cluster import Cluster
from tests.jobs.images import write_folder


def lazy(x: NDArray[np.float64], rows: int) -> dask.array.Array:
    found: dask.array.Array = dask.array.from_array(x, chunks=(rows, -1))  # type: ignore[no-untyped-call]
    return found


@pytest.fixture
def x() -> NDArray[np.float64]:
    """Features of unlike scales far from 0, one of them constant."""
    values = np.random.default_rng(0).normal(size=(90, 7)) * 10.0 ** np.arange(7) + 1e5
    values[:, 2] = 0.1
    return values


@pytest.mark.parametrize("rows", [1, 8, 90])
def test_any_chunks_give_what_numpy_gives(x: NDArray[np.float64], rows: int) -> None:
    found = matrix_moments(lazy(x, rows))
    np.testing.assert_allclose(found.mean, x.mean(axis=0), rtol=1e-12)
    # An offset of 1e5 leaves 1e-11 of the smallest spread.
    np.testing.assert_allclose(found.covariance, np.cov(x.T, bias=True), rtol=1e-8, atol=1e-8)
    scores = standardised(lazy(x, rows), found).compute()  # type: ignore[no-untyped-call]
    np.testing.assert_array_equal(scores[:, 2], 0)
    others = np.delete(x, 2, axis=1)
    np.testing.assert_allclose(
        np.delete(scores, 2, axis=1), (others - others.mean(axis=0)) / others.std(axis=0), atol=1e-8
    )


def test_components_are_those_of_the_matrix_in_memory(x: NDArray[np.float64]) -> None:
    scores, axes = principal_scores(lazy(x, 16), 3, standardise=True)
    expected = pca.principal_axes(pca.matrix_moments(x), 3, standardise=True)
    np.testing.assert_allclose(scores, expected.scores(x), atol=1e-8)
    np.testing.assert_allclose(axes.share, expected.share, rtol=1e-9)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_here")
def test_ray_gives_the_same_bytes_as_threads(x: NDArray[np.float64]) -> None:
    by_threads, _ = principal_scores(lazy(x, 16), 3, standardise=True)
    with dask_scheduler(Cluster(address="local", actors=2)) as scheduler:
        assert scheduler != "threads"
        by_ray, _ = principal_scores(lazy(x, 16), 3, standardise=True, scheduler=scheduler)
    np.testing.assert_array_equal(by_ray, by_threads)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_here")
def test_a_stored_layer_is_read_by_the_workers(tmp_path: Path) -> None:
    """The rows are those that are readable in every layer, in chunks of the stored objects."""
    write_folder(tmp_path / "pets", 24, broken=(5,))
    options = ExtractOptions(
        dataset=f"folder:{tmp_path / 'pets'}",
        backbones=("test_vit", "test_convnext"),
        store=str(tmp_path / "s.zarr"),
        weights=("random",),
        views=("head",),
        batch_size=8,
        unit=8,
        image_size=64,
        max_unreadable=0.1,
    )
    extract(options, Cluster(address="none"))
    matrices = Matrices.of(read(Selection(str(tmp_path / "s.zarr"), view="head")))
    layer = matrices.selected.layers[0]
    values = matrices.read(layer)
    assert len(values) == 23
    chunked = matrices.lazy(layer)
    np.testing.assert_array_equal(chunked.compute(), values)  # type: ignore[no-untyped-call]
    with dask_scheduler(Cluster(address="local", actors=2)) as scheduler:
        scores, _ = principal_scores(chunked, 5, standardise=True, scheduler=scheduler)
    axes = pca.principal_axes(pca.matrix_moments(values), 5, standardise=True)
    np.testing.assert_allclose(scores, axes.scores(values), atol=1e-9)


def test_what_has_no_covariance_is_refused(x: NDArray[np.float64], monkeypatch: pytest.MonkeyPatch) -> None:
    x[3, 1] = np.nan
    with pytest.raises(IntegrityError, match="1 of 7 features hold values that are not finite"):
        matrix_moments(lazy(x, 16))
    monkeypatch.setattr("cvbench.jobs.analyses.principal_scores.MOST_FEATURES", 6)
    with pytest.raises(UsageError, match="a covariance of 7 features does not fit"):
        matrix_moments(lazy(x, 16))
