"""A linear layer trained by AdamW under a cosine schedule, for several weight decays at once.

The recipe of CLIP_benchmark's linear probe: cross-entropy, default betas, rate 0.1 falling to 0 step by step without
warm-up, shuffled batches, decay of weight and bias alike. All decays see the same batches from the same start, so the
candidates of a grid differ by their decay alone, and a grid costs one pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from cvbench.engine.probe.options import Schedule

_BETAS = (0.9, 0.999)
_EPS = 1e-8


def unit_length(features: Tensor) -> Tensor:
    """(n, d) rows divided by their Euclidean norm; a row of zeros stays."""
    scaled: Tensor = features / features.norm(dim=1, keepdim=True).clamp_min(torch.finfo(features.dtype).tiny)
    return scaled


def train_linear(
    features: Tensor, labels: Tensor, classes: int, decays: Sequence[float], schedule: Schedule, seed: int
) -> tuple[Tensor, Tensor]:
    """Train one layer per weight decay.

    A decay for which rate x decay is beyond 2 diverges, as it does in the original: its weights may not be finite.

    Args:
        features: (n, d) float32.
        labels: (n,) int64, 0 <= label < k, on the same device.
        classes: k.
        decays: g values >= 0.
        schedule: Of the training.
        seed: Of the first weights and of the order of the samples.

    Returns:
        weight (g, d, k) and bias (g, k).
    """
    n, d = features.shape
    g, device = len(decays), features.device
    draw = torch.Generator().manual_seed(seed)  # on the host: the same numbers for every device
    bound = 1 / math.sqrt(d)  # as torch.nn.Linear begins
    first = (torch.rand((d + 1, classes), generator=draw) * 2 - 1) * bound
    theta = first.to(device)[:, None, :].repeat(1, g, 1)  # (d + 1, g, k), the bias in the last row
    mean, square = torch.zeros_like(theta), torch.zeros_like(theta)
    decay = torch.tensor(decays, dtype=theta.dtype, device=device)[:, None]
    per_epoch = math.ceil(n / schedule.batch)
    steps, step = schedule.epochs * per_epoch, 0
    for _ in range(schedule.epochs):
        order = torch.randperm(n, generator=draw).to(device)
        for at in range(0, n, schedule.batch):
            rows = order[at : at + schedule.batch]
            grad = _gradient(features[rows], labels[rows], theta)
            rate, step = schedule.at(step, steps), step + 1
            theta *= 1 - rate * decay
            mean.lerp_(grad, 1 - _BETAS[0])
            square.mul_(_BETAS[1]).addcmul_(grad, grad, value=1 - _BETAS[1])
            scale = math.sqrt(1 - _BETAS[1] ** step)
            theta.addcdiv_(mean, square.sqrt().div_(scale).add_(_EPS), value=-rate / (1 - _BETAS[0] ** step))
    return theta[:-1].permute(1, 0, 2).contiguous(), theta[-1].clone()


def _gradient(x: Tensor, labels: Tensor, theta: Tensor) -> Tensor:
    """Gradient of the mean cross-entropy, (d + 1, g, k)."""
    n, (_, g, classes) = len(x), theta.shape
    logits = (x @ theta[:-1].reshape(-1, g * classes)).view(n, g, classes) + theta[-1]
    p = torch.softmax(logits, dim=2)
    p[torch.arange(n, device=x.device), :, labels] -= 1
    p /= n
    inner = (x.T @ p.view(n, g * classes)).view(-1, g, classes)
    return torch.cat([inner, p.sum(dim=0, keepdim=True)])
