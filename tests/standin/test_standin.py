"""The stand-in refuses what CuPy and CUDA refuse, and counts what it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tests.standin.counters import COUNTERS
from tests.standin.plug import plugged


@pytest.fixture
def standin() -> Any:
    """The module, in place even where a real one is."""
    with plugged() as module:
        yield module


@pytest.mark.parametrize(
    "refused",
    [
        lambda cupy, x: np.asarray(x),
        lambda cupy, x: x + np.ones(3),
        lambda cupy, x: np.ones(3) + x,
        lambda cupy, x: cupy.concatenate([x, np.ones(3)]),
        lambda cupy, x: cupy.where(np.ones(3) > 0, x, x),
        lambda cupy, x: np.sum(x),
        lambda cupy, x: np.concatenate([x, x]),
        lambda cupy, x: x.sum(where=x > 0),
        lambda cupy, x: cupy.sqrt(x, where=True),
        lambda cupy, x: cupy.median(x, 0, None, False, False, 1),
        lambda cupy, x: x + torch.ones(3),
        lambda cupy, x: cupy.from_dlpack(torch.ones(3)),
        lambda cupy, x: torch.ones(3, device="cuda") + torch.ones(3),
        lambda cupy, x: torch.ones(3, device="cuda").numpy(),
    ],
)
def test_what_cupy_and_cuda_refuse(standin: Any, refused: Callable[[Any, Any], Any]) -> None:
    x = standin.asarray(np.arange(3.0))
    with pytest.raises((TypeError, ValueError, RuntimeError)):
        refused(standin, x)


def test_a_name_that_was_not_recorded_is_none(standin: Any) -> None:
    with pytest.raises(AttributeError, match="not in the recorded surface"):
        standin.nanmean(standin.ones(3))
    with pytest.raises(AttributeError, match="not in the recorded surface"):
        standin.ones(3).nonsense()


@pytest.mark.parametrize(
    ("waits", "asked"),
    [
        (0, lambda cupy, x: (x * 2).sum()),
        (1, lambda cupy, x: x.get()),
        (1, lambda cupy, x: bool(x[0] > 1)),
        (1, lambda cupy, x: float(x.sum())),
        (1, lambda cupy, x: int(x[1])),
        (1, lambda cupy, x: x[x > 1]),
        (1, lambda cupy, x: cupy.flatnonzero(x)),
        (1, lambda cupy, x: cupy.cuda.get_current_stream().synchronize()),
        (0, lambda cupy, x: torch.ones(3, device="cuda").sum()),
        (1, lambda cupy, x: torch.ones(3, device="cuda").sum().item()),
        (1, lambda cupy, x: torch.ones(3, device="cuda").to("cpu")),
    ],
)
def test_waits_are_counted(standin: Any, waits: int, asked: Callable[[Any, Any], Any]) -> None:
    x = standin.asarray(np.arange(3.0))
    COUNTERS.reset()
    asked(standin, x)
    assert COUNTERS.waits == waits


def test_launches_and_copies_are_counted_and_views_are_not(standin: Any) -> None:
    COUNTERS.reset()
    x = standin.asarray(np.arange(6.0))
    y = x.reshape(2, 3).T[1:]
    assert (COUNTERS.launches, COUNTERS.uploads, COUNTERS.uploaded) == (0, 1, 48)
    y += 1
    (y @ y.T).sum(axis=0)
    assert COUNTERS.launches == 3 + 2  # CuPy copies both operands of the product, which lie with gaps
    np.testing.assert_array_equal(x.get(), [0, 2, 3, 3, 5, 6])


def test_a_copy_that_is_not_waited_for_has_not_arrived(standin: Any) -> None:
    import cupyx

    here = cupyx.empty_pinned((3,), np.float64)
    standin.arange(3.0).get(out=here, blocking=False)
    event = standin.cuda.Event()
    event.record()
    assert np.isnan(here).all()
    event.synchronize()
    np.testing.assert_array_equal(here, [0, 1, 2])


def test_memory_is_nan_before_and_after_it_is_in_use(standin: Any) -> None:
    assert np.isnan(standin.empty(3).get()).all()
    x = standin.ones(3)
    stale = x._host
    view = x[1:]
    del x
    np.testing.assert_array_equal(view.get(), 1)
    del view
    assert np.isnan(stale).all()


def test_torch_shares_memory_both_ways_and_autocasts(standin: Any) -> None:
    tensor = torch.zeros(2, 3, device="cuda")
    standin.from_dlpack(tensor)[0] = 2.0
    assert tensor.tolist() == [[2.0] * 3, [0.0] * 3]
    back: torch.Tensor = vars(torch)["from_dlpack"](standin.ones((2, 2)))
    assert back.is_cuda
    with torch.autocast("cuda", dtype=torch.bfloat16):
        assert (tensor @ tensor.T).dtype == torch.bfloat16


class TestStreams:
    """Races are found, whichever way it goes in truth."""

    def test_a_stream_that_has_not_waited_may_not_read(self, standin: Any) -> None:
        x = torch.ones(3, device="cuda")
        beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        with torch.cuda.stream(beside), pytest.raises(RuntimeError, match="reads what stream 0 may not have written"):
            x.sum()

    def test_a_stream_that_has_not_waited_may_not_write(self, standin: Any) -> None:
        x = torch.ones(3, device="cuda")
        beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            x.sum()
        x.record_stream(beside)
        with pytest.raises(RuntimeError, match=r"writes what stream \d+ may still read"):
            x.add_(1)
        torch.cuda.current_stream().wait_stream(beside)
        x.add_(1)

    def test_memory_may_not_be_given_back_that_another_stream_uses(self) -> None:
        def give_back() -> None:
            with plugged():
                x = torch.ones(3, device="cuda")
                beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
                beside.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(beside):
                    x.sum()
                del x

        with pytest.raises(AssertionError, match="is given back while stream"):
            give_back()

    def test_an_event_of_another_stream_lets_no_copy_arrive(self, standin: Any) -> None:
        x = torch.ones(3, device="cuda")
        here = torch.empty(3)
        beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            here.copy_(x, non_blocking=True)
        x.record_stream(beside)
        for stream, arrived in ((torch.cuda.current_stream(), False), (beside, True)):
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(stream)
            event.synchronize()
            assert bool(torch.isfinite(here).all()) is arrived


def test_nothing_of_it_is_left() -> None:
    import sys

    before = sys.modules.get("cupy")
    with plugged():
        assert sys.modules["cupy"] is not before
    assert sys.modules.get("cupy") is before
    assert torch.cuda.is_available() is (torch._C._cuda_getDeviceCount() > 0)
