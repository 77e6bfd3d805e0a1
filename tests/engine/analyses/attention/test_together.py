"""Numbers and output of one softmax in float32, against a softmax written out in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from cvbench.engine.analyses.attention import together
from cvbench.engine.analyses.attention.kernel import Tokens, attention_numbers
from cvbench.engine.analyses.attention.together import LOGITS, numbers_and_mixed
from cvbench.engine.analyses.attention.watch import AttentionWatch, Products, Weights
from tests.engine.analyses.attention.test_kernel import reference, softmax

TOKENS = [
    Tokens((3, 5), 3, True, (16.0, 8.0)),
    Tokens((4, 3), 0, False, (4.0, 4.0)),
    Tokens((3, 4), 2, False, (2.0, 2.0)),
]


def drawn(tokens: Tokens, largest: float, scale: float = 0.25) -> list[torch.Tensor]:
    """Queries, keys and values of two images; logits at most as large by the norms, and keys far from their mean 0."""
    rng = np.random.default_rng(0)
    query, key, value = (rng.normal(size=(2, 4, tokens.count, 16)) for _ in range(3))
    key -= key.mean(axis=-2, keepdims=True)
    most = (np.linalg.norm(query, axis=-1).max(-1) * np.linalg.norm(key, axis=-1).max(-1)).max()
    query *= largest / (most * scale)
    key += 5 * rng.normal(size=(2, 4, 1, 16))
    return [torch.from_numpy(one).float() for one in (query, key, value)]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Images of each call that has gone to float64."""
    calls: list[int] = []

    def count(query: Any, *others: Any, **more: Any) -> torch.Tensor:
        calls.append(len(query))
        return attention_numbers(query, *others, **more)

    monkeypatch.setattr(together, "attention_numbers", count)
    return calls


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("block", [1, 100, 2**17])
@pytest.mark.parametrize("largest", [0.1, 4.0, 0.99 * LOGITS])
def test_one_softmax_gives_both_to_a_millionth(counted: list[int], tokens: Tokens, block: int, largest: float) -> None:
    query, key, value = drawn(tokens, largest)
    numbers, mixed = numbers_and_mixed(query, key, value, tokens, 0.25, block=block)
    assert counted == []
    weights = softmax(query, key, 0.25)
    np.testing.assert_allclose(numbers.numpy(), reference(weights, tokens), rtol=1e-6, atol=1e-7)
    expected = np.einsum("bhqk,bhkc->bhqc", weights, value.double().numpy())
    np.testing.assert_allclose(mixed.numpy(), expected, rtol=1e-5, atol=2e-6)
    assert mixed.dtype is torch.float32


@pytest.mark.parametrize("which", [[0], [1], [0, 1]])
def test_images_of_large_logits_are_in_float64_and_the_others_are_not(counted: list[int], which: list[int]) -> None:
    tokens = TOKENS[0]
    query, key, value = drawn(tokens, 10.0)
    alone = numbers_and_mixed(query, key, value, tokens, 0.25)
    query[which, 2] *= 40.0  # one head of an image is enough
    numbers, mixed = numbers_and_mixed(query, key, value, tokens, 0.25)
    assert counted == [len(which)]
    weights = softmax(query, key, 0.25)
    np.testing.assert_allclose(numbers.numpy(), reference(weights, tokens), rtol=1e-6, atol=1e-7)
    assert torch.equal(mixed[which], scaled_dot_product_attention(query, key, value, scale=0.25)[which])
    others = [image for image in (0, 1) if image not in which]
    assert torch.equal(numbers[others], alone[0][others])  # whatever stands beside them
    assert torch.equal(mixed[others], alone[1][others])


def test_what_is_not_finite_is_no_small_logit(counted: list[int]) -> None:
    query, key, value = drawn(TOKENS[0], 1.0)
    query[1, 0, 0, 0] = torch.nan
    numbers_and_mixed(query, key, value, TOKENS[0], 0.25)
    assert counted == [1]


@pytest.mark.parametrize("case", ["float64", "many"])
def test_other_types_and_too_many_tokens_are_in_float64(
    counted: list[int], monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    query, key, value = drawn(TOKENS[0], 1.0)
    if case == "float64":
        query, key, value = query.double(), key.double(), value.double()
    else:
        monkeypatch.setattr(together, "MOST", TOKENS[0].count - 1)
    _, mixed = numbers_and_mixed(query, key, value, TOKENS[0], 0.25)
    assert counted == [2]
    assert mixed.dtype is query.dtype


def test_a_layer_that_also_wants_the_weights_attends_itself() -> None:
    """Torch's layer gives them beside its output; the mixed values alone would not be all that it gives."""
    tokens = TOKENS[0]
    torch.manual_seed(0)
    layer, x = nn.MultiheadAttention(16, 4, batch_first=True).eval(), torch.randn(2, tokens.count, 16)
    mixed: list[bool] = []

    def see(attention: Products | Weights) -> torch.Tensor | None:
        _, found = attention.numbers(tokens)
        mixed.append(found is not None)
        return found

    with torch.no_grad():
        plain, weights = layer(x, x, x)
        with AttentionWatch(see):
            whole, same = layer(x, x, x)
            alone, none = layer(x, x, x, need_weights=False)
    assert mixed == [False, True]
    assert none is None
    torch.testing.assert_close(same, weights)
    torch.testing.assert_close(whole, plain)
    torch.testing.assert_close(alone, plain, rtol=1e-5, atol=1e-6)
