"""CuPy beside torch: which wheel is named, a card that cannot be used, whose memory it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cvbench.engine.arrays import array, cuda
from cvbench.engine.arrays.fetch import Fetch, fetched
from cvbench.errors import ResourceError
from cvbench.jobs.analyses.measure import analysis_device
from cvbench.jobs.running.progress import Event, Note
from tests.standin.plug import plugged


@pytest.mark.parametrize(
    ("built", "extra"), [("13.0", "cuda13"), ("12.6", "cuda12"), (None, ""), ("11.8", ""), ("14.1", "")]
)
def test_the_extra_is_that_of_torchs_cuda(monkeypatch: pytest.MonkeyPatch, built: str | None, extra: str) -> None:
    monkeypatch.setattr(torch.version, "cuda", built)
    assert cuda.fitting_extra() == extra
    assert (f"cvbench[{extra}]" if extra else "a torch build for CUDA 12 or 13") in cuda.advice()


def test_a_library_that_cannot_be_loaded_is_a_resource_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of `cupy-cuda12x` beside a torch for CUDA 13: it imports, and its first product fails."""

    def fails(*args: Any, **kwargs: Any) -> None:
        raise ImportError("libcublas.so.12: cannot open shared object file")

    with plugged() as cupy:
        monkeypatch.setitem(vars(cupy), "ones", fails)
        with pytest.raises(ResourceError, match="cannot compute on the card") as error:
            array.to_device(np.zeros(2), "cuda")
        assert "libcublas" in str(error.value)
        assert "--device cpu" in str(error.value)
        assert cuda.usable() != ""
        told: list[Event] = []
        assert analysis_device("auto", "none", told.append) == "cpu"
        assert any(isinstance(event, Note) and "libcublas" in event.text for event in told)
        with pytest.raises(ResourceError):
            analysis_device("cuda", "none")


def test_a_product_that_is_wrong_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with plugged() as cupy:
        plain = cupy.ones
        monkeypatch.setitem(vars(cupy), "ones", lambda *args, **kwargs: plain(*args, **kwargs) * 3)
        with pytest.raises(ResourceError, match="computes wrongly"):
            cuda.device_module()


def test_auto_takes_a_card_that_can_be_used() -> None:
    with plugged():
        assert analysis_device("auto", "none") == "cuda"


def test_cupy_takes_its_memory_from_torch() -> None:
    with plugged() as cupy:
        cuda.device_module()
        (allocator,) = cupy.cuda.allocators
        assert allocator(0) == 0
        assert allocator(64) == 1  # the pointer that torch's pretended pool gives


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("x"), True),
        (RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried to ..."), True),
        (MemoryError(), False),
        (RuntimeError("out of memory"), False),
    ],
)
def test_whose_memory_is_at_its_end(error: BaseException, expected: bool) -> None:
    assert cuda.is_out_of_memory(error) is expected


def test_cupys_error_is_known_without_cupy() -> None:
    kind = type("OutOfMemoryError", (MemoryError,), {"__module__": "cupy.cuda.memory"})
    assert cuda.is_out_of_memory(kind())


@pytest.mark.gpu
def test_many_arrays_come_home_in_one_copy(cupy: Any) -> None:
    parts: list[Any] = [np.arange(6.0).reshape(2, 3), np.float64(4.0), np.empty(0), np.arange(3, dtype=np.float32)]
    found = Fetch([cupy.asarray(part) for part in parts]).arrays()
    for part, values in zip(parts, found, strict=True):
        np.testing.assert_array_equal(values, part)
        assert values.shape == np.shape(part)
    assert fetched([parts[0]])[0] is parts[0]


@pytest.mark.gpu
def test_a_table_lies_on_the_device_once(cupy: Any) -> None:
    @array.table
    def numbers(n: int) -> Any:
        return np.arange(n)

    there = numbers.on(cupy.zeros(1), 4)
    assert there is numbers.on(cupy.ones(2), 4)
    np.testing.assert_array_equal(there.get(), numbers(4))
