"""scikit-learn's logistic regression behind the interface of ours: the reference that ours is measured against."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvbench.engine.probe.logistic import Fit


def fit_peer(
    features: Tensor,
    labels: Tensor,
    inverse_penalties: Sequence[float],
    *,
    start: Fit | None = None,
    tolerance: float = 1e-4,
    max_iterations: int = 1000,
) -> Fit:
    """Fit one C after another on the CPU, each from the last one's weights.

    For two classes scikit-learn keeps the difference of both weights: twice the C gives it the same minimum.

    Args:
        features: (n, d) float32 or float64.
        labels: (n,) int64, every class from 0 to k - 1 among them.
        inverse_penalties: Values of C > 0.
        start, tolerance, max_iterations: As for `fit_logistic`.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    x, y = features.cpu().numpy(), labels.cpu().numpy()
    model = LogisticRegression(tol=tolerance, max_iter=max_iterations, warm_start=True)
    parts: list[tuple[Tensor, Tensor, float, int]] = []
    two = int(y.max()) == 1
    if start is not None and not two:
        model.coef_, model.intercept_ = start.weight[-1].T.cpu().numpy(), start.bias[-1].cpu().numpy()
    for c in inverse_penalties:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # said by `converged`
            model.set_params(C=2 * c if two else c).fit(x, y)
        both = np.array([[-0.5], [0.5]]) if two else np.eye(len(model.coef_))
        weight = torch.from_numpy((both @ model.coef_).T.astype(x.dtype))
        bias = torch.from_numpy((both @ model.intercept_).astype(x.dtype))
        parts.append((weight, bias, _loss(x, y, weight, bias, c), int(model.n_iter_[0])))
    weights, biases, losses, iterations = zip(*parts, strict=True)
    counts = torch.tensor(iterations)
    device = features.device
    return Fit(
        torch.stack(weights).to(device),
        torch.stack(biases).to(device),
        torch.tensor(losses, dtype=torch.float64, device=device),
        counts.to(device),
        (counts < max_iterations).to(device),
    )


def _loss(x: NDArray[np.floating[Any]], y: NDArray[np.int64], weight: Tensor, bias: Tensor, c: float) -> float:
    """The objective of `fit_logistic`, in float64."""
    logits = torch.from_numpy(x).double() @ weight.double() + bias.double()
    entropy = torch.nn.functional.cross_entropy(logits, torch.from_numpy(y))
    return float(entropy + weight.double().square().sum() / (2 * c * len(x)))
