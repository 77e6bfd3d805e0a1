"""Kernels on several threads: the same bits, in order, few at a time, and errors come through."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_info

from cvbench.engine.analyses.base import Layer
from cvbench.engine.analyses.cka.measure import MinibatchCka
from cvbench.engine.analyses.similarity.measure import Similarity
from cvbench.engine.analyses.spectra.measure import Spectra
from cvbench.engine.arrays.threads import host_threads, in_order

DEADLINE = 120  # seconds for what takes none


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_results_come_in_order_from_several_threads() -> None:
    both = threading.Barrier(2, timeout=DEADLINE)  # only passed if two items are worked on at once

    def named(item: int) -> tuple[int, str]:
        both.wait()
        return item, threading.current_thread().name

    with host_threads(2):
        found = list(in_order(named, range(8)))
    assert [item for item, _ in found] == list(range(8))
    assert len({name for _, name in found}) == 2
    assert threading.current_thread().name in {name for _, name in found}


def test_a_slow_reader_does_not_stop_the_helpers() -> None:
    second = threading.Event()

    def tells(item: int) -> int:
        if item == 1:
            second.set()
        return item

    with host_threads(2):
        results = in_order(tells, range(4))
        assert next(results) == 0
        assert second.wait(DEADLINE)  # item 1 is worked on although nobody asks for it
        assert list(results) == [1, 2, 3]


def test_what_the_items_raise_is_raised_after_the_results_before_it() -> None:
    def items() -> Iterator[int]:
        yield from range(6)
        raise ValueError("no item 6")

    found: list[int] = []
    with host_threads(3), pytest.raises(ValueError, match="no item 6"):
        found.extend(in_order(lambda item: item, items()))
    assert found == list(range(6))


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_a_reader_that_leaves_early_leaves_the_threads_free(threads: int) -> None:
    with host_threads(threads):
        for _ in range(20):
            results = in_order(lambda item: item, itertools.count())
            assert [next(results) for _ in range(5)] == list(range(5))
            results.close()  # type: ignore[attr-defined]
        assert list(in_order(lambda item: item * item, range(100))) == [item * item for item in range(100)]


def test_without_host_threads_it_is_a_plain_map() -> None:
    assert set(in_order(lambda _: threading.current_thread().name, range(3))) == {threading.current_thread().name}


def test_it_stays_a_few_items_ahead_of_its_reader() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    with host_threads(2):
        results = in_order(lambda item: item, items())
        next(results)
        assert len(taken) <= 5
        results.close()  # type: ignore[attr-defined]


def test_what_a_block_raises_is_raised() -> None:
    def fails(item: int) -> int:
        if item == 3:
            raise ValueError("block 3")
        return item

    with host_threads(2), pytest.raises(ValueError, match="block 3"):
        list(in_order(fails, range(50)))


def test_blas_keeps_to_one_thread_inside_and_has_its_own_again_after() -> None:
    before = blas_threads()
    with host_threads(2):
        assert blas_threads() == {1}
        # A kernel within a kernel's block stays on that block's thread.
        inner = list(in_order(lambda _: set(in_order(lambda _: threading.get_ident(), range(3))), range(4)))
    assert all(len(names) == 1 for names in inner)
    assert blas_threads() == before


def test_blas_stays_limited_until_the_last_block_ends() -> None:
    before, entered, leave = blas_threads(), threading.Event(), threading.Event()

    def other() -> None:
        with host_threads(1):
            entered.set()
            leave.wait(DEADLINE)

    thread = threading.Thread(target=other)
    with host_threads(2):
        thread.start()
        assert entered.wait(DEADLINE)
    assert blas_threads() == {1}
    leave.set()
    thread.join()
    assert blas_threads() == before


@pytest.mark.parametrize("make", [Spectra, Similarity, lambda: MinibatchCka(batch=8)])
@pytest.mark.parametrize("shape", [(8, 8, 40), (30, 28, 3)])
def test_any_number_of_threads_gives_the_same_bits(make: Callable[[], Any], shape: tuple[int, ...]) -> None:
    maps: NDArray[np.float32] = np.random.default_rng(3).normal(size=(24, *shape)).astype(np.float32)
    layers = [Layer("net", "last")]
    partials = []
    for threads in (1, 2, 3):
        with host_threads(threads):
            partials.append(make().measure(layers, lambda _: maps, np.arange(24)))
    for other in partials[1:]:
        assert other.keys() == partials[0].keys()
        for key, values in partials[0].items():
            np.testing.assert_array_equal(other[key], values)
