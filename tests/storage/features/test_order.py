"""The seeded order: a permutation, fixed for ever, fair in its prefixes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvbench.storage.features.order import sample_order

_MASK = 2**64 - 1


def _splitmix(state: int) -> int:
    """Reference in Python's own integers."""
    z = state
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


@given(n=st.integers(0, 300), seed=st.integers(0, 2**64 - 1))
def test_it_is_the_documented_permutation(n: int, seed: int) -> None:
    start = _splitmix(seed)
    keys = [_splitmix((start + (i + 1) * 0x9E3779B97F4A7C15) & _MASK) for i in range(n)]
    assert sample_order(n, seed).tolist() == sorted(range(n), key=lambda i: (keys[i], i))


def test_the_order_never_changes() -> None:
    # Frozen: stores written once must keep their meaning.
    assert sample_order(12, 7).tolist() == [9, 11, 1, 5, 6, 0, 7, 4, 8, 3, 10, 2]


def test_a_prefix_of_sorted_classes_is_fair() -> None:
    labels = np.repeat(np.arange(10), 1000)
    counts = np.bincount(labels[sample_order(10_000)[:1000]], minlength=10)
    assert np.abs(counts - 100).max() < 40  # four standard deviations of a fair draw


def test_seeds_differ() -> None:
    assert sample_order(100, 0).tolist() != sample_order(100, 1).tolist()


def test_negative_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        sample_order(-1)
