"""Torch's `cuda:0` without a card: tensors that say they lie there, over memory of the host.

A dispatch mode computes each operation on the host and hands on tensors that pretend. It refuses operations that mix
them with those of the host, counts operations and waits, lets copies to page-locked memory arrive with their event,
and finds races between streams (`streams`).
Autocast and autograd are torch's own: the pretended tensors carry CUDA's dispatch keys.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from tests.standin import cupy_array, cupy_cuda, indexing
from tests.standin.counters import COUNTERS
from tests.standin.locked import is_locked, lock, locked, unlock
from tests.standin.streams import HOST, STREAMS, TORCH, Use

DEVICE = torch.device("cuda", 0)
CAPABILITY = (9, 0)
ARCHITECTURES = ["sm_90"]
COPIES = ("_to_copy", "copy_")
RAW_POINTER, PUBLIC_POINTER = 1, 2
"""What the pretended pool gives, asked in C++ and by torch's public functions."""
QUIET = ("detach", "alias", "lift_fresh", "_unsafe_view")
COPIES_OR_VIEWS = ("contiguous", "flatten", "reshape", "to")


class _State:
    """Autograd's C++ asks the driver for a stream of any CUDA device: with `autograd` it is told of the CPU.

    Autocast then does not hold; all else is as without.
    """

    autograd = False


class Pretended(torch.Tensor):
    """A tensor of the pretended device; `host` holds its values."""

    host: torch.Tensor
    use: Use

    @staticmethod
    def __new__(cls, host: torch.Tensor) -> Pretended:
        outline = torch.empty_strided(host.shape, host.stride(), dtype=host.dtype, device="meta")
        make: Any = torch.Tensor._make_subclass
        made: Pretended = make(cls, outline, host.requires_grad, dispatch_device=True, device_for_backend_keys=DEVICE)
        made.host = host
        made.use = _use(host)
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return DEVICE

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    def record_stream(self, s: Any) -> None:
        self.use.recorded.add(s.number)

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"cuda {self.host!r}"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch calls it so
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})


class _Held(Use):
    """Adds its bytes to those that torch holds, until it goes."""

    def __init__(self, stream: int, size: int) -> None:
        super().__init__(stream, (stream, STREAMS.tell(stream)))
        self._size = size
        memory = cupy_array.Memory
        memory.held += size
        memory.most = max(memory.most, memory.held)

    def __del__(self) -> None:
        cupy_array.Memory.held -= self._size
        super().__del__()


_USES: weakref.WeakValueDictionary[int, Use] = weakref.WeakValueDictionary()


def _use(host: torch.Tensor) -> Use:
    """Who uses the memory of a tensor; views share it. New memory was written by the stream that is current."""
    where = host.untyped_storage().data_ptr()
    found = _USES.get(where)
    if found is None or not where:
        found = _Held(TORCH.stream, host.untyped_storage().nbytes())
        _USES[where] = found
    return found


def _used(func: Any, args: Any, kwargs: dict[str, Any]) -> None:
    """Note what an operation reads and writes, on the current stream."""
    stream = TORCH.stream
    count = STREAMS.tell(stream)
    for number, argument in enumerate(func._schema.arguments):
        value = args[number] if number < len(args) else kwargs.get(argument.name)
        written = argument.alias_info is not None and argument.alias_info.is_write
        for one in tree_leaves(value):
            if isinstance(one, Pretended):
                (one.use.writing if written else one.use.reading)(stream, count, str(func))


def _host(value: Any) -> Any:
    return value.host if isinstance(value, Pretended) else value


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    if func is torch.ops.prim.device.default:
        return torch.device("cpu") if _State.autograd else DEVICE
    name = func.overloadpacket.__name__
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
    there = any(isinstance(value, Pretended) for value in tensors)
    device = kwargs.get("device")
    if there and name not in COPIES and any(not isinstance(one, Pretended) and one.ndim for one in tensors):
        raise RuntimeError(f"Expected all tensors to be on the same device: {func}")
    goes_there = torch.device(device).type == "cuda" if device is not None else there
    if name in COPIES_OR_VIEWS or not (func.is_view or name in QUIET):
        _used(func, args, kwargs)
    if name == "copy_":
        return _copy(args[0], args[1], non_blocking=len(args) > 2 and bool(args[2]))
    _count(func, name, there, goes_there, tensors)
    if name == "_to_copy" and goes_there and not there and not (kwargs.get("non_blocking") and is_locked(tensors[0])):
        COUNTERS.wait()
    given = {**kwargs, **({"device": "cpu"} if goes_there and device is not None else {})}
    given = {key: False if key in ("pin_memory", "non_blocking") else value for key, value in given.items()}
    found = _computed(func, name, tree_map(_host, args), tree_map(_host, given))
    if kwargs.get("pin_memory"):
        locked(found)
    if goes_there and there and name not in QUIET and not func.is_view:
        touched = [_host(one) for one in [*tensors, *tree_leaves(found)] if isinstance(one, torch.Tensor)]
        COUNTERS.torch_moved += sum(min(one.nbytes, one.untyped_storage().nbytes()) for one in touched)
    return _pretending(func, found, tensors) if goes_there else found


def _computed(func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
    if name in ("mm", "bmm") and "out_dtype" in {argument.name for argument in func._schema.arguments}:
        if args[0].dtype not in (torch.float16, torch.bfloat16) or args[2] != torch.float32:
            raise RuntimeError("out_dtype is for float16 and bfloat16, and float32")
        return torch.matmul(args[0].float(), args[1].float())
    if name == "empty" or name == "empty_strided":
        made = func(*args, **kwargs)
        return made.fill_(float("nan")) if made.dtype.is_floating_point else made
    return func(*args, **kwargs)


def _pretending(func: Any, found: Any, tensors: list[torch.Tensor]) -> Any:
    memory, copied = cupy_array.Memory, func.overloadpacket.__name__ == "_to_copy"
    largest = memory.largest_copy if copied else memory.largest_result
    known = {id(one.host): one for one in tensors if isinstance(one, Pretended)}

    def wrap(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or isinstance(value, Pretended):
            return value
        if id(value) in known:
            return known[id(value)]
        if largest is not None and value.nbytes > largest:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {value.nbytes} bytes")
        return Pretended(value)

    view = any(one.alias_info is not None for one in func._schema.returns)
    if view and tensors and not tensors[0].is_inference():  # a view of an ordinary tensor is one, too
        with torch.inference_mode(False):
            return tree_map(wrap, found)
    return tree_map(wrap, found)


def _copy(target: torch.Tensor, source: torch.Tensor, *, non_blocking: bool) -> torch.Tensor:
    down = isinstance(source, Pretended) and not isinstance(target, Pretended)
    values = _host(source)
    if down:
        COUNTERS.fetches += 1
        COUNTERS.fetched += values.nbytes
        if non_blocking:
            cupy_cuda.later(values.to(target.dtype).numpy(), target.numpy(), TORCH.stream)
            return target
        COUNTERS.wait()
    elif isinstance(target, Pretended):
        COUNTERS.torch_launches += 1
        if not isinstance(source, Pretended):
            COUNTERS.uploads += 1
            COUNTERS.uploaded += values.nbytes
            if not (non_blocking and is_locked(source)):
                COUNTERS.wait()
    _host(target).copy_(values)
    return target


def _count(func: Any, name: str, there: bool, goes_there: bool, tensors: list[torch.Tensor]) -> None:
    asks = name == "index" and any(one.dtype == torch.bool for one in tensors[1:])
    if (asks or name in ("_local_scalar_dense", "equal", "nonzero")) and there:
        COUNTERS.wait()
    elif name == "_to_copy" and there != goes_there:
        size = sum(one.nbytes for one in tensors)
        if goes_there:
            COUNTERS.uploads += 1
            COUNTERS.uploaded += size
        else:
            COUNTERS.wait()
            COUNTERS.fetches += 1
            COUNTERS.fetched += size
    elif goes_there and name not in QUIET and not func.is_view:
        COUNTERS.torch_launches += 1


class _Dispatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Indexed(TorchFunctionMode):
    """ "cuda" is "cuda:0" before torch asks the driver which one is meant."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.device:
            return func(*args, **(kwargs or {}))
        if func is torch.Tensor.pin_memory:
            return locked(args[0].clone())
        if func is torch.Tensor.to and len(args) > 1 and isinstance(args[1], Pretended):
            return torch.ops.aten._to_copy(args[0], dtype=args[1].dtype, device=DEVICE)
        if func is torch.Tensor.copy_ and isinstance(args[0], Pretended) and not torch.is_grad_enabled():
            return _run(torch.ops.aten.copy_.default, args, kwargs or {})
        if func is torch.Tensor.cpu and isinstance(args[0], Pretended):
            return torch.ops.aten._to_copy(args[0], device="cpu")
        if func is torch.Tensor.contiguous and isinstance(args[0], Pretended):
            return torch.ops.aten.contiguous(*args, **(kwargs or {}))
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__) and isinstance(args[0], Pretended):
            return (indexing.taken if func is torch.Tensor.__getitem__ else indexing.put)(*args)
        if func in (torch.Tensor.tolist, torch.Tensor.numpy) and isinstance(args[0], Pretended):
            if func is torch.Tensor.numpy:
                raise TypeError("can't convert cuda:0 device type tensor to numpy")
            COUNTERS.wait()
            return args[0].host.tolist()
        if func is functional.one_hot and isinstance(args[0], Pretended):  # asks for no value where there is a device
            made = torch.zeros((*args[0].shape, args[1]), dtype=torch.int64, device=DEVICE)
            return made.scatter_(-1, args[0].unsqueeze(-1), 1)
        given = {name: _indexed(value) for name, value in (kwargs or {}).items()}
        if func in (torch.tensor, torch.as_tensor) and given.get("device") == DEVICE:
            return func(*args, **{**given, "device": "cpu"}).to(DEVICE)
        return func(*map(_indexed, args), **given)


def _indexed(value: Any) -> Any:
    there = (isinstance(value, str) and value == "cuda") or (isinstance(value, torch.device) and value.type == "cuda")
    return DEVICE if there else value


class _Event(cupy_cuda.Event):
    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> None:
        super().__init__(blocking)

    def record(self, stream: Any = None) -> None:
        self.clock = STREAMS.clock(TORCH.stream if stream is None else stream.number)

    def query(self) -> bool:
        return True


class _Stream:
    """A stream of its own; `number` chooses one that there is."""

    def __init__(self, device: Any = None, number: int | None = None) -> None:
        self.number = STREAMS.make() if number is None else number

    @property
    def cuda_stream(self) -> int:
        return self.number

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.number

    def wait_stream(self, other: Any) -> None:
        STREAMS.join(self.number, STREAMS.clock(other.number))

    def synchronize(self) -> None:
        COUNTERS.wait()
        STREAMS.join(HOST, STREAMS.clock(self.number))

    def is_capturing(self) -> bool:
        return False


@contextlib.contextmanager
def _within(stream: _Stream) -> Iterator[None]:
    before, TORCH.stream = TORCH.stream, stream.number
    try:
        yield
    finally:
        TORCH.stream = before


def _synchronize(device: Any = None) -> None:
    COUNTERS.wait()
    STREAMS.wait_for_all()


class _Runtime:
    """What of CUDA's own library is asked for."""

    def cudaHostRegister(self, address: int, size: int, flags: int) -> int:
        lock(address, size)
        return 0

    def cudaHostUnregister(self, address: int) -> int:
        unlock(address)
        return 0


def _from_dlpack(array: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
    if isinstance(array, cupy_array.ndarray):
        made = Pretended(torch.from_numpy(array._host))
        made.owner = array  # type: ignore[attr-defined]  # its memory lives as long
        return made
    return array if isinstance(array, torch.Tensor) else torch.from_numpy(array)


@contextlib.contextmanager
def pretended(*, autograd: bool = False) -> Iterator[None]:
    """Torch has a CUDA device within the block, in this thread; with `autograd` gradients run too, see `_State`."""
    patches: dict[str, Any] = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_capability": lambda device=None: CAPABILITY,
        "get_device_name": lambda device=None: "stand-in",
        "get_arch_list": lambda: ARCHITECTURES,
        "is_bf16_supported": lambda *args, **kwargs: True,
        "current_stream": lambda device=None: _Stream(number=TORCH.stream),
        "stream": _within,
        "synchronize": _synchronize,
        "empty_cache": lambda: None,
        "Event": _Event,
        "Stream": _Stream,
        "cudart": _Runtime,
        "caching_allocator_alloc": lambda size, device=None, stream=None: PUBLIC_POINTER,
        "caching_allocator_delete": lambda pointer: None,
    }
    overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
    STREAMS.races.clear()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in patches.items():
            patch.setattr(torch.cuda, name, value)
        patch.setattr(torch._C, "_cuda_cudaCachingAllocator_raw_alloc", lambda size, stream: RAW_POINTER, raising=False)
        patch.setattr(torch._C, "_cuda_cudaCachingAllocator_raw_delete", lambda pointer: None, raising=False)
        patch.setattr(torch.accelerator, "current_stream", lambda device=None: _Stream(number=TORCH.stream))
        patch.setattr(torch, "from_dlpack", _from_dlpack)
        patch.setattr(_State, "autograd", autograd)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        try:
            with _Dispatch(), _Indexed():  # type: ignore[no-untyped-call]
                yield
            assert not STREAMS.races, STREAMS.races[0]
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(overwrites)
