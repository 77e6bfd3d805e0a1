"""The array namespace: what is shared with torch, what is copied, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cvbench.engine.arrays import array


def test_numpy_is_its_own_namespace() -> None:
    assert array.namespace(np.zeros(2)) is np
    assert array.namespace(np.float64(1)) is np


@pytest.mark.parametrize("other", [[1.0], torch.zeros(1), 1.0])
def test_anything_else_is_refused(other: object) -> None:
    with pytest.raises(TypeError, match="NumPy or CuPy"):
        array.namespace(other)


def test_to_host_does_not_copy_numpy() -> None:
    x = np.arange(3)
    assert array.to_host(x) is x
    assert array.to_host(x) is x


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.uint8])
def test_a_cpu_tensor_shares_its_memory(dtype: torch.dtype) -> None:
    tensor = torch.zeros(2, 3, dtype=dtype)
    shared = array.from_torch(tensor)
    tensor[1, 2] = 7
    assert shared[1, 2] == 7
    assert shared.dtype == np.dtype(str(dtype).removeprefix("torch."))


def test_strides_survive() -> None:
    tensor = torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1)
    np.testing.assert_array_equal(array.from_torch(tensor), tensor.numpy())


def test_bfloat16_becomes_float32_and_gradients_do_not_matter() -> None:
    tensor = torch.tensor([1.5, -2.25], dtype=torch.bfloat16, requires_grad=True)
    shared = array.from_torch(tensor)
    assert shared.dtype == np.float32
    np.testing.assert_array_equal(shared, [1.5, -2.25])


def test_torch_stream_does_nothing_on_the_cpu() -> None:
    with array.torch_stream(torch.zeros(1)):
        pass


@pytest.mark.gpu
def test_a_cuda_tensor_shares_its_memory(cupy: Any) -> None:
    tensor = torch.zeros(4, device="cuda")
    with array.torch_stream(tensor):
        shared = array.from_torch(tensor)
        shared += 3
        assert array.namespace(shared) is cupy
    assert tensor.tolist() == [3.0] * 4
    np.testing.assert_array_equal(array.to_host(shared), [3.0] * 4)
