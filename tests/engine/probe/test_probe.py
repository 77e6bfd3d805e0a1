"""Linear probes: the solver against scikit-learn and SciPy, the trained layer against torch, search and numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from cvbench.engine.analyses.base import Layer
from cvbench.engine.probe.linear import train_linear, unit_length
from cvbench.engine.probe.logistic import fit_logistic, prepare
from cvbench.engine.probe.options import ProbeOptions, Schedule
from cvbench.engine.probe.parts import Part, ProbeRun, few, stratified
from cvbench.engine.probe.peer import fit_peer
from cvbench.engine.probe.recipes import GRID, penalties, probe, search
from cvbench.engine.probe.result import Targets, probe_result, ranks
from cvbench.errors import UnknownNameError, UsageError

F64 = NDArray[np.float64]


def features(n: int, d: int, k: int, seed: int = 0, decay: float = 0.7) -> tuple[F64, NDArray[np.int64]]:
    """Correlated features of overlapping classes, far from the origin; every class is there."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(k), rng.integers(0, k, n - k)])
    axes, _ = np.linalg.qr(rng.standard_normal((d, d)))
    scales = np.arange(1, d + 1) ** -decay
    centres = rng.standard_normal((k, d))
    return ((rng.standard_normal((n, d)) + centres[labels]) * scales) @ axes.T + 3.0, labels


def reference(x: F64, y: NDArray[np.int64], k: int, c: float) -> float:
    """The least objective, by SciPy's L-BFGS on the formula as it is written."""
    n, d = x.shape

    def objective(flat: F64) -> tuple[float, F64]:
        w, b = flat[: d * k].reshape(d, k), flat[d * k :]
        logits = x @ w + b
        loss = (logsumexp(logits, axis=1) - logits[np.arange(n), y]).mean() + (w**2).sum() / (2 * c * n)
        p = softmax(logits, axis=1)
        p[np.arange(n), y] -= 1
        return loss, np.concatenate([(x.T @ p / n + w / (c * n)).ravel(), p.mean(axis=0)])

    options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-14, "gtol": 1e-8}
    return float(minimize(objective, np.zeros((d + 1) * k), jac=True, method="L-BFGS-B", options=options).fun)


@pytest.mark.parametrize(("n", "d", "k"), [(200, 12, 4), (30, 40, 3), (150, 8, 2)])
def test_the_minimum_is_that_of_the_formula(n: int, d: int, k: int) -> None:
    x, y = features(n, d, k)
    cs = [0.01, 1.0, 30.0]
    found = fit_logistic(prepare(torch.from_numpy(x)), torch.from_numpy(y), k, cs, tolerance=1e-7)
    assert bool(found.converged.all())
    for index, c in enumerate(cs):
        # Both stop within 1e-7 of a zero gradient; the objective is then flat to about 1e-9.
        assert float(found.loss[index]) == pytest.approx(reference(x, y, k, c), rel=1e-6)
        logits = found.logits(torch.from_numpy(x))[index].numpy()
        w = found.weight[index].numpy()
        entropy = (logsumexp(logits, axis=1) - logits[np.arange(n), y]).mean()
        assert float(found.loss[index]) == pytest.approx(entropy + (w**2).sum() / (2 * c * n), rel=1e-9)
        np.testing.assert_allclose(w.sum(axis=1), 0, atol=1e-9)
        assert float(found.bias[index].sum()) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("k", [2, 6])
def test_it_is_scikit_learns(k: int) -> None:
    x, y = features(300, 16, k)
    test, expected = features(1000, 16, k, seed=1)
    train, labels = torch.from_numpy(x), torch.from_numpy(y)
    cs = [0.03, 3.0]
    ours = fit_logistic(prepare(train), labels, k, cs, tolerance=1e-7)
    theirs = fit_peer(train, labels, cs, tolerance=1e-7, max_iterations=5000)
    np.testing.assert_allclose(ours.loss, theirs.loss, rtol=1e-6)
    np.testing.assert_allclose(ours.weight, theirs.weight, atol=1e-3)
    right = [
        (fit.logits(torch.from_numpy(test)).argmax(dim=2).numpy() == expected).mean(axis=1) for fit in (ours, theirs)
    ]
    np.testing.assert_allclose(right[0], right[1], atol=0.002)


def test_float32_is_close_to_float64() -> None:
    x, y = features(400, 24, 5)
    labels = torch.from_numpy(y)
    exact = fit_logistic(prepare(torch.from_numpy(x)), labels, 5, [1.0], tolerance=1e-8)
    coarse = fit_logistic(prepare(torch.from_numpy(x.astype(np.float32))), labels, 5, [1.0], tolerance=1e-5)
    assert coarse.weight.dtype == torch.float32
    assert float(coarse.loss[0]) == pytest.approx(float(exact.loss[0]), rel=1e-5)


def test_a_batch_is_its_members_and_a_start_saves_iterations() -> None:
    x, y = features(200, 10, 4)
    design, labels = prepare(torch.from_numpy(x)), torch.from_numpy(y)
    cs = [1e-3, 1e-1, 10.0]
    together = fit_logistic(design, labels, 4, cs, tolerance=1e-7)
    for index, c in enumerate(cs):
        alone = fit_logistic(design, labels, 4, [c], tolerance=1e-7)
        torch.testing.assert_close(together.one(index).weight, alone.weight, atol=1e-5, rtol=1e-4)
    again = fit_logistic(design, labels, 4, cs, start=together, tolerance=1e-6)
    assert again.iterations.tolist() == [0, 0, 0]
    torch.testing.assert_close(again.weight, together.weight, atol=1e-9, rtol=1e-7)
    near = fit_logistic(design, labels, 4, [12.0], start=together.one(2), tolerance=1e-5)
    far = fit_logistic(design, labels, 4, [12.0], tolerance=1e-5)
    assert int(near.iterations[0]) < int(far.iterations[0])


def test_the_limit_of_iterations_is_kept_and_said() -> None:
    x, y = features(100, 10, 3)
    found = fit_logistic(prepare(torch.from_numpy(x)), torch.from_numpy(y), 3, [100.0], tolerance=0, max_iterations=2)
    assert found.iterations.tolist() == [2]
    assert not bool(found.converged[0])


def test_what_cannot_be_fitted_is_refused() -> None:
    x, y = features(20, 4, 3)
    design, labels = prepare(torch.from_numpy(x)), torch.from_numpy(y)
    with pytest.raises(UsageError, match="two classes or more"):
        fit_logistic(design, labels, 2, [1.0])
    with pytest.raises(UsageError, match="C must be positive"):
        fit_logistic(design, labels, 3, [1.0, 0.0])


def test_the_linear_layer_is_torchs() -> None:
    x, y = features(50, 6, 3)
    data, labels = torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y)
    schedule, decays, seed = Schedule(epochs=3, batch=16, rate=0.05), [0.0, 0.3], 7
    weight, bias = train_linear(data, labels, 3, decays, schedule, seed)
    for index, decay in enumerate(decays):
        draw = torch.Generator().manual_seed(seed)
        first = (torch.rand((7, 3), generator=draw) * 2 - 1) / math.sqrt(6)
        layer = torch.nn.Linear(6, 3)
        layer.load_state_dict({"weight": first[:-1].T, "bias": first[-1]})
        optimizer = torch.optim.AdamW(layer.parameters(), lr=0.05, weight_decay=decay)
        step, steps = 0, 3 * 4
        for _ in range(3):
            order = torch.randperm(50, generator=draw)
            for at in range(0, 50, 16):
                for group in optimizer.param_groups:
                    group["lr"] = 0.5 * (1 + math.cos(math.pi * step / steps)) * 0.05
                optimizer.zero_grad()
                rows = order[at : at + 16]
                loss: Any = torch.nn.functional.cross_entropy(layer(data[rows]), labels[rows])
                loss.backward()
                optimizer.step()
                step += 1
        torch.testing.assert_close(weight[index].T, layer.weight.detach(), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(bias[index], layer.bias.detach(), atol=1e-5, rtol=1e-4)


def test_rows_of_unit_length() -> None:
    found = unit_length(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


@settings(max_examples=50, deadline=None)
@given(peak=st.integers(0, GRID - 1))
def test_the_search_finds_the_peak_of_a_hill(peak: int) -> None:
    tried: dict[int, float] = {}
    asked: list[int] = []

    def evaluate(indices: Sequence[int]) -> list[float]:
        asked.extend(indices)
        return [-abs(index - peak) for index in indices]

    assert search(evaluate, tried) == peak
    assert len(asked) == len(set(asked)) <= 15


def test_of_equals_the_stronger_penalty_wins() -> None:
    assert search(lambda indices: [1.0] * len(indices), {}) == 0
    assert penalties("clip_lbfgs")[0] == pytest.approx(1e-6)
    assert penalties("clip_benchmark")[0] == pytest.approx(1e2)
    assert len(penalties("clip_lbfgs")) == 97


def parts(k: int = 4) -> tuple[Part, Part, Part]:
    x, y = features(400, 10, k)
    whole = Part((x - 2.8).astype(np.float32), y)  # near the origin: features of unit length keep their classes apart
    return whole.rows(np.arange(200)), whole.rows(np.arange(200, 260)), whole.rows(np.arange(260, 400))


@pytest.mark.parametrize("recipe", ["clip_lbfgs", "clip_benchmark"])
def test_a_recipe_chooses_on_validation_and_fits_on_both(recipe: str) -> None:
    train, val, test = parts()
    runs = probe(train, val, test, 4, ProbeOptions(recipe, seeds=2, schedule=Schedule(epochs=4)), "cpu")
    assert len(runs) == (1 if recipe == "clip_lbfgs" else 2)  # no seed changes a convex fit
    for run in runs:
        assert run.samples == (200, 60, 260)
        best = max(accuracy for _, accuracy in run.tried)
        assert run.penalty in [penalty for penalty, accuracy in run.tried if accuracy == best]
        assert (run.logits.argmax(axis=1) == test.labels).mean() > 0.6  # chance is 0.25
    if recipe == "clip_lbfgs":
        whole = train.joined(val)
        fit = fit_logistic(
            prepare(torch.from_numpy(whole.features)), torch.from_numpy(whole.labels), 4, [runs[0].penalty]
        )
        expected = fit.logits(torch.from_numpy(test.features))[0].numpy().argmax(axis=1)
        assert (runs[0].logits.argmax(axis=1) == expected).mean() > 0.99


def test_without_validation() -> None:
    train, _, test = parts()
    held = probe(train, None, test, 4, ProbeOptions("clip_lbfgs", seeds=2), "cpu")
    assert [run.samples for run in held] == [(180, 20, 200)] * 2
    fixed = probe(train, None, test, 4, ProbeOptions("clip_benchmark", seeds=1), "cpu")
    assert (fixed[0].penalty, fixed[0].tried, fixed[0].samples) == (0.0, (), (200, 0, 200))


def test_few_shots_are_fitted_alone() -> None:
    train, val, test = parts()
    runs = probe(train, val, test, 4, ProbeOptions("clip_lbfgs", seeds=2, shots=3), "cpu")
    assert [run.samples for run in runs] == [(12, 60, 12)] * 2
    assert not np.array_equal(runs[0].logits, runs[1].logits)
    with pytest.raises(UsageError, match="not 300"):
        few(train.labels, 300, np.random.default_rng(0))


def test_a_class_without_training_samples_is_never_predicted() -> None:
    train, val, test = parts()
    some = train.rows(np.flatnonzero(train.labels != 2))
    options = ProbeOptions("clip_lbfgs", shots=5, seeds=1)
    (run,) = probe(some, val.rows(np.flatnonzero(val.labels != 2)), test, 4, options, "cpu")
    assert np.isneginf(run.logits[:, 2]).all()
    assert set(run.logits.argmax(axis=1)) <= {0, 1, 3}
    with pytest.raises(UsageError, match="one class only"):
        probe(train.rows(np.flatnonzero(train.labels == 1)), None, test, 4, ProbeOptions(seeds=1), "cpu")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=8, max_size=60), st.floats(0.05, 0.95))
def test_held_out_rows_leave_every_class_one(labels: list[int], share: float) -> None:
    array = np.array(labels)
    held = stratified(array, share, np.random.default_rng(0))
    assert len(set(held.tolist())) == len(held)
    kept = np.setdiff1d(np.arange(len(array)), held)
    assert set(array[kept]) == set(labels)


def test_unknown_names_and_shares() -> None:
    with pytest.raises(UnknownNameError, match="clip_lbfg"):
        ProbeOptions("clip_lbfg")
    with pytest.raises(UnknownNameError, match="solver"):
        ProbeOptions(solver="sklearn")
    with pytest.raises(UsageError, match="held out"):
        ProbeOptions(hold_out=1.0)


def test_ranks_take_the_lower_index_of_equals() -> None:
    logits = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 2.0, 1.0]], np.float32)
    assert ranks(logits, np.array([0, 1, 0])).tolist() == [0, 1, 2]


def run_of(predicted: NDArray[np.int64], k: int) -> ProbeRun:
    logits = np.zeros((len(predicted), k), np.float32)
    logits[np.arange(len(predicted)), predicted] = 1
    return ProbeRun(logits, 1.0, ((0.1, 0.5), (1.0, 0.6), (10.0, 0.4)), (1, 1, 2), True)


def test_a_probe_that_is_always_right_is_not_certain() -> None:
    labels = np.arange(60) % 6
    tested = Targets(np.arange(60), labels, tuple("abcdef"))
    for seeds in (1, 3):
        result = probe_result([Layer("m", "head")], [[run_of(labels, 6)] * seeds], tested, {})
        for name, n in (("top1", 60), ("mean_per_class", 60), ("recall", 10)):
            low, high = (result.data[f"{name}_{end}"][1].ravel()[0] for end in ("low", "high"))
            assert high == 1
            # Wilson's: n / (n + z^2); Student's quantile of n - 1 degrees is a little larger.
            assert low == pytest.approx(n / (n + 1.96**2), abs=0.07 if n == 10 else 0.005)


def test_numbers_and_intervals_against_a_plain_bootstrap() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(7, size=300, p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.1, 0.0])
    predicted = [np.where(rng.random(300) < 0.8, labels, rng.integers(0, 7, 300)) for _ in range(2)]
    tested = Targets(np.arange(300), labels, tuple("abcdefg"))
    result = probe_result([Layer("m", "head")], [[run_of(p, 7) for p in predicted]], tested, {})
    data = {key: value for key, (_, value) in result.data.items()}
    share = np.mean([p == labels for p in predicted], axis=0)
    recall = np.array([share[labels == c].mean() for c in range(6)])
    assert data["top1"][0] == pytest.approx(share.mean(), abs=1e-12)
    assert data["mean_per_class"][0] == pytest.approx(recall.mean(), abs=1e-12)
    np.testing.assert_allclose(data["recall"][0, :6], recall, atol=1e-12)
    assert np.isnan(data["recall"][0, 6])
    assert "1 of 7 classes have no test sample" in result.attrs["notes"][0]
    drawn = rng.integers(0, 300, (4000, 300))
    means = np.nanmean([[np.mean(share[r][labels[r] == c]) for c in range(6)] for r in drawn], axis=1)
    for name, values in (("top1", share[drawn].mean(axis=1)), ("mean_per_class", means)):
        ends = np.quantile(values, [0.025, 0.975])
        # The ends of a bootstrap of 4,000 have a standard error near 0.001; a score interval is centred nearer to 1/2.
        assert (data[f"{name}_low"][0], data[f"{name}_high"][0]) == pytest.approx(tuple(ends), abs=0.008)


def test_top_five_of_few_classes_is_undefined() -> None:
    labels = np.array([0, 1, 2, 0, 1, 2])
    tested = Targets(np.arange(6), labels, ("a", "b", "c"))
    result = probe_result([Layer("m", "head")], [[run_of(labels, 3)]], tested, {})
    assert np.isnan(result.data["top5"][1][0])
    assert result.data["top1"][1][0] == 1


def test_a_rate_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="a rate of 0 trains nothing"):
        ProbeOptions(schedule=Schedule(rate=0.0))
