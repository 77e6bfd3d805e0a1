"""CuPy beside torch: which wheel is named, a card that cannot be used, whose memory it is."""

from __future__ import annotations

import atexit
import weakref
from typing import Any

import numpy as np
import pytest
import torch

from cvbench.engine.arrays import array, cuda
from cvbench.engine.arrays.fetch import Fetch, fetched
from cvbench.engine.arrays.stream import on_stream_of
from cvbench.errors import ResourceError
from cvbench.jobs.analyses.measure import analysis_device
from cvbench.jobs.running.progress import Event, Note
from tests.standin import cupy_cuda, torch_cuda
from tests.standin.plug import plugged
from tests.standin.streams import CUPY
from tests.standin.torch_cuda import PUBLIC_POINTER, RAW_POINTER


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


@pytest.mark.parametrize(("has", "pointer"), [(True, RAW_POINTER), (False, PUBLIC_POINTER)])
def test_cupy_takes_its_memory_from_torch(monkeypatch: pytest.MonkeyPatch, has: bool, pointer: int) -> None:
    """In C++ where torch lets us: its public function enters the device for every temporary."""
    with plugged() as cupy:
        if not has:
            monkeypatch.delattr(torch._C, "_cuda_cudaCachingAllocator_raw_alloc")
        cuda.device_module()
        (allocator,) = cupy.cuda.allocators
        assert allocator(0) == 0
        assert allocator(64) == pointer


class TestStream:
    """CuPy on torch's stream, with either release of each."""

    @pytest.mark.parametrize("torch_knows", [True, False])
    @pytest.mark.parametrize("cupy_14", [True, False])
    def test_it_is_torchs(self, monkeypatch: pytest.MonkeyPatch, cupy_14: bool, torch_knows: bool) -> None:
        with plugged() as cupy:
            if not torch_knows:  # before 2.10
                monkeypatch.delattr(torch_cuda._Stream, "__cuda_stream__")
            if not cupy_14:
                monkeypatch.delattr(cupy_cuda.Stream, "from_external")
            beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            with torch.cuda.stream(beside), array.device_stream("cuda"):
                assert cupy.cuda.get_current_stream().ptr == beside.cuda_stream
            assert cupy.cuda.get_current_stream().ptr != beside.cuda_stream

    def test_it_is_of_the_device_that_is_entered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cupy_cuda.Device, "number", 2)
        with plugged() as cupy, on_stream_of(cupy, torch.device("cuda", 1)):
            assert cupy.cuda.Device().id == 1
        assert CUPY.device == 0

    def test_a_stream_that_cannot_be_entered_fails_the_probe(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: Any) -> None:
            raise AttributeError("no stream")

        monkeypatch.setattr(cupy_cuda.Stream, "from_external", refuse)
        with plugged():
            assert "no stream" in cuda.usable()


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


def test_a_table_is_let_go_before_the_interpreter_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    @array.table
    def numbers(n: int) -> Any:
        return np.arange(n)

    at_exit: list[Any] = []
    monkeypatch.setattr(atexit, "register", at_exit.append)
    array._forget_at_exit.cache_clear()
    with plugged() as cupy:
        first, second = (weakref.ref(numbers.on(cupy.zeros(1), n)) for n in (3, 4))
        assert first() is not None
        (forget,) = at_exit
        forget()
        assert (first(), second()) == (None, None)
    array._forget_at_exit.cache_clear()
