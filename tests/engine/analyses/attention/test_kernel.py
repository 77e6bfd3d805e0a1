"""Numbers of attention against a softmax written out in float64, on a grid that is not square."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cvbench.engine.analyses.attention.kernel import MEASURES, Tokens, attention_numbers, weight_numbers

F64 = NDArray[np.float64]
TOKENS = Tokens((3, 5), 3, True, (16.0, 8.0))


def drawn(
    tokens: Tokens, channels: int = 8, size: float = 3.0, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    query, key = (rng.normal(0, size, (2, 4, tokens.count, channels)) for _ in range(2))
    return torch.from_numpy(query).to(dtype), torch.from_numpy(key).to(dtype)


def softmax(query: torch.Tensor, key: torch.Tensor, scale: float, bias: F64 | float = 0.0) -> F64:
    logits = np.einsum("bhqc,bhkc->bhqk", query.double().numpy(), key.double().numpy()) * scale + bias
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def reference(weights: F64, tokens: Tokens) -> F64:
    """(B, heads, 5), by loops over queries and keys."""
    batch, heads = weights.shape[:2]
    found = np.zeros((batch, heads, 5))
    width, first = tokens.grid[1], tokens.prefix
    patches = range(tokens.grid[0] * width)
    for image in range(batch):
        for head in range(heads):
            for q in patches:
                row = weights[image, head, first + q]
                away = [
                    np.hypot((q // width - k // width) * tokens.stride[0], (q % width - k % width) * tokens.stride[1])
                    for k in patches
                ]
                raw = float(np.dot(row[first:], away))
                entropy = -sum(w * np.log(w) for w in row if w > 0)
                of_class = row[0] if tokens.class_token else 0.0
                registers = row[int(tokens.class_token) : first].sum()
                found[image, head] += [raw / row[first:].sum(), raw, entropy, of_class, registers]
    return found / len(patches)


@pytest.mark.parametrize("block", [1, 100, 2**21])
@pytest.mark.parametrize("size", [0.1, 3.0, 10.0])  # logits up to some 100: nearly one-hot
def test_numbers_are_those_of_an_explicit_softmax(block: int, size: float) -> None:
    query, key = drawn(TOKENS, size=size)
    found = attention_numbers(query, key, TOKENS, 0.3, block=block).numpy()
    expected = reference(softmax(query, key, 0.3), TOKENS)
    # Logits of 100 have a rounding error of 1e-14, which the exponential makes a relative one.
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("block", [1, 100, 2**21])
@pytest.mark.parametrize("size", [0.1, 3.0, 10.0])
def test_of_a_networks_own_precision_they_are_those_of_float64_to_a_millionth(
    dtype: torch.dtype, block: int, size: float
) -> None:
    """Also where all attention goes to prefix tokens, and a patch's share is below what float32 holds."""
    query, key = drawn(TOKENS, size=size, dtype=dtype)
    found = attention_numbers(query, key, TOKENS, 0.3, block=block).numpy()
    np.testing.assert_allclose(found, reference(softmax(query, key, 0.3), TOKENS), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_query_that_sees_no_patch_has_no_distance(dtype: torch.dtype) -> None:
    query, key = drawn(TOKENS, dtype=dtype)
    seen = torch.arange(TOKENS.count) < TOKENS.prefix
    found = attention_numbers(query, key, TOKENS, 0.3, seen[None]).numpy()
    weights = softmax(query, key, 0.3, np.where(seen.numpy(), 0.0, -np.inf))
    assert not found[..., :2].any()
    assert found[..., 3:].sum(axis=-1) == pytest.approx(1)
    assert found[..., 3] == pytest.approx(weights[:, :, TOKENS.prefix :, 0].mean(axis=-1))
    entropy = -np.where(weights > 0, weights * np.log(np.where(weights > 0, weights, 1)), 0).sum(axis=-1)
    assert found[..., 2] == pytest.approx(entropy[:, :, TOKENS.prefix :].mean(axis=-1))


@pytest.mark.parametrize("tokens", [TOKENS, Tokens((4, 2), 0, False, (4.0, 4.0)), Tokens((2, 3), 2, False, (2.0, 2.0))])
def test_prefix_tokens_of_all_kinds(tokens: Tokens) -> None:
    query, key = drawn(tokens)
    found = attention_numbers(query, key, tokens, 0.5).numpy()
    np.testing.assert_allclose(found, reference(softmax(query, key, 0.5), tokens), rtol=1e-12, atol=1e-12)
    if not tokens.class_token:
        assert not found[..., MEASURES.index("class_mass")].any()
    if not tokens.prefix:
        np.testing.assert_allclose(found[..., 0], found[..., 1], rtol=1e-14)


def test_biases_and_masks_of_every_shape() -> None:
    query, key = drawn(TOKENS)
    rng = np.random.default_rng(1)
    bias = rng.normal(0, 2, (4, TOKENS.count, TOKENS.count))
    found = attention_numbers(query, key, TOKENS, 0.3, torch.from_numpy(bias[None]), block=200).numpy()
    np.testing.assert_allclose(found, reference(softmax(query, key, 0.3, bias), TOKENS), rtol=1e-12, atol=1e-12)
    seen = rng.random((TOKENS.count,)) < 0.7
    hidden = np.where(seen, 0.0, -np.inf)
    found = attention_numbers(query, key, TOKENS, 0.3, torch.from_numpy(seen)[None], block=200).numpy()
    np.testing.assert_allclose(found, reference(softmax(query, key, 0.3, hidden), TOKENS), rtol=1e-12, atol=1e-12)


def test_weights_of_the_network_give_the_same() -> None:
    query, key = drawn(TOKENS)
    weights = softmax(query, key, 0.3)
    found = weight_numbers(torch.from_numpy(weights).float(), TOKENS, block=300).numpy()
    np.testing.assert_allclose(found, reference(weights, TOKENS), rtol=1e-6, atol=1e-9)


def test_what_is_known_without_arithmetic() -> None:
    alike = torch.zeros((1, 1, TOKENS.count, 4))
    distance, raw, entropy, of_class, registers = attention_numbers(alike, alike, TOKENS, 1.0)[0, 0].tolist()
    assert entropy == pytest.approx(np.log(TOKENS.count))
    assert (of_class, registers) == pytest.approx((1 / 18, 2 / 18))
    assert raw == pytest.approx(distance * 15 / 18)
    own = 1000 * torch.eye(TOKENS.count)[None, None]  # each token sees itself alone
    np.testing.assert_allclose(attention_numbers(own, own, TOKENS, 1.0)[0, 0], 0, atol=1e-9)
