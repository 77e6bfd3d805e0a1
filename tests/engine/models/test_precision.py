from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cvbench.engine.models.precision import check_precision, forward_mode, round_mantissa, store_dtype
from cvbench.errors import UnknownNameError, UsageError

BitRound = pytest.importorskip("numcodecs.bitround").BitRound
CPU = torch.device("cpu")
FORMATS = [(torch.float16, 10), (torch.float32, 23)]


def all_halves() -> torch.Tensor:
    """Every float16 there is."""
    return torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.float16)


@pytest.mark.parametrize("keep", range(1, 11))
def test_every_half_keeps_the_bound_and_drops_the_bits(keep: int) -> None:
    values = all_halves()
    rounded = round_mantissa(values, keep)
    x, y = values.double(), rounded.double()
    finite = torch.isfinite(x)
    assert torch.equal(torch.isfinite(y), finite)
    assert torch.equal(torch.isnan(y), torch.isnan(x))
    normal = finite & (x.abs() >= 2.0**-14)
    assert bool(((y - x).abs()[normal] <= 2.0 ** -(keep + 1) * x.abs()[normal]).all())
    dropped = rounded.view(torch.int16) & ((1 << (10 - keep)) - 1)
    kept_whole = x.abs() > 65504.0 * (1 - 2.0 ** -(keep + 1))  # would round up to infinity: left as they are
    assert bool((dropped[finite & ~kept_whole] == 0).all())


@pytest.mark.parametrize("keep", range(1, 10))
def test_halves_agree_with_numcodecs_where_it_stays_finite(keep: int) -> None:
    values = all_halves()
    values = values[torch.isfinite(values)]
    codec = BitRound(keepbits=keep)
    theirs = np.asarray(codec.decode(codec.encode(values.numpy().copy()))).view(np.float16)
    finite = np.isfinite(theirs)
    np.testing.assert_array_equal(round_mantissa(values, keep).numpy()[finite], theirs[finite])


@given(st.lists(st.floats(width=32), min_size=1, max_size=50), st.integers(1, 22))
def test_singles_keep_the_bound_and_agree_with_numcodecs(numbers: list[float], keep: int) -> None:
    values = torch.tensor(numbers, dtype=torch.float32)
    rounded = round_mantissa(values, keep)
    x, y = values.double(), rounded.double()
    finite = torch.isfinite(x)
    assert torch.equal(x.isnan(), y.isnan())
    assert torch.equal(x[x.isinf()], y[x.isinf()])
    normal = finite & (x.abs() >= 2.0**-126)
    assert bool(((y - x).abs()[normal] <= 2.0 ** -(keep + 1) * x.abs()[normal]).all())
    codec = BitRound(keepbits=keep)
    finite_input = values[finite].numpy().copy()
    theirs = np.asarray(codec.decode(codec.encode(finite_input))).view(np.float32)
    same = np.isfinite(theirs)
    np.testing.assert_array_equal(rounded[finite].numpy()[same], theirs[same])


@pytest.mark.parametrize(("dtype", "mantissa"), FORMATS)
def test_ties_go_to_even_and_rounding_twice_changes_nothing(dtype: torch.dtype, mantissa: int) -> None:
    values = torch.tensor([1.125, 1.375, -1.125, -1.375, 1.126, 0.0, -0.0], dtype=dtype)
    rounded = round_mantissa(values, 2)
    assert rounded.tolist() == [1.0, 1.5, -1.0, -1.5, 1.25, 0.0, 0.0]
    assert bool(torch.signbit(rounded[-1]))
    assert torch.equal(round_mantissa(rounded, 2), rounded)
    assert torch.equal(round_mantissa(values, mantissa), values)


def test_a_view_with_gaps_is_rounded_by_value() -> None:
    values = torch.randn(6, 8, dtype=torch.float32)
    assert torch.equal(round_mantissa(values.t()[::2], 4), round_mantissa(values, 4).t()[::2])


@pytest.mark.parametrize("keep", [0, 11, -1])
def test_impossible_bits_are_refused(keep: int) -> None:
    with pytest.raises(UsageError, match="keep_bits"):
        round_mantissa(torch.zeros(2, dtype=torch.float16), keep)
    with pytest.raises(UsageError, match="float16 and float32"):
        round_mantissa(torch.zeros(2, dtype=torch.bfloat16), 3)


def test_names_are_checked() -> None:
    assert check_precision("bf16", CPU) is torch.bfloat16
    assert store_dtype("float32") is torch.float32
    with pytest.raises(UnknownNameError, match="fp32"):
        check_precision("fp31", CPU)
    with pytest.raises(UnknownNameError, match="float16"):
        store_dtype("float17")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_products_are_computed_in_the_asked_type_without_a_graph(dtype: torch.dtype) -> None:
    x = torch.randn(4, 4, requires_grad=True)
    with forward_mode(CPU, dtype):
        product = x @ x
    assert product.dtype is dtype
    assert not product.requires_grad
    assert not torch.is_inference_mode_enabled()


SWITCHES = """
import torch
from cvbench.engine.models.precision import exact_arithmetic, forward_mode, trunk_mode
{before}
products = torch.backends.cuda.matmul
assert products.allow_tf32
for mode in (forward_mode, trunk_mode):
    with mode(torch.device("{device}"), torch.float32):
        assert not products.allow_tf32
        assert torch.get_float32_matmul_precision() == "highest"
    assert products.allow_tf32  # the caller's own is as it was
with exact_arithmetic(torch.device("cuda")):
    assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
"""


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("outside", ["TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "the caller"])
def test_fp32_switches_tf32_off_for_products_too(outside: str, device: str) -> None:
    """In a process of its own: torch reads the variable once. No card is needed to see the switches."""
    environment = {**os.environ, **({outside: "1"} if outside.isupper() else {})}
    before = "" if outside.isupper() else "torch.backends.cuda.matmul.allow_tf32 = True"
    code = SWITCHES.format(before=before, device=device)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_the_advice_on_infinite_values_names_the_type_that_ended() -> None:
    """A float32 pass stored as float16: more precision in the pass does not help."""
    from cvbench.engine.analyses.base import Layer
    from cvbench.engine.analyses.checks import not_finite

    advice = str(not_finite(Layer("test_vit", "blocks.0")).fix)
    assert "--dtype float32" in advice
    assert advice.index("--dtype float32") < advice.index("--precision fp32 or bf16")
