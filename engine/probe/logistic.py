"""Multinomial logistic regression by preconditioned L-BFGS, several penalties at once, on the CPU or a CUDA device.

    f(W, b) = 1/n sum_i -log softmax(x_i W + b)[y_i] + |W|^2 / (2 C n)

is scikit-learn's objective (`LogisticRegression`; C is the inverse penalty, the bias is free), so both have the same
minimum.

What makes it fast: features of a network are far from white, and plain L-BFGS (Nocedal & Wright 2006, algorithm 7.4)
has to learn their covariance, one curvature pair after another. Here it begins with it. The Hessian of class k is near
a_k S + I / (C n), with S the covariance and a_k the mean of p_k (1 - p_k) (Boehning 1992 bounds it in the same way).
The initial inverse Hessian is therefore V diag(1 / (a_k s_j + 1 / (C n))) V', from one eigendecomposition of S, V
diag(s) V', for all penalties. Features are centred first, which moves the bias only. Logits are linear in the step: the
search for its length costs no product with the features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cvbench.errors import UsageError

_PAIRS = 10  # curvature pairs kept, as in SciPy
_TRIALS = 25  # step lengths tried in one search
_DECREASE = 1e-4  # Armijo's constant


@dataclass(frozen=True, eq=False)
class Design:
    """Features made ready for any number of fits.

    Attributes:
        x: (n, r) centred; r = d, or n where there are fewer samples than features (then the span of the rows).
        mean: (d,) what was subtracted.
        basis: (d, r) orthonormal, features - mean = x @ basis.T; None for the identity.
        axes: (r, r) eigenvectors of the covariance of x, in columns.
        variances: (r,) of x along them.
    """

    x: Tensor
    mean: Tensor
    basis: Tensor | None
    axes: Tensor
    variances: Tensor


@dataclass(frozen=True, eq=False)
class Fit:
    """Fitted models, one per penalty.

    Attributes:
        weight: (g, d, k) in the dtype of the features, summing to 0 over the classes.
        bias: (g, k) likewise (softmax does not see a constant).
        loss: (g,) float64, the objective.
        iterations: (g,) int64.
        converged: (g,) bool: no entry of the gradient is beyond the tolerance.
    """

    weight: Tensor
    bias: Tensor
    loss: Tensor
    iterations: Tensor
    converged: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """(n, d) features -> (g, n, k)."""
        return torch.matmul(features, self.weight) + self.bias[:, None, :]

    def one(self, index: int) -> Fit:
        """The fit of one penalty, as a fit of one."""
        at = slice(index, index + 1)
        return Fit(self.weight[at], self.bias[at], self.loss[at], self.iterations[at], self.converged[at])


def prepare(features: Tensor) -> Design:
    """Centre the features and find their axes.

    Memory: a copy of the features, and (r, r) twice.

    Args:
        features: (n, d) float32 or float64, n >= 2, finite.
    """
    mean = features.mean(dim=0)
    x, basis = features - mean, None
    if len(x) < x.shape[1]:
        basis, upper = torch.linalg.qr(x.T)
        x = upper.T.contiguous()
    # Orthonormal axes with some rounding are as good: they change the number of iterations, not the minimum.
    variances, axes = torch.linalg.eigh(x.T @ x / len(x))
    return Design(x, mean, basis, axes, variances.clamp_min(0))


def fit_logistic(
    design: Design,
    labels: Tensor,
    classes: int,
    inverse_penalties: Sequence[float],
    *,
    start: Fit | None = None,
    tolerance: float = 1e-4,
    max_iterations: int = 1000,
) -> Fit:
    """Minimise the objective for every C.

    Memory: about five times the logits (n, g, k), and 20 times the weights (r + 1, g, k).

    Args:
        design: Of the features.
        labels: (n,) int64, 0 <= label < k, on the device of the features.
        classes: k >= 2.
        inverse_penalties: g values of C > 0.
        start: Where to begin: a fit of one penalty, or of g. The fit of a near penalty saves iterations.
        tolerance: On the largest entry of the gradient, as scikit-learn's `tol`.
        max_iterations: Per penalty, as scikit-learn's `max_iter`.

    Raises:
        UsageError: A C that is not positive, or labels beyond the classes.
    """
    if classes < 2 or not len(labels) or int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise UsageError(
            f"logistic regression needs labels from 0 to k - 1 and two classes or more; got {classes} classes"
        )
    if not inverse_penalties or not min(inverse_penalties) > 0:
        raise UsageError(f"the inverse penalty C must be positive, got {list(inverse_penalties)}")
    solver = _Solver(design, labels, classes, inverse_penalties)
    theta = solver.start(start)
    state = solver.evaluate(torch.arange(theta.shape[1], device=theta.device), theta, solver.logits(theta))
    found = _Found(theta.clone(), state.loss.clone(), torch.zeros_like(state.index), torch.zeros_like(state.index) > 0)
    for iteration in range(max_iterations + 1):
        done = solver.largest(state.grad) <= tolerance
        found.record(state, iteration, done)
        if iteration == max_iterations or bool(done.all()):
            break
        state, moved = solver.advance(state.take(~done) if bool(done.any()) else state)
        if not bool(moved.all()):  # rounding hides any further decrease
            state = state.take(moved)
            if not len(state.index):
                break
    return solver.finish(found)


@dataclass(frozen=True, eq=False)
class _State:
    """The problems not yet solved. Parameters (r + 1, g, k), the bias in the last row; logits (n, g, k)."""

    index: Tensor  # (g,) which problems
    theta: Tensor
    logits: Tensor
    loss: Tensor  # (g,) float64
    grad: Tensor
    spread: Tensor  # (1, g, k) mean of p (1 - p)
    pairs: tuple[tuple[Tensor, Tensor, Tensor], ...] = ()  # step, change of gradient, 1 / their product (g,)

    def take(self, keep: Tensor) -> _State:
        """The problems where `keep` (g,) is True."""
        wide = (self.theta, self.logits, self.grad, self.spread)
        theta, logits, grad, spread = (value[:, keep] for value in wide)
        pairs = tuple((s[:, keep], y[:, keep], rho[keep]) for s, y, rho in self.pairs)
        return _State(self.index[keep], theta, logits, self.loss[keep], grad, spread, pairs)


@dataclass(frozen=True, eq=False)
class _Found:
    theta: Tensor
    loss: Tensor
    iterations: Tensor
    converged: Tensor

    def record(self, state: _State, iteration: int, done: Tensor) -> None:
        at = state.index
        self.theta[:, at], self.loss[at] = state.theta, state.loss
        self.iterations[at], self.converged[at] = iteration, done


class _Solver:
    """State that all problems share, and one iteration of all of them."""

    def __init__(self, design: Design, labels: Tensor, classes: int, penalties: Sequence[float]) -> None:
        self.design, self.labels, self.classes = design, labels, classes
        x = design.x
        self.rows = torch.arange(len(x), device=x.device)
        self.ridge = torch.tensor([1 / (c * len(x)) for c in penalties], dtype=x.dtype, device=x.device)
        self.slack = 4 * torch.finfo(x.dtype).eps  # a relative decrease below this is rounding

    def start(self, fit: Fit | None) -> Tensor:
        """Parameters to begin with."""
        x, basis = self.design.x, self.design.basis
        theta = torch.zeros((x.shape[1] + 1, len(self.ridge), self.classes), dtype=x.dtype, device=x.device)
        if fit is not None:
            weight = fit.weight.permute(1, 0, 2)  # (d, g or 1, k)
            theta[-1] = fit.bias + torch.tensordot(self.design.mean, weight, dims=1)
            theta[:-1] = weight if basis is None else torch.tensordot(basis.T, weight, dims=1)
        return theta

    def logits(self, theta: Tensor) -> Tensor:
        """(n, g, k), of parameters or of a step."""
        return _product(self.design.x, theta[:-1]) + theta[-1]

    def evaluate(self, index: Tensor, theta: Tensor, logits: Tensor) -> _State:
        """The state at these parameters, without pairs."""
        x, n = self.design.x, len(self.design.x)
        ridge, weight = self.ridge[index], theta[:-1]
        p = torch.log_softmax(logits, dim=2)
        loss = self._entropy(p) + ridge.double() * _dots(weight, weight) / 2
        p = p.exp_()
        spread = p.mean(dim=0, keepdim=True) - (p * p).mean(dim=0, keepdim=True)
        p[self.rows, :, self.labels] -= 1
        grad = torch.empty_like(theta)
        grad[:-1] = _product(x.T, p) / n + ridge[:, None] * weight
        grad[-1] = p.mean(dim=0)
        return _State(index, theta, logits, loss, grad, spread)

    def advance(self, state: _State) -> tuple[_State, Tensor]:
        """One iteration; also (g,) bool, which problems moved."""
        direction = self._direction(state)
        length, logits = self._search(state, direction)
        step = direction * length[:, None]
        new = self.evaluate(state.index, state.theta + step, logits)
        change = new.grad - state.grad
        product = _dots(step, change).to(step.dtype)
        rho = torch.where(product > 0, 1 / product, torch.zeros_like(product))  # 0: the pair does nothing
        return replace(new, pairs=(*state.pairs[-(_PAIRS - 1) :], (step, change, rho))), length > 0

    def largest(self, grad: Tensor) -> Tensor:
        """(g,) largest entry of the gradient by the weights as they are given, not as they are centred here."""
        basis = self.design.basis
        inner = grad[:-1] if basis is None else _product(basis, grad[:-1])
        inner = inner + self.design.mean[:, None, None] * grad[-1]
        return torch.maximum(inner.abs().amax(dim=(0, 2)), grad[-1].abs().amax(dim=1))

    def finish(self, found: _Found) -> Fit:
        """The fits in the features' own coordinates."""
        basis, weight = self.design.basis, found.theta[:-1]
        weight = (weight if basis is None else _product(basis, weight)).permute(1, 0, 2).contiguous()
        weight -= weight.mean(dim=2, keepdim=True)  # 0 at the minimum, and no prediction changes
        bias = found.theta[-1] - torch.matmul(self.design.mean, weight)
        bias = bias - bias.mean(dim=1, keepdim=True)
        return Fit(weight, bias, found.loss, found.iterations, found.converged)

    def _entropy(self, log_p: Tensor) -> Tensor:
        """(g,) float64 mean cross-entropy of (n, g, k) log probabilities."""
        return -log_p[self.rows, :, self.labels].mean(dim=0, dtype=torch.float64)

    def _direction(self, state: _State) -> Tensor:
        """Two loops over the pairs, around the preconditioner."""
        q, parts = state.grad, []
        for step, change, rho in reversed(state.pairs):
            part = rho * _dots(step, q).to(q.dtype)
            q = q - part[:, None] * change
            parts.append(part)
        r = self._precondition(q, state)
        if state.pairs:  # its scale is wrong by the same factor along the last step
            _, change, rho = state.pairs[-1]
            known = rho * _dots(change, self._precondition(change, state)).to(q.dtype)
            r = r * torch.where(known > 0, 1 / known, torch.ones_like(known))[:, None]
        for (step, change, rho), part in zip(state.pairs, reversed(parts), strict=True):
            r = r + (part - rho * _dots(change, r).to(q.dtype))[:, None] * step
        return -r

    def _precondition(self, value: Tensor, state: _State) -> Tensor:
        design = self.design
        spread = state.spread.clamp_min(torch.finfo(value.dtype).tiny ** 0.5)
        curvature = spread * design.variances[:, None, None] + self.ridge[state.index][:, None]
        inner = _product(design.axes, _product(design.axes.T, value[:-1]) / curvature)
        return torch.cat([inner, value[-1:] / spread])  # the bias is the weight of a feature that is always 1

    def _search(self, state: _State, direction: Tensor) -> tuple[Tensor, Tensor]:
        """(g,) step lengths by halving from 1 (0: none found), and the logits there."""
        along = self.logits(direction)
        ridge = self.ridge[state.index].double()
        weight, ahead = state.theta[:-1], direction[:-1]
        norms = torch.stack([_dots(weight, weight), 2 * _dots(weight, ahead), _dots(ahead, ahead)])
        slope = _dots(state.grad, direction)
        length = torch.ones(len(ridge), dtype=along.dtype, device=along.device)
        todo = torch.ones_like(length, dtype=torch.bool)
        logits = state.logits
        for _ in range(_TRIALS):
            every = bool(todo.all())
            t = length if every else length[todo]
            here = logits + t[:, None] * along if every else state.logits[:, todo] + t[:, None] * along[:, todo]
            wide, base = t.double(), (norms, ridge, slope, state.loss)
            squares, penalty, descent, before = base if every else tuple(v[..., todo] for v in base)
            loss = self._entropy(torch.log_softmax(here, dim=2))
            loss = loss + penalty * (squares[0] + wide * squares[1] + wide * wide * squares[2]) / 2
            good = loss <= before + _DECREASE * wide * descent + self.slack * before.abs()
            if every and bool(good.all()):
                return length, here
            logits = logits.clone() if logits is state.logits else logits
            where = todo.nonzero()[:, 0]
            logits[:, where[good]] = here[:, good]
            todo[where[good]] = False
            if not bool(todo.any()):
                return length, logits
            length[todo] /= 2
        length[todo] = 0
        return length, logits


def _product(left: Tensor, right: Tensor) -> Tensor:
    """(a, b) @ (b, g, k) -> (a, g, k), as one matrix product."""
    return (left @ right.reshape(right.shape[0], -1)).view(len(left), *right.shape[1:])


def _dots(a: Tensor, b: Tensor) -> Tensor:
    """(g,) float64 inner products of (r, g, k)."""
    return (a * b).sum(dim=2).sum(dim=0, dtype=torch.float64)
